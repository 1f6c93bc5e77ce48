"""Convolutions joined with what follows them, held to the links one by one in float64."""

import ml_dtypes
import numpy as np
from onednn_calls import U, numbers, plain, plans_of, reference, run
from trivet.config import Means
from trivet.launch import upload
from trivet.ops.norm import Blocks

CHAINS = [
    "conv+relu",
    "conv+add",
    "conv+batch_norm_inference",
    "conv+batch_norm_inference+relu",
    "conv+add+relu",
    "conv+batch_norm_inference+add",
    "conv+batch_norm_inference+add+relu",
]


def check_chain(rng, name, x, w, bias, geometry, per_channel=False, backend="trivet.onednn"):
    """Each product is rounded, their sum is, and so is each link: (terms + 8) U of all sizes.

    Images and filters are numbers of bfloat16, so plans that round them are held to it as well.
    """
    x, w = (a.astype(ml_dtypes.bfloat16).astype(np.float32) for a in (x, w))
    operands, nested = [x, w, *bias], geometry
    (y,) = reference("conv", *operands, geometry=geometry)
    (size,) = reference("conv", *map(np.abs, operands), geometry=geometry)
    channels = y.shape[1]
    column = (1, channels, *(1 for _ in y.shape[2:]))
    for link in name.split("+")[1:]:
        own = None
        if link == "relu":
            own, y = (), np.maximum(y, 0)
        elif link == "add":
            other = numbers(rng, *(column[1:] if per_channel else y.shape))
            y, size = y + other, size + np.abs(other)
            operands.append(other)
        else:
            own = Blocks((len(y), channels, y[0, 0].size), (0, 2), (1, channels, 1), 1e-5)
            given = [numbers(rng, channels) for _ in range(3)]
            given.append(rng.uniform(0.1, 2, channels).astype(np.float32))
            operands += given
            weight, shift, mean, var = (a.astype(float).reshape(column) for a in given)
            slope = weight / np.sqrt(var + 1e-5)
            y = (y - mean) * slope + shift
            size = (size + np.abs(mean)) * np.abs(slope) + np.abs(shift)
        nested = nested, own, 0
    buffers = [upload(a) for a in operands]
    means = Means("reduced")
    plans = plans_of(name, *buffers, geometry=nested, means=means, backend=backend)
    if isinstance(plans, str) and plans.startswith("oneDNN has only ref:any for this"):
        assert x.shape[1] == 1 or w.shape[1] < 16  # of few channels some
        return
    assert not isinstance(plans, str), plans
    for plan in plans:
        for over in (None, *plan.over):
            (out,) = run(plan, buffers, over)
            assert (np.abs(plain(out) - y) <= (w[0].size + 8) * U * size).all(), plan.name
    return plans
