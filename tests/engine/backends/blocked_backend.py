"""A toy backend with a layout of its own, nChw4c: channels in blocks of four, innermost.

It stands for oneDNN: float32 only, private pooling codes, scratch memory, and elementwise
kernels that follow the layout where zeros stay zeros, and one joined kernel. It refuses the rest.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from trivet import registry
from trivet.registry import Plan
from trivet.spec import PLAIN, Layout, Spec

kernel = partial(registry.kernel, backend=__name__)


@dataclass(frozen=True)
class Blocked(Layout):
    name: str = "nChw4c"

    def physical(self, shape):
        n, c, h, w = shape
        return n, -(-c // 4), h, w, 4


NCHW4C = Blocked()
CODE = 0xF0  # this backend's places in a pooling window are scrambled: nobody else may read them


def pack(a):
    n, c, h, w = a.shape
    padded = np.zeros((n, -(-c // 4) * 4, h, w), a.dtype)
    padded[:, :c] = a
    return padded.reshape(n, -1, 4, h, w).transpose(0, 1, 3, 4, 2)  # (N, C/4, H, W, 4)


def unpack(a, channels):
    n, _, h, w, _ = a.shape
    return a.transpose(0, 1, 4, 2, 3).reshape(n, -1, h, w)[:, :channels]  # (N, C, H, W)


@kernel("reorder")
def reorder(call):
    (x,) = call.ins
    channels, out = x.shape[1] if len(x.shape) == 4 else 0, x.at(call.geometry)
    match x.layout, call.geometry:
        case (Layout("plain"), Blocked()):
            return Plan(lambda y, x: np.copyto(y, pack(x)), (x,), (out,))
        case (Blocked(), Layout("plain")):
            return Plan(lambda y, x: np.copyto(y, unpack(x, channels)), (x,), (out,))
        case (Blocked(), Blocked()):
            return Plan(np.copyto, (x,), (out,))
    return "no blocked layout on either side"


def taps(window):
    """For each kernel cell: its place, and where its pixels are in the padded image."""
    (oh, ow), (sh, sw), (dh, dw) = window.out_size, window.stride, window.dilation
    for i, j in np.ndindex(*window.kernel):
        h, w = i * dh, j * dw
        yield i, j, np.s_[:, :, h : h + sh * (oh - 1) + 1 : sh, w : w + sw * (ow - 1) + 1 : sw]


def inside(window):
    (h, w), ((ph, _), (pw, _)) = window.size, window.padding
    return np.s_[:, :, ph : ph + h, pw : pw + w]


def refusal(call):
    window = getattr(call.geometry, "window", call.geometry)
    if call.ins[0].dtype != "float32":
        return f"float32 only, not {call.ins[0].dtype}"
    if len(window.size) != 2 or 0 in call.ins[0].shape:
        return "images only, and some of them"
    if getattr(call.geometry, "groups", 1) != 1 or getattr(call.geometry, "flip", False):
        return "one group, no flip"
    return "sums tap by tap, not in the reference's order" if call.means.strict else None


def rounded(a, means):
    return a.astype("float16").astype("float32") if means.precision == "reduced" else a


def convolve(call, finish=lambda y: y):
    """The plan of conv, with what a joined kernel does to its result."""
    x, w, *bias = call.ins
    d = call.geometry.window
    y = Spec((x.shape[0], w.shape[0], *d.out_size), x.dtype, NCHW4C)
    padded = Spec((*x.shape[:2], *d.padded), x.dtype)

    def run(out, xs, ws, *rest):
        *bias, scratch = rest
        image = scratch.view("float32").reshape(padded.shape)
        image[...] = 0
        image[inside(d)] = rounded(unpack(xs, x.shape[1]), call.means)
        total = sum(np.einsum("nchw,oc->nohw", image[at], ws[:, :, i, j]) for i, j, at in taps(d))
        if bias:
            total += bias[0][:, None, None]
        out[...] = pack(finish(total))

    ins = (x.at(NCHW4C), *(s.at(PLAIN) for s in (w, *bias)))
    return Plan(run, ins, (y,), padded.nbytes)


@kernel("conv")
def conv(call):
    return refusal(call) or convolve(call)


@kernel("conv+relu")
def conv_relu(call):
    """The joined kernel: its geometry is (conv's, relu's, place). 1x1 filters it wants blocked."""
    alone = replace(call, geometry=call.geometry[0])
    if why := refusal(alone):
        return why
    plan = convolve(alone, lambda y: np.maximum(y, 0))
    if alone.geometry.window.kernel != (1, 1):
        return plan
    x, w, *bias = plan.ins

    def run(out, xs, ws, *rest):
        plan.run(out, xs, unpack(ws, w.shape[1]), *rest)

    return replace(plan, run=run, ins=(x, w.at(NCHW4C), *bias))


@kernel("conv_grad_input")
def conv_grad_input(call):
    if why := refusal(call):
        return why
    (gy, w), d = call.ins, call.geometry.window
    gx = Spec((gy.shape[0], w.shape[1], *d.size), gy.dtype, NCHW4C)

    def run(out, gys, ws):
        image = np.zeros((*gx.shape[:2], *d.padded), "float32")
        for i, j, at in taps(d):
            image[at] += np.einsum("nohw,oc->nchw", unpack(gys, gy.shape[1]), ws[:, :, i, j])
        out[...] = pack(image[inside(d)])

    return Plan(run, (gy.at(NCHW4C), w.at(PLAIN)), (gx,))


@kernel("conv_grad_weight")
def conv_grad_weight(call):
    if why := refusal(call):
        return why
    (x, gy), d = call.ins, call.geometry.window

    def run(gw, *rest):
        *gb, xs, gys = rest
        image, gradient = np.zeros((*x.shape[:2], *d.padded), "float32"), unpack(gys, gy.shape[1])
        image[inside(d)] = unpack(xs, x.shape[1])
        for i, j, at in taps(d):
            gw[:, :, i, j] = np.einsum("nchw,nohw->oc", image[at], gradient)
        for sums in gb:
            sums[...] = gradient.sum((0, 2, 3))

    gw = Spec((gy.shape[1], x.shape[1], *d.kernel), x.dtype)
    gb = [Spec(gw.shape[:1], x.dtype)] * call.geometry.bias
    return Plan(run, (x.at(NCHW4C), gy.at(NCHW4C)), (gw, *gb))


@kernel("max_pool")
def max_pool(call):
    if (why := refusal(call)) or any(map(any, call.geometry.padding)):
        return why or "no padding"
    (x,), d = call.ins, call.geometry
    y = Spec((*x.shape[:2], *d.out_size), x.dtype, NCHW4C)

    def run(out, *rest):
        *code, xs = rest
        cells = np.stack([unpack(xs, x.shape[1])[at] for _, _, at in taps(d)])
        out[...] = pack(cells.max(0))
        if code:
            code[0][...] = pack(cells.argmax(0).astype("uint8") ^ CODE)

    code = (Spec(y.shape, "uint8", NCHW4C),) if call.auxiliaries else ()
    return Plan(run, (x.at(NCHW4C),), (y, *code))


@kernel("max_pool_grad")
def max_pool_grad(call):
    (gy, code), d = call.ins, call.geometry
    gx = Spec((*gy.shape[:2], *d.size), gy.dtype, NCHW4C)

    def run(out, gys, code):
        image = np.zeros(gx.shape, "float32")
        won = unpack(code, gy.shape[1]) ^ CODE
        for cell, (_, _, at) in enumerate(taps(d)):
            image[at] += unpack(gys, gy.shape[1]) * (won == cell)
        out[...] = pack(image)

    return Plan(run, (gy.at(NCHW4C), code), (gx,))


@kernel("max_pool_gather")
def max_pool_gather(call):
    (v, code), d = call.ins, call.geometry
    y = Spec((*v.shape[:2], *d.out_size), v.dtype, NCHW4C)

    def run(out, vs, code):
        won, image = unpack(code, v.shape[1]) ^ CODE, unpack(vs, v.shape[1])
        cells = [image[at] * (won == cell) for cell, (_, _, at) in enumerate(taps(d))]
        out[...] = pack(sum(cells))

    return Plan(run, (v.at(NCHW4C), code), (y,))


def follows(name, function, writes=()):
    """An elementwise kernel with f(0, ...) = 0: it may run over the padding lanes."""

    @kernel(name)
    def answer(call):
        first, *rest = call.ins
        if NCHW4C not in {s.layout for s in call.ins}:
            return "no operand is blocked"
        if any(s.shape != first.shape for s in rest) or first.dtype != "float32":
            return "operands differ in shape, or are not float32"
        ins = tuple(s.at(NCHW4C) for s in call.ins)
        if writes:
            ins = tuple(s.at(first.layout) for s in call.ins)
            return Plan(function, ins, writes=writes)
        return Plan(lambda y, *xs: np.copyto(y, function(*xs)), ins, (first.at(NCHW4C),))

    return answer


follows("mul", np.multiply)
follows("add", np.add)
follows("relu", lambda x: np.maximum(x, 0))
follows("relu_grad", lambda gy, y: gy * (y > 0))
follows("accumulate", lambda total, x: np.add(total, x, out=total), writes=(0,))
