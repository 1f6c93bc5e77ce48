"""Whether 512-bit vectors pay on this processor: measured once, and kept in a file.

Some processors do a 512-bit operation in two halves (Zen 4), or have one unit for them beside two
for 256 bits. There sixteen lanes compute no faster than eight, and waste more of odd channel
counts. No feature flag tells, so a loop of multiply-adds is timed both ways.
"""

from __future__ import annotations

import ctypes
import json
import os
import tempfile
from time import perf_counter

import llvmlite.binding as llvm

from ..folders import user_folder

CHAINS = 10  # independent sums: more than latency times units, and they fit in 16 registers
TURNS = 50_000  # of the loop: 0.1 to 0.3 ms
ROUNDS = 20
PAYS = 1.3  # as much faster must the wide loop be; it is 1 or 2, and noise lies between


def lanes_of_a_wide_register(cpu: str, features: str) -> int:
    """16 or 8: float32 lanes of a vector on a processor that has AVX-512.

    Args:
        cpu, features: As LLVM names them; the file has one entry for each processor.
    """
    path = user_folder() / "lanes.json"
    try:
        known = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    if known.get(cpu) not in (8, 16):
        rates = flop_rates((8, 16), cpu, features)
        known[cpu] = 16 if rates[16] > PAYS * rates[8] else 8
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(known, file)
        os.replace(name, path)
    return known[cpu]


def flop_rates(widths: tuple[int, ...], cpu: str, features: str) -> dict[int, float]:
    """The fastest of interleaved rounds, by lanes, in float32 operations per second."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=2, jit=True)
    module = llvm.parse_assembly("\n".join(map(_loop, widths)))
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64, ctypes.c_float)
    loops = {lanes: kind(engine.get_function_address(f"fma{lanes}")) for lanes in widths}
    best = dict.fromkeys(widths, float("inf"))
    for _ in range(ROUNDS):
        for lanes, loop in loops.items():
            start = perf_counter()
            loop(TURNS, 0.5)
            best[lanes] = min(best[lanes], perf_counter() - start)
    return {lanes: 2 * lanes * CHAINS * TURNS / seconds for lanes, seconds in best.items()}


def _loop(lanes: int) -> str:
    """LLVM IR of ``CHAINS`` sums a = x * a + x, ``turns`` times; their total is returned."""
    v, fma, line = f"<{lanes} x float>", f"@llvm.fma.v{lanes}f32", "\n  "
    sums = [f"%a{k} = phi {v} [ zeroinitializer, %entry ], [ %b{k}, %loop ]" for k in range(CHAINS)]
    steps = [f"%b{k} = call {v} {fma}({v} %x, {v} %a{k}, {v} %x)" for k in range(CHAINS)]
    total = [f"%t{k + 1} = fadd {v} %t{k}, %b{k}" for k in range(CHAINS)]
    return f"""
declare {v} {fma}({v}, {v}, {v})

define float @fma{lanes}(i64 %turns, float %one) {{
entry:
  %first = insertelement {v} undef, float %one, i32 0
  %x = shufflevector {v} %first, {v} undef, <{lanes} x i32> zeroinitializer
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  {line.join([*sums, *steps])}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %turns
  br i1 %more, label %loop, label %done
done:
  %t0 = fadd {v} zeroinitializer, %x
  {line.join(total)}
  %sum = extractelement {v} %t{CHAINS}, i32 0
  ret float %sum
}}
"""
