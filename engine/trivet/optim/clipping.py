"""Clipping of gradients: launches only, so that a step with it can be captured."""

from __future__ import annotations

from collections.abc import Iterable

from .. import ops
from ..errors import GradientError, OptionError
from ..tape import Tensor


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scales all gradients, in place, so that their common Euclidean norm is at most max_norm.

    Returns:
        The norm before, as a Tensor that the host has not read.

    Raises:
        GradientError: No parameter has a gradient.
        OptionError: max_norm is not positive.

    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> clip_grad_norm_([w], 1.0).item(), w.grad.numpy().round(3).tolist()
    (10.0, [0.6000000238418579, 0.800000011920929])
    """
    gradients = _gradients("clip_grad_norm_", parameters, "max_norm", max_norm)
    norm = ops.global_norm(gradients)
    for g in gradients:
        ops.clip_norm_(g, norm, largest=max_norm)
    return norm


def clip_grad_value_(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Cuts every element of every gradient to [-clip_value, clip_value], in place.

    Raises: as for clip_grad_norm_.
    """
    for g in _gradients("clip_grad_value_", parameters, "clip_value", clip_value):
        ops.clip_value_(g, largest=clip_value)


def _gradients(name, parameters, what, largest) -> list[Tensor]:
    if not largest > 0:
        raise OptionError(f"{name}: expected {what} > 0; got {largest!r}.", "pass 1.0, say.")
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        raise GradientError(f"{name}: expected gradients; got none.", "call loss.backward() first.")
    return gradients
