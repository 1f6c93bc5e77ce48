"""Normalisation of blocks, with the gradients as one kernel each; the names are those of ops."""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import HALF
from ..spec import PLAIN, Spec
from .common import as_they_lie, kernel, plain


def _mean(a, axes):
    """The mean, summed in float64, with its axes kept; 0 of nothing."""
    count = math.prod(a.shape[i] for i in axes)
    return (a.sum(axes, dtype=np.float64, keepdims=True) / max(count, 1)).astype(a.dtype)


def _sum_like(a, shape):
    """Sums over the axes where the shape has size 1."""
    return a.sum(tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def normalisation(name):
    """Kernels ``name`` and ``name_grad``; geometry = (blocks, axes, affine, eps).

    x is seen with the shape ``blocks``; mean and variance are taken over ``axes`` of it; weight
    and bias have the shape ``affine`` in it. Statistics of 16-bit tensors are float32.
    """

    @kernel(name)
    def forward(call):
        """x, weight, bias -> y, mean, inv_std."""
        shape, axes, affine, eps = call.geometry
        x = call.ins[0]
        blocks = tuple(n for i, n in enumerate(shape) if i not in axes)
        statistic = Spec(blocks, "float32" if x.dtype in HALF else x.dtype)

        def run(y, mean, inv_std, x, weight, bias):
            with np.errstate(all="ignore"):
                x = x.reshape(shape)
                m = _mean(x, axes)
                centred = x - m
                inv = 1 / np.sqrt(_mean(centred * centred, axes) + x.dtype.type(eps))
                weight, bias = weight.reshape(affine), bias.reshape(affine)
                y[...] = (centred * inv * weight + bias).reshape(y.shape)
                mean[...], inv_std[...] = m.reshape(mean.shape), inv.reshape(mean.shape)

        return plain(call, run, x.at(PLAIN), statistic, statistic)

    @kernel(f"{name}_grad")
    def backward(call):
        """gy, x, weight, mean, inv_std -> gx, gweight, gbias.

        Mean and variance depend on x too: gx loses its mean and its part along x.
        """
        shape, axes, affine, _ = call.geometry
        kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
        _, x, weight, *_ = call.ins

        def run(gx, gweight, gbias, gy, x, weight, mean, inv_std):
            with np.errstate(all="ignore"):
                x, gy = x.reshape(shape), gy.reshape(shape)
                inv = inv_std.reshape(kept)
                normal = (x - mean.reshape(kept)) * inv
                g = gy * weight.reshape(affine)
                g = g - _mean(g, axes) - normal * _mean(g * normal, axes)
                gx[...] = (inv * g).reshape(gx.shape)
                gweight[...] = _sum_like(gy * normal, affine).reshape(gweight.shape)
                gbias[...] = _sum_like(gy, affine).reshape(gbias.shape)

        return plain(call, run, *(s.at(PLAIN) for s in (x, weight, weight)))


for name in ("batch_norm", "layer_norm", "group_norm"):
    normalisation(name)


@kernel("batch_norm_update")
def batch_norm_update(call):
    """running_mean, running_var (in place), mean, inv_std; geometry = (count, momentum, eps).

    The variance comes back out of inv_std as exactly as evaluation, which adds eps again, can
    tell; what is stored is the unbiased one of ``count`` values.
    """
    count, momentum, eps = call.geometry

    def run(running_mean, running_var, mean, inv_std):
        with np.errstate(all="ignore"):
            var = np.maximum((1 / inv_std) ** 2 - inv_std.dtype.type(eps), 0)
            for running, batch in (running_mean, mean), (running_var, var * (count / (count - 1))):
                running *= 1 - momentum
                running += momentum * batch

    return as_they_lie(call, run, writes=(0, 1))


@kernel("batch_norm_inference")
def batch_norm_inference(call):
    """x, weight, bias, mean, var -> y; geometry as for batch_norm."""
    shape, _, affine, eps = call.geometry
    x = call.ins[0]

    def run(y, x, *per_channel):
        weight, bias, mean, var = (a.reshape(affine) for a in per_channel)
        with np.errstate(all="ignore"):
            slope = weight / np.sqrt(var + var.dtype.type(eps))
            y[...] = ((x.reshape(shape) - mean) * slope + bias).reshape(y.shape)

    return plain(call, run, x.at(PLAIN))


def _window_sum(a, before, after):
    """Sum over the channels c - before ... c + after of (N, C, M)."""
    channels = a.shape[1]
    a = np.pad(a, ((0, 0), (before, after), (0, 0)))
    return sum(a[:, first : first + channels] for first in range(before + after + 1))


def _images(x):
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))  # (N, C, M)


@kernel("local_response_norm")
def local_response_norm(call):
    """x -> y, and scale for the gradient; geometry = (size, alpha, beta, k)."""
    size, alpha, beta, k = call.geometry
    x = call.ins[0].at(PLAIN)

    def run(y, *rest):
        *scale, x = rest
        with np.errstate(all="ignore"):
            total = _window_sum(_images(x) ** 2, size // 2, (size - 1) // 2)
            s = (k + alpha / size * total).reshape(x.shape)
            y[...] = x * s**-beta
            for out in scale:
                out[...] = s

    return plain(call, run, *([x, x] if call.auxiliaries else [x]))


@kernel("local_response_norm_grad")
def local_response_norm_grad(call):
    """gy, x, scale -> gx; geometry as for local_response_norm."""
    size, alpha, beta, _ = call.geometry

    def run(gx, gy, x, scale):
        with np.errstate(all="ignore"):
            power = scale**-beta
            spread = _window_sum(_images(gy * x * power / scale), (size - 1) // 2, size // 2)
            gx[...] = gy * power - 2 * alpha * beta / size * x * spread.reshape(x.shape)

    return plain(call, run, call.ins[1].at(PLAIN))
