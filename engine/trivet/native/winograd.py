"""Winograd F(4x4, 3x3) convolutions: a quarter of the products of the definition.

Any padding; stride and dilation 1, one group. Images travel channels last, or as a slice of
the channels of such; filters are transformed anew by each launch, but once for all replays of a
captured step that does not write them.

Against float64, with normal random operands, the largest error is 0.4e-6 to 3e-6 of the largest
value in all three directions (16 to 256 channels), about that of the definition's own sums. The
tests hold every element to the bound that follows from the sums of absolute values on its way:
``(terms + 32) eps |At| [(|G| |w| |Gt|) * (|Bt| |d| |B|)] |A|``.
"""

from __future__ import annotations

from functools import partial

from ..geometry import Convolution
from ..lib import openmp
from ..registry import Call, Plan
from ..simd import BYTES, LANES, Launch, Operand
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import kernel, refusal
from .finish import ADD, PASS, Finish, image, in_two, zeros
from .memory import SUM
from .winograd_kernels import (
    GAP,
    PRODUCTS,
    TILE,
    winograd_filters,
    winograd_filters_back,
    winograd_images,
    winograd_sums,
)

CHANNELS = 16  # fewer, and the transforms cost more than the products that they save
CHUNKS = 18, 36, 54, 72, 108  # tiles; multiples of the rows that the wider blocks hold
NEAR = 2**21  # bytes of transformed filters that stay in the second-level cache
MOST = 2**28  # bytes of sums, all threads together
FEW, LARGE = 24, 2**23  # so few tiles do not pay for the transform of so many bytes of filters
CELLS = 9  # of a filter


def unfit(call: Call, geometry: Convolution, channels: tuple[int, int]) -> str | None:
    """Why a convolution cannot be done this way; None if it can."""
    window = geometry.window
    if why := refusal(call):
        return why
    if geometry.algo not in ("auto", "winograd"):
        return f"algo is {geometry.algo!r}"
    if (window.kernel, window.stride, window.dilation) != ((3, 3), (1, 1), (1, 1)):
        return "Winograd needs a kernel of (3, 3), stride 1 and dilation 1"
    if geometry.groups > 1 or geometry.flip:
        return "one group, no flip"
    if call.means.strict:
        return "Winograd sums in another order than the reference"
    if min(channels) < CHANNELS:
        return f"fewer than {CHANNELS} channels"
    return None


def vectors(channels: int) -> int:
    return -(-channels // LANES)


def matrix(rows: int, channels: int) -> int:
    """Bytes of the matrix of one product; ``winograd_kernels.matrix`` of the vectors."""
    return rows * vectors(channels) * BYTES + GAP


def _scratch(chunk: int, inputs: int, outputs: int) -> int:
    """Bytes of a thread's left sides and results (or right sides)."""
    return PRODUCTS * (matrix(chunk, inputs) + matrix(chunk, outputs)) + GAP


def _grid(size, out_size, padding, pixel, out_pixel) -> tuple[int, ...]:
    """The entries of ``winograd_kernels.Grid``."""
    (height, width), (out_height, out_width) = size, out_size
    rows, columns = -(-out_height // TILE), -(-out_width // TILE)
    return (
        rows, columns, height, width, width * pixel, pixel,
        out_height, out_width, out_width * out_pixel, out_pixel, *padding,
    )  # fmt: skip


def _chunks(tiles: int, filters: int) -> list[int]:
    """Tiles in a chunk, the best guess first: few, but where each chunk must fetch the filters."""
    most = -(-tiles // openmp.threads())  # of a thread
    sizes = sorted({min(chunk, most) for chunk in CHUNKS})
    best = min(36 if filters <= NEAR else CHUNKS[-1], sizes[-1])
    return [best, *(chunk for chunk in sizes if chunk != best)]


class Filters:
    """Where the filters of a launch lie, as ``winograd_filters`` reads them; steps in bytes."""

    def __init__(self, shape, turned: bool):
        outputs, inputs = shape[:2]
        self.steps = 36, 36 * inputs  # along axis 1, along axis 0
        self.turned, self.cell, self.first = turned, 4, 0
        self.inputs, self.outputs = inputs, outputs
        if turned:
            self.steps, self.cell, self.first = self.steps[::-1], -4, 4 * (CELLS - 1)
            self.inputs, self.outputs = outputs, inputs


def images(algo: str, grid, y: Spec, filters: Filters, ins: list[Spec], finish: Finish):
    """Plans of y = x through the filters, finished; operands x, w, then what ``finish`` names."""
    inputs, outputs = filters.inputs, filters.outputs
    tiles, transformed = y.shape[0] * grid[0] * grid[1], PRODUCTS * matrix(inputs, outputs)
    if algo == "auto" and tiles < FEW and transformed > LARGE:
        return "transforming the filters would take longer than so few tiles win"
    folded = finish.folded(outputs)
    other = zeros(outputs), 0
    if finish.other is not None:
        other = Operand(1 + finish.other), 4 * ins[finish.other].pixels[1]

    def ahead(at, number):
        scale, _ = finish.affine(number, outputs)
        return [*finish.fold(at, number, outputs), (winograd_filters, (
            Operand(number, folded), Operand(at(1), filters.first), inputs, outputs,
            *filters.steps, filters.cell, scale,
        ))]  # fmt: skip

    def plan(chunk):
        own = _scratch(chunk, inputs, outputs)

        def rest(number, scratch_at):
            _, shift = finish.affine(number, outputs)
            return winograd_images, (
                *grid, Operand(0), Operand(1), Operand(number, folded), shift, *other, finish.mode,
                finish.lowest, inputs, outputs, y.shape[0], chunk, scratch_at, own, zeros(inputs),
            )  # fmt: skip

        return in_two(
            ahead, rest, [1, *finish.constants], ins, y, folded + transformed,
            openmp.threads() * own, name=f"winograd, {chunk} tiles", over=finish.over(ins, y),
        )  # fmt: skip

    return [plan(chunk) for chunk in _chunks(tiles, transformed)]


def forward(call: Call, geometry: Convolution, finish: Finish) -> list[Plan] | str:
    """Plans of a call that begins with a convolution."""
    (x, w, *_), window = call.ins, geometry.window
    if why := unfit(call, geometry, w.shape[:2]):
        return why
    x, pixel = image(x)
    y = Spec((x.shape[0], w.shape[0], *window.out_size), x.dtype, CHANNELS_LAST)
    ins = [x, *(spec.at(PLAIN) for spec in call.ins[1:])]
    if finish.other is not None:
        if call.ins[finish.other].shape != y.shape:
            return "adds no image of the same shape"
        ins[finish.other] = image(call.ins[finish.other])[0]
    padding = window.padding[0][0], window.padding[1][0]
    grid = _grid(window.size, window.out_size, padding, pixel, 4 * w.shape[0])
    return images(geometry.algo, grid, y, Filters(w.shape, False), ins, finish)


def backward(call: Call, geometry: Convolution, finish: Finish) -> list[Plan] | str:
    """Plans of a call that begins with the gradient of a convolution's input."""
    (gy, w, *_), window = call.ins, geometry.window
    if why := unfit(call, geometry, w.shape[:2]):
        return why
    gy, pixel = image(gy)
    gx = Spec((gy.shape[0], w.shape[1], *window.size), gy.dtype, CHANNELS_LAST)
    ins = [gy, w.at(PLAIN)]
    if finish.other is not None:
        if call.ins[2].shape != gx.shape:
            return "no image of the same shape"
        ins.append(image(call.ins[2])[0])
    padding = 2 - window.padding[0][0], 2 - window.padding[1][0]  # below 0: pixels are left out
    grid = _grid(window.out_size, window.size, padding, pixel, 4 * w.shape[1])
    return images(geometry.algo, grid, gx, Filters(w.shape, True), ins, finish)


@kernel("conv_grad_input")
def conv_grad_input(call: Call) -> list[Plan] | str:
    """gy (N, O, *out_size), w (O, C, 3, 3) -> (N, C, H, W)."""
    return backward(call, call.geometry, Finish())


def joined_gradient(call: Call, mode: int) -> list[Plan] | str:
    """gy, w, another image of the size of the gradient."""
    if mode == PASS and call.geometry[2] != 0:
        return "the gradient is that of the rectifier's result"
    return backward(call, call.geometry[0], Finish(other=2, mode=mode))


kernel("conv_grad_input+add")(partial(joined_gradient, mode=ADD))
kernel("conv_grad_input+relu_grad")(partial(joined_gradient, mode=PASS))


@kernel("conv_grad_weight")
def conv_grad_weight(call: Call) -> list[Plan] | str:
    """x (N, C, H, W), gy (N, O, *out_size) -> (O, C, 3, 3)[, a bias' gradient (O,)]."""
    (x, gy), window = call.ins, call.geometry.window
    inputs, outputs = x.shape[1], gy.shape[1]
    if why := unfit(call, call.geometry, (inputs, outputs)):
        return why
    (x, pixel), (gy, out_pixel) = image(x), image(gy)
    gw = Spec((outputs, inputs, *window.kernel), x.dtype)
    outs = gw, *[Spec((outputs,), x.dtype)] * call.geometry.bias
    padding = window.padding[0][0], window.padding[1][0]
    grid = _grid(window.size, window.out_size, padding, pixel, out_pixel)
    threads = openmp.threads()
    matrices = PRODUCTS * matrix(inputs, outputs)
    sums = matrices + 2 * BYTES * vectors(outputs) * call.geometry.bias  # the totals' float64
    if threads * sums > MOST:
        return f"the sums of {threads} threads would take {threads * sums >> 20} MiB"

    image_at, gradient_at, workspace = (len(outs) + k for k in range(3))
    last = [(winograd_filters_back, (Operand(0), Operand(workspace), sums, inputs, outputs))]
    if call.geometry.bias:
        totals = Operand(workspace, matrices)
        last.append((SUM.finishing, (outputs, totals, sums, threads, Operand(1))))

    def plan(chunk):
        scratch = _scratch(chunk, inputs, outputs)
        first = winograd_sums, (
            *grid, Operand(image_at), Operand(gradient_at), Operand(workspace), sums, inputs,
            outputs, x.shape[0], chunk, Operand(workspace, threads * sums), scratch,
            zeros(max(inputs, outputs)), matrices * call.geometry.bias,
        )  # fmt: skip
        run = Launch(first, *last)
        space = threads * (sums + scratch)
        name = f"winograd, {chunk} tiles"
        return Plan(run, (x, gy), outs, space, bind=run.bind, name=name, addressed=True)

    return [plan(chunk) for chunk in _chunks(x.shape[0] * grid[0] * grid[1], matrices)]
