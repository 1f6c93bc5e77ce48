"""How much of this machine JAX gets hold of; `rosetta machine` runs it, or by hand:

PYTHONPATH=harness python notebooks/jax_flax/machine.py cpu 10
"""

from functools import partial

import jax
import jax.numpy as jnp
from rosetta.probe.roofline import Machine, cpu_has_bf16

machine = Machine({"jax": jax.__version__}, synchronize=jax.block_until_ready)
found = "cuda" if jax.devices()[0].platform == "gpu" else jax.devices()[0].platform
if found != machine.device:
    raise SystemExit(f"JAX runs on {found} here, not on {machine.device}")
precisions = {"fp32": (jnp.float32, "highest")}
if machine.device == "cuda":
    precisions["tf32"] = jnp.float32, "tensorfloat32"
    precisions["fp16"] = jnp.float16, "default"
if machine.device == "cuda" or cpu_has_bf16():
    precisions["bf16"] = jnp.bfloat16, "default"
layouts = {"channels first": ("NCHW", "OIHW", "NCHW"), "channels last": ("NHWC", "HWIO", "NHWC")}


def normal(shape, dtype):
    return jax.random.normal(jax.random.key(0), shape).astype(dtype)


def each_waited_for(function, *arguments):
    """Calls that do not depend on each other may overlap on a CPU: the last is not the end."""
    return lambda: jax.block_until_ready(function(*arguments))


def product(precision, size):
    dtype, arithmetic = precisions[precision]
    a = normal((size, size), dtype)
    return each_waited_for(jax.jit(partial(jnp.matmul, precision=arithmetic)), a, a)


def convolution(precision, shape, layout):
    dtype, arithmetic = precisions[precision]
    images, channels, side = shape
    lengths = {"N": images, "C": channels, "H": side, "W": side, "O": channels, "I": channels}
    window = {**lengths, "H": 3, "W": 3}
    x = normal([lengths[axis] for axis in layouts[layout][0]], dtype)
    w = normal([window[axis] for axis in layouts[layout][1]], dtype)
    options = {"dimension_numbers": layouts[layout], "precision": arithmetic}
    convolve = partial(jax.lax.conv_general_dilated, window_strides=(1, 1), padding="SAME")
    return each_waited_for(jax.jit(partial(convolve, **options)), x, w)


def copy():
    return each_waited_for(jax.jit(jnp.copy), jnp.ones(machine.bytes // 4, jnp.float32))


def tiny():
    relu, state = jax.jit(jax.nn.relu), [jnp.ones(8, jnp.float32)]

    def call():
        state[0] = relu(state[0])  # the next one needs it, so the last is the end of all
        return state[0]

    return call


for precision in precisions:
    for size in machine.sizes:
        machine.gemm(precision, size, partial(product, precision, size))
    for shape in machine.convolutions:
        for layout in layouts:
            prepare = partial(convolution, precision, shape, layout)
            machine.convolution(precision, shape, layout, prepare)
machine.copy(copy)
machine.dispatch("relu of 8 numbers", tiny)
machine.measure()
