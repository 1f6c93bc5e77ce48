"""The published ONNX operator cases through trivet: outcomes, and the tables of docs/onnx.md.

``python tests/engine/onnx_nodes.py`` writes the tables anew.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from trivet import Tensor
from trivet.errors import FormatError
from trivet.formats.onnx import load

PAGE = Path(__file__).parents[2] / "docs/onnx.md"
START, END = "<!-- made by tests/engine/onnx_nodes.py -->", "<!-- end -->"
RTOL, ATOL = 1e-5, 1e-6
ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad"}  # published with four digits
RANDOM = {  # published with the mask that one seed of NumPy drew
    "test_training_dropout",
    "test_training_dropout_default",
    "test_training_dropout_default_mask",
    "test_training_dropout_mask",
}


@dataclass(frozen=True)
class Outcome:
    name: str
    operator: str
    status: str  # "passed", "failed", "not applicable"
    reason: str = ""


def published():
    """All cases, made by the onnx package itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflows that the cases mean to show
        return load_model_tests(kind="node")


def outcomes(cases) -> list[Outcome]:
    operators = {c.name: c.model.graph.node[0].op_type for c in cases if "_expanded" not in c.name}
    return [outcome(c, operators.get(plain(c.name)) or plain(c.name)) for c in cases]


def plain(name: str) -> str:
    """The case that this one is with its operator written out in others."""
    return re.sub(r"_expanded.*", "", name)


def outcome(case, operator: str) -> Outcome:
    if plain(case.name) in RANDOM:
        return Outcome(case.name, operator, "not applicable", "random numbers of NumPy")
    try:
        net = load(case.model)
        for inputs, outputs in case.data_sets:
            agrees(net, [array(v) for v in inputs], [array(v) for v in outputs], case)
    except FormatError as error:
        return Outcome(case.name, operator, "not applicable", reason(error.args[0], operator))
    except Exception as error:
        return Outcome(case.name, operator, "failed", f"{type(error).__name__}: {error}")
    return Outcome(case.name, operator, "passed")


def array(value) -> np.ndarray:
    is_proto = isinstance(value, onnx.TensorProto)
    return numpy_helper.to_array(value) if is_proto else np.asarray(value)


def agrees(net, inputs, expected, case) -> None:
    got = net(*(Tensor(x) for x in inputs))
    for y, wanted in zip(got if isinstance(got, tuple) else (got,), expected, strict=True):
        assert (y.dtype, y.shape) == (wanted.dtype.name, wanted.shape)
        rtol, atol = (case.rtol, case.atol) if case.name in ROUNDED else (RTOL, ATOL)
        if y.dtype in ("float16", "bfloat16"):  # each op rounds, the reference not always there
            rtol = 2 * float(ml_dtypes.finfo(wanted.dtype).eps)
        wide = [v.astype("float64") for v in (y.numpy(), wanted)]
        np.testing.assert_allclose(*wide, rtol, atol)


def reason(complaint: str, operator: str) -> str:
    """In a few words: what of the case the engine lacks."""
    expected, got = re.search(r"expected (.*); got (.*)\.$", complaint).groups()
    if expected == "an operator that the engine has":
        name, _, more = got.partition(" with ")
        lacks = "no such operator" if name == operator else f"needs {name}"
        return "an input left out: not composed by onnx" if more else lacks
    if expected.startswith("at most"):
        return f"{got} {expected.split()[-1]}"
    if expected.startswith("a dtype"):
        return got
    if "domain" in expected:
        return got.removeprefix("one of the ")
    if expected.startswith("a tensor"):
        return got.replace("_", " ")
    return f"{expected.partition(' out of ')[0]} {got}" if " out of " in expected else expected


def tables(found: list[Outcome]) -> str:
    """Markdown: the counts, the operators with what is not applicable, and those without a case."""
    rows, reasons = defaultdict(Counter), defaultdict(Counter)
    for o in found:
        rows[o.operator][o.status] += 1
        if o.status == "not applicable":
            reasons[o.operator][o.reason] += 1
    total = Counter(o.status for o in found)
    lines = [
        f"{len(found)} cases of onnx {onnx.__version__}: **{total['passed']} passed, "
        f"{total['failed']} failed, {total['not applicable']} not applicable**.",
        "",
        "| operator | passed | failed | not applicable | why (cases) |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for operator in sorted(name for name, n in rows.items() if n["passed"] or n["failed"]):
        n = rows[operator]
        lines.append(
            f"| {operator} | {n['passed']} | {n['failed']} | {n['not applicable']} "
            f"| {listed(reasons[operator])} |"
        )
    lines += ["", "No case passes of:", "", "| operator | cases | why |", "| --- | ---: | --- |"]
    for operator in sorted(name for name, n in rows.items() if not n["passed"] + n["failed"]):
        cases = rows[operator]["not applicable"]
        lines.append(f"| {operator} | {cases} | {listed(reasons[operator], cases)} |")
    return "\n".join(lines)


def listed(reasons: Counter, cases: int = 0) -> str:
    return ", ".join(why if n == cases else f"{why} ({n})" for why, n in sorted(reasons.items()))


def page(text: str) -> str:
    """docs/onnx.md with new tables."""
    before, _, rest = PAGE.read_text().partition(START)
    after = rest.partition(END)[2]
    return f"{before}{START}\n{text}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(tables(outcomes(published()))))
