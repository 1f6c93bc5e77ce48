"""How much of this machine PyTorch gets hold of; `rosetta machine` runs it, or by hand:

PYTHONPATH=harness python notebooks/pytorch/machine.py cpu 10
"""

from functools import partial

import torch
import torch.nn.functional as F
from rosetta.probe.roofline import Machine, cpu_has_bf16

machine = Machine(
    {"torch": torch.__version__},
    synchronize=lambda result: torch.cuda.synchronize() if machine.device == "cuda" else None,
)
device = torch.device(machine.device)
precisions = {"fp32": torch.float32}
if device.type == "cuda":
    precisions.update(tf32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
elif cpu_has_bf16():
    precisions.update(bf16=torch.bfloat16)
torch.backends.cudnn.benchmark = True
layouts = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


def switch(precision):
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def product(precision, size):
    switch(precision)
    a, b = torch.randn(2, size, size, device=device).to(precisions[precision])
    out = torch.empty_like(a)
    return lambda: torch.matmul(a, b, out=out)


def convolution(precision, shape, memory_format):
    switch(precision)
    images, channels, side = shape
    x = torch.randn(images, channels, side, side, device=device)
    w = torch.randn(channels, channels, 3, 3, device=device)
    x, w = (t.to(precisions[precision], memory_format=memory_format) for t in (x, w))
    return lambda: F.conv2d(x, w, padding=1)


def copy():
    source = torch.ones(machine.bytes // 4, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def tiny():
    x = torch.ones(8, device=device)
    return lambda: torch.relu(x)


for precision in precisions:
    for size in machine.sizes:
        machine.gemm(precision, size, partial(product, precision, size))
    for shape in machine.convolutions:
        for layout, memory_format in layouts.items():
            prepare = partial(convolution, precision, shape, memory_format)
            machine.convolution(precision, shape, layout, prepare)
machine.copy(copy)
machine.dispatch("relu of 8 numbers", tiny)
with torch.inference_mode():
    machine.measure()
