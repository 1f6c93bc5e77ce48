"""Convolution. Forward and both gradients are each other's gradients: closed under backward."""

from __future__ import annotations

from dataclasses import replace

from ..errors import KernelMissing, OptionError, ShapeError
from ..geometry import Convolution, Window
from ..tape import Tensor, compute, record
from .checks import floats
from .op import Sample, op
from .shape import broadcast_to, reshape, sum_to

AXES = {1: "W", 2: "H, W", 3: "D, H, W"}


def conv1d_samples(rng):
    normal = rng.standard_normal
    x, weight = normal((2, 4, 9)), normal((6, 2, 3))
    options = dict(stride=2, padding=[(2, 1)], dilation=2, groups=2)
    yield Sample((x, weight, normal(6)), options, differentiable=(0, 1, 2))
    yield Sample((x, normal((3, 4, 1))), differentiable=(0, 1))
    yield Sample((x, normal((3, 4, 3))), dict(algo="fft", flip=True), differentiable=(0, 1))
    yield Sample((x[..., None], weight), error=(ShapeError, "x (N, C, W)"))
    yield Sample(
        (x, weight), dict(padding=(1, 1), groups=2), error=(OptionError, "padding as an integer")
    )


@op(conv1d_samples)
def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride=1,
    padding=0,
    dilation=1,
    groups: int = 1,
    flip: bool = False,
    algo: str = "auto",
) -> Tensor:
    """``conv2d`` along one axis, with the same options.

    ``y[n, o, p] = bias[o] + sum_ci  weight[o, c, i] * x[n, c, stride*p + dilation*i - before]``

    Shapes: x (N, C, W), weight (O, C/groups, kW), bias (O,) -> (N, O, oW).

    >>> conv1d(Tensor([[[1.0, 2.0, 3.0]]]), Tensor([[[1.0, 10.0]]])).numpy()
    array([[[21., 32.]]], dtype=float32)
    """
    return _checked_conv(
        "conv1d", 1, x, weight, bias, (stride, padding, dilation), groups, flip, algo
    )


def conv2d_samples(rng):
    normal = rng.standard_normal
    x, weight, bias = normal((2, 4, 6, 5)), normal((6, 4, 3, 3)), normal(6)
    yield Sample((x, weight, bias), dict(padding=1), differentiable=(0, 1, 2))
    options = dict(stride=(2, 1), padding=[(0, 2), (1, 0)], dilation=(1, 2), flip=True)
    yield Sample((x, weight, bias), options, differentiable=(0, 1, 2))
    for algo in ("direct", "fft", "winograd"):
        yield Sample((x, weight), dict(padding=(0, 1), algo=algo), differentiable=(0, 1))
    depthwise = normal((4, 1, 2, 3))
    for algo in ("im2col", "direct", "fft"):
        options = dict(groups=4, stride=2, algo=algo)
        yield Sample((x, depthwise), options, differentiable=(0, 1))
    yield Sample((x[:0], weight, bias), differentiable=(0, 1, 2))
    yield Sample((x[:, :, :1, :1], normal((3, 4, 1, 1))), differentiable=(0, 1))
    yield Sample((x.transpose(0, 2, 3, 1), weight), error=(ShapeError, "looks channels-last"))
    wrong = "agree on C and groups=1; got (2, 2, 6, 5) and (6, 4, 3, 3)"
    yield Sample((x[:, :2], weight), error=(ShapeError, wrong))
    yield Sample((x[0], weight), error=(ShapeError, "got (4, 6, 5) and (6, 4, 3, 3)"))
    yield Sample(
        (x, weight), dict(groups=3), error=(ShapeError, "got groups=3, 4 channels in and 6")
    )
    yield Sample((x, weight), dict(groups=0), error=(ShapeError, "got groups=0, 4 channels"))
    yield Sample((x[:, :0], weight[:, :0]), error=(ShapeError, "0 channels in and 6 out"))
    yield Sample((x, weight, bias[:4]), error=(ShapeError, "bias (6,); got (4,)"))
    yield Sample((x[:, :, :2], weight), error=(ShapeError, "window inside the padded image"))
    yield Sample((x, weight), dict(stride=0), error=(OptionError, "stride, dilation >= 1"))
    yield Sample((x, weight), dict(algo="gemm"), error=(OptionError, "winograd; got 'gemm'"))
    options = dict(stride=2, algo="winograd")
    yield Sample((x, weight), options, error=(KernelMissing, "stride 1 and dilation 1; got (3, 3)"))


@op(conv2d_samples)
def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride=1,
    padding=0,
    dilation=1,
    groups: int = 1,
    flip: bool = False,
    algo: str = "auto",
) -> Tensor:
    """Slides a bank of filters over images, without flipping them (cross-correlation).

    ``y[n, o, p, q] = bias[o] + sum_cij weight[o, c, i, j] * x[n, c, s*p + d*i - b, s*q + d*j - b]``
    with stride s, dilation d and b zeros of padding before the image, each per axis.

    Args:
        x: Images.
        weight: Filters.
        bias: Added to every pixel of an output channel.
        stride: Step of the window in pixels; one number, or one per axis.
        padding: Zeros around the image in pixels; one number, one per axis, or one
            (before, after) per axis.
        dilation: Pixels from one cell of a filter to the next; one number, or one per axis.
        groups: Parts into which the channels are cut, each filtered by itself; with groups = C
            each channel is (depthwise convolution).
        flip: True turns the filters round first: the convolution of mathematics.
        algo: The arithmetic: "direct", "im2col", "fft", "winograd" (3x3 with stride and
            dilation 1 only), or "auto", the backend's choice. They agree to rounding for finite
            numbers; "fft" and "winograd" spread a NaN or an infinity further than the others.

    Shapes:
        x (N, C, H, W), weight (O, C/groups, kH, kW), bias (O,) -> (N, O, oH, oW) with
        ``oH = (before + H + after - dilation*(kH - 1) - 1) // stride + 1``.

    Raises:
        ShapeError: Channels, groups and filters do not fit each other, or the window not the image.
        OptionError: An option outside its values.
        DtypeError: Not floats of one dtype; 16-bit floats are summed in float32.
        KernelMissing: No backend has ``algo`` for these options.

    Source: Dumoulin & Visin, arXiv:1603.07285, section 2.

    >>> conv2d(Tensor([[[[1.0, 2.0, 3.0]]]]), Tensor([[[[1.0, 10.0]]]])).numpy()
    array([[[[21., 32.]]]], dtype=float32)
    """
    return _checked_conv(
        "conv2d", 2, x, weight, bias, (stride, padding, dilation), groups, flip, algo
    )


def conv3d_samples(rng):
    normal = rng.standard_normal
    x, weight, bias = normal((1, 2, 4, 3, 5)), normal((2, 2, 2, 3, 2)), normal(2)
    options = dict(stride=(1, 1, 2), padding=(0, 1, 0), dilation=(2, 1, 1))
    yield Sample((x, weight, bias), options, differentiable=(0, 1, 2))
    options = dict(padding=1, groups=2, algo="fft")
    yield Sample((x, normal((2, 1, 2, 2, 2))), options, differentiable=(0, 1))
    yield Sample((x.transpose(0, 2, 3, 4, 1), weight), error=(ShapeError, "(0, 4, 1, 2, 3)"))
    yield Sample((x, weight), dict(algo="winograd"), error=(KernelMissing, "needs a kernel"))


@op(conv3d_samples)
def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride=1,
    padding=0,
    dilation=1,
    groups: int = 1,
    flip: bool = False,
    algo: str = "auto",
) -> Tensor:
    """``conv2d`` over three axes, with the same options.

    Shapes: x (N, C, D, H, W), weight (O, C/groups, kD, kH, kW), bias (O,) -> (N, O, oD, oH, oW).

    >>> conv3d(Tensor([[[[[1.0]], [[2.0]]]]]), Tensor([[[[[1.0]], [[10.0]]]]])).numpy()
    array([[[[[21.]]]]], dtype=float32)
    """
    return _checked_conv(
        "conv3d", 3, x, weight, bias, (stride, padding, dilation), groups, flip, algo
    )


def _checked_conv(name, rank, x, weight, bias, sliding, groups, flip, algo):
    floats(name, x, weight, *([] if bias is None else [bias]))
    if algo not in Convolution.ALGOS:
        raise OptionError(
            f"{name}: expected algo to be one of {', '.join(Convolution.ALGOS)}; got {algo!r}.",
            "leave it at 'auto'.",
        )
    if not x.ndim == weight.ndim == rank + 2:
        _refuse_shapes(name, rank, x, weight, groups)
    check_groups(name, groups, x.shape[1], weight.shape[0])
    if x.shape[1] != weight.shape[1] * groups:
        _refuse_shapes(name, rank, x, weight, groups)
    check_bias(name, bias, weight.shape[0])
    window = Window.of(name, x.shape[2:], weight.shape[2:], *sliding)
    return conv(x, weight, bias, Convolution(window, groups, bool(flip), algo))


def _refuse_shapes(name, rank, x, weight, groups):
    axes, kernel = AXES[rank], kernel_axes(rank)
    fix = "build the layer for as many channels as x has."
    if x.ndim == weight.ndim == rank + 2 and x.shape[-1] == weight.shape[1] * groups:
        order = (0, rank + 1, *range(1, rank + 1))
        fix = f"x looks channels-last; on the host, data.transpose{order}."
    raise ShapeError(
        f"{name}: expected x (N, C, {axes}) and weight (O, C/groups, {kernel}) that agree on C "
        f"and groups={groups}; got {x.shape} and {weight.shape}.",
        fix,
    )


def kernel_axes(rank):
    return ", ".join(f"k{axis}" for axis in AXES[rank].split(", "))


def check_groups(name, groups, in_channels, out_channels):
    fits = isinstance(groups, int) and 1 <= groups <= min(in_channels, out_channels)
    if not fits or in_channels % groups or out_channels % groups:
        raise ShapeError(
            f"{name}: expected at least one group and numbers of channels that it divides; "
            f"got groups={groups}, {in_channels} channels in and {out_channels} out.",
            "choose a divisor of both.",
        )


def check_bias(name, bias, out_channels):
    if bias is not None and bias.shape != (out_channels,):
        raise ShapeError(
            f"{name}: expected a bias ({out_channels},); got {bias.shape}.",
            "give one number per output channel.",
        )


def conv(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Convolution) -> Tensor:
    """A convolution whose geometry has been checked, recorded."""
    operands = (x, weight) if bias is None else (x, weight, bias)
    (y,) = compute("conv", *operands, geometry=geometry)  # (N, O, *out_size)

    def gradient(gy, needs, x, weight):
        gx = conv_grad_input(gy, weight, geometry) if needs[0] else None
        if needs[1:] == (True, True):
            return gx, *conv_grad_parameters(x, gy, geometry)
        gw = conv_grad_weight(x, gy, geometry) if needs[1] else None
        gb = [_over_channels(gy) if needs[2] else None] if len(needs) > 2 else []
        return gx, gw, *gb

    return record(y, operands, saved=(x, weight), gradient=gradient)


def conv_grad_input(gy: Tensor, weight: Tensor, geometry: Convolution) -> Tensor:
    """``conv`` transposed in x: what each pixel of y sends back to those of x."""
    (gx,) = compute("conv_grad_input", gy, weight, geometry=geometry)  # (N, C, *size)

    def gradient(v, needs, gy, weight):
        ggy = conv(v, weight, None, geometry) if needs[0] else None
        gw = conv_grad_weight(v, gy, geometry) if needs[1] else None
        return ggy, gw

    return record(gx, (gy, weight), saved=(gy, weight), gradient=gradient)


def conv_grad_weight(x: Tensor, gy: Tensor, geometry: Convolution) -> Tensor:
    """``conv`` transposed in weight: what each filter cell has met, times what came of it."""
    (gw,) = compute("conv_grad_weight", x, gy, geometry=geometry)  # (O, C/groups, *kernel)

    def gradient(v, needs, x, gy):
        gx = conv_grad_input(gy, v, geometry) if needs[0] else None
        ggy = conv(x, v, None, geometry) if needs[1] else None
        return gx, ggy

    return record(gw, (x, gy), saved=(x, gy), gradient=gradient)


def conv_grad_parameters(x: Tensor, gy: Tensor, geometry: Convolution) -> tuple[Tensor, Tensor]:
    """``conv_grad_weight`` and the gradient of a bias: a kernel that reads gy once makes both."""
    both = compute("conv_grad_weight", x, gy, geometry=replace(geometry, bias=True))

    def gradient(vs, needs, x, gy):
        v, v_bias = vs  # (O, C/groups, *kernel) and (O,)
        gx = conv_grad_input(gy, v, geometry) if needs[0] and v is not None else None
        if not needs[1]:
            return gx, None
        return gx, _to_channels(v_bias, gy) if v is None else conv(x, v, v_bias, geometry)

    return record(tuple(both), (x, gy), saved=(x, gy), gradient=gradient)


def _over_channels(gy):
    """The sum over images and pixels: (N, O, *out_size) -> (O,)."""
    channels = gy.shape[1]
    return reshape(sum_to(gy, (1, channels, *(1 for _ in gy.shape[2:]))), (channels,))


def _to_channels(bias, like):
    """The transpose: (O,) -> (N, O, *out_size), the shape of ``like``."""
    return broadcast_to(reshape(bias, (-1, *(1 for _ in like.shape[2:]))), like.shape)
