"""Transposed convolution: a convolution's gradient with respect to its input, run forwards."""

from __future__ import annotations

from ..errors import OptionError, ShapeError
from ..geometry import Convolution
from ..tape import Tensor
from .assemble import pad
from .checks import floats
from .conv import AXES, check_bias, check_groups, conv_grad_input, kernel_axes
from .op import Sample, op
from .shape import reshape


def conv_transpose1d_samples(rng):
    normal = rng.standard_normal
    x, weight = normal((2, 4, 5)), normal((4, 3, 3))
    options = dict(stride=2, padding=[(1, 0)], output_padding=1, groups=2)
    yield Sample((x, weight, normal(6)), options, differentiable=(0, 1, 2))
    # an output padding of whole strides, which only a dilation allows
    options = dict(stride=2, dilation=5, output_padding=4)
    yield Sample((x, weight), options, differentiable=(0, 1))
    yield Sample((x, weight), dict(output_padding=1), error=(OptionError, "got (1,), (1,)"))
    yield Sample((x, weight), dict(padding=4), error=(ShapeError, "got (5,) and (-1,)"))


@op(conv_transpose1d_samples)
def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride=1,
    padding=0,
    output_padding=0,
    dilation=1,
    groups: int = 1,
) -> Tensor:
    """``conv_transpose2d`` along one axis, with the same options.

    Shapes: x (N, C, W), weight (C, O/groups, kW), bias (O,) -> (N, O, oW).

    >>> conv_transpose1d(Tensor([[[1.0, 2.0]]]), Tensor([[[1.0, 10.0]]])).numpy()
    array([[[ 1., 12., 20.]]], dtype=float32)
    """
    options = stride, padding, output_padding, dilation, groups
    return _conv_transpose("conv_transpose1d", 1, x, weight, bias, options)


def conv_transpose2d_samples(rng):
    normal = rng.standard_normal
    x, weight = normal((2, 4, 3, 2)), normal((4, 3, 3, 2))
    yield Sample((x, weight, normal(3)), differentiable=(0, 1, 2))
    options = dict(stride=(2, 3), padding=(1, 0), output_padding=(1, 2), dilation=(1, 2), groups=4)
    yield Sample((x, weight, normal(12)), options, differentiable=(0, 1, 2))
    yield Sample((x[:0], weight), differentiable=(0, 1))
    yield Sample((x[:, :3], weight), error=(ShapeError, "got (2, 3, 3, 2) and (4, 3, 3, 2)"))
    yield Sample((x, weight[0]), error=(ShapeError, "weight (C, O/groups, kH, kW)"))
    yield Sample((x, weight, normal(4)), error=(ShapeError, "bias (3,); got (4,)"))
    yield Sample(
        (x, weight), dict(groups=3), error=(ShapeError, "got groups=3, 4 channels in and 9")
    )


@op(conv_transpose2d_samples)
def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride=1,
    padding=0,
    output_padding=0,
    dilation=1,
    groups: int = 1,
) -> Tensor:
    """The gradient of ``conv2d`` with respect to its input, as a layer: it enlarges images.

    ``y[n, o, s*p + d*i - b, s*q + d*j - b] += weight[c, o, i, j] * x[n, c, p, q]``
    with stride s, dilation d and b pixels of padding cut off, each per axis.

    Args:
        x: Images.
        weight: Filters of the convolution that leads from y's shape to x's.
        bias: Added to every pixel of an output channel.
        stride: Pixels of y from one pixel of x to the next; one number, or one per axis.
        padding: Pixels cut off around y; one number, one per axis, or one (before, after) per axis.
        output_padding: Pixels more at the end of each axis, fewer than stride or dilation.
        dilation: Pixels from one cell of a filter to the next; one number, or one per axis.
        groups: Parts into which the channels are cut, each filtered by itself.

    Shapes:
        x (N, C, H, W), weight (C, O/groups, kH, kW), bias (O,) -> (N, O, oH, oW) with
        ``oH = stride*(H - 1) - before - after + dilation*(kH - 1) + 1 + output_padding``.

    Raises:
        ShapeError: Channels, groups and filters do not fit each other, or nothing is left of y.
        OptionError: An option outside its values.
        DtypeError: Not floats of one dtype; 16-bit floats are summed in float32.

    Source: Dumoulin & Visin, arXiv:1603.07285, section 4; output_padding is PyTorch's.

    >>> conv_transpose2d(Tensor([[[[1.0, 2.0]]]]), Tensor([[[[1.0, 10.0]]]]), stride=2).numpy()
    array([[[[ 1., 10.,  2., 20.]]]], dtype=float32)
    """
    options = stride, padding, output_padding, dilation, groups
    return _conv_transpose("conv_transpose2d", 2, x, weight, bias, options)


def conv_transpose3d_samples(rng):
    normal = rng.standard_normal
    args = normal((1, 2, 2, 1, 3)), normal((2, 1, 2, 3, 2)), normal(2)
    options = dict(stride=(1, 2, 1), padding=(0, 1, 0), groups=2)
    yield Sample(args, options, differentiable=(0, 1, 2))


@op(conv_transpose3d_samples)
def conv_transpose3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride=1,
    padding=0,
    output_padding=0,
    dilation=1,
    groups: int = 1,
) -> Tensor:
    """``conv_transpose2d`` over three axes, with the same options.

    Shapes: x (N, C, D, H, W), weight (C, O/groups, kD, kH, kW), bias (O,) -> (N, O, oD, oH, oW).

    >>> conv_transpose3d(Tensor([[[[[2.0]]]]]), Tensor([[[[[1.0, 10.0]]]]])).numpy()
    array([[[[[ 2., 20.]]]]], dtype=float32)
    """
    options = stride, padding, output_padding, dilation, groups
    return _conv_transpose("conv_transpose3d", 3, x, weight, bias, options)


def _conv_transpose(name, rank, x, weight, bias, options):
    floats(name, x, weight, *([] if bias is None else [bias]))
    if not x.ndim == weight.ndim == rank + 2 or x.shape[1] != weight.shape[0]:
        axes, kernel = AXES[rank], kernel_axes(rank)
        raise ShapeError(
            f"{name}: expected x (N, C, {axes}) and weight (C, O/groups, {kernel}) that agree "
            f"on C; got {x.shape} and {weight.shape}.",
            "build the layer for as many channels as x has.",
        )
    *sliding, groups = options
    out_channels = weight.shape[1] * groups
    check_groups(name, groups, x.shape[1], out_channels)
    check_bias(name, bias, out_channels)
    size = x.shape[2:]
    geometry = Convolution.transposed(name, size, weight.shape[2:], *sliding, groups)
    behind = [(0, m - n) for n, m in zip(size, geometry.window.out_size)]
    x = pad(x, [(0, 0), (0, 0), *behind]) if any(map(any, behind)) else x
    y = conv_grad_input(x, weight, geometry)  # (N, O, *size)
    return y if bias is None else y + reshape(bias, (out_channels, *(1 for _ in size)))
