"""The kernel language: what blocks compute, lane by lane, and what threads share."""

import numpy as np
import pytest
from trivet import Tensor, ops
from trivet.lib import openmp
from trivet.simd import (
    LANES,
    Launch,
    Operand,
    block,
    double_bits,
    float_bits,
    helper,
    kernel,
    parameter,
    read,
    read_double,
    read_integer,
    share,
    thread,
    threads,
    write,
    write_integer,
)  # fmt: skip
from trivet.simd.maps import Map
from trivet.simd.rows import Rows
from trivet.simd.sums import ColumnSums

EPS = 2.0**-24


def address(array):
    return array.ctypes.data


def memory(count, dtype="float32"):
    """Aligned, with room behind for the last vector."""
    size = np.dtype(dtype).itemsize
    raw = np.full(count * size + 256, 0xAB, "uint8")
    start = -raw.ctypes.data % 64
    return raw[start : start + count * size].view(dtype)


def mapped(made, *xs, options=(), kinds=None):
    """A Map of flat operands."""
    y = memory(len(xs[0]))
    copies = [memory(len(x)) for x in xs]
    for copy, x in zip(copies, xs):
        copy[...] = x
    table = len(y), *map(address, (y, *copies)), *map(float_bits, options)
    Launch((made.flat(kinds or "m" * len(xs)), table), on=1)()
    return y


def ulps(got, wanted):
    """Distance in units of the last place of the wanted float32."""
    wanted32 = wanted.astype("float32")
    return np.abs(got - wanted) / np.spacing(np.abs(wanted32)).astype("float64")


SPECIAL = np.array([0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, 3e38], "float32")
FUNCTIONS = {
    "exp": (np.linspace(-87.3, 88.7, 5001), np.exp, 2),
    "log": (np.geomspace(1e-37, 1e38, 5001), np.log, 2),
    "log1p": (np.geomspace(1e-30, 1e30, 5001), np.log1p, 3),
    "sigmoid": (np.linspace(-80, 80, 5001), lambda x: 1 / (1 + np.exp(-x)), 5),
    "tanh": (np.linspace(-12, 12, 5001), np.tanh, 4),
    "sqrt": (np.geomspace(1e-37, 1e38, 5001), np.sqrt, 0.51),
    "absolute": (np.linspace(-3, 3, 501), np.abs, 0),
    "round": (np.linspace(-3, 3, 121), np.rint, 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_off_by_few_units_of_the_last_place(name):
    x, exactly, units = FUNCTIONS[name]
    x = x.astype("float32")
    made = Map(f"test_{name}", lambda emit, v: getattr(emit, name)(v))
    with np.errstate(all="ignore"):
        wanted = exactly(x.astype("float64"))
        assert ulps(mapped(made, x), wanted).max() <= units
        if name != "log1p":  # which is of x >= 0
            special = exactly(SPECIAL.astype("float64")).astype("float32")
            np.testing.assert_allclose(mapped(made, SPECIAL), special, rtol=1e-6, atol=1e-37)


def test_reciprocals():
    x = np.geomspace(1e-37, 1e37, 5001, dtype="float32")
    made = Map("test_reciprocal", lambda emit, v: emit.reciprocal(v))
    for signed in (x, -x):
        assert ulps(mapped(made, signed), 1 / signed.astype("float64")).max() <= 2
    assert np.isnan(mapped(made, np.array([np.nan], "float32")))


def test_the_logarithm_of_a_subnormal_number():
    made = Map("test_log", lambda emit, v: emit.log(v))
    x = np.array([1e-45, 3e-42, 1.1e-38], "float32")
    assert ulps(mapped(made, x), np.log(x.astype("float64"))).max() <= 2


@pytest.mark.parametrize("name, numpys", [("larger", np.maximum), ("smaller", np.minimum)])
def test_nan_wins_on_either_side(name, numpys):
    a, b = (v.reshape(-1) for v in np.meshgrid(SPECIAL, SPECIAL))
    made = Map(f"test_{name}", lambda emit, v, w: getattr(emit, name)(v, w))
    np.testing.assert_array_equal(mapped(made, a, b), numpys(a, b))


def test_maximum_keeps_the_nan_of_its_operand():
    made = Map("test_maximum", lambda emit, v: emit.maximum(v, 0.0))
    np.testing.assert_array_equal(mapped(made, SPECIAL), np.maximum(SPECIAL, 0))


def test_integers_comparisons_and_choices():
    def function(emit, v):
        bits = v.as_integers()
        odd = (bits & 1).equals(1)
        mixed = ((bits << 1) >> 1) ^ bits  # the sign alone
        sign = (mixed >> 31).to_floats()
        return odd.choose(sign, (v.differs(v)).choose(emit.constant(7.0), v))

    x = np.array(
        [1.5, -1.5, np.nan, np.nextafter(np.float32(1), 2), -np.nextafter(1, 2, dtype="f")]
    )
    y = mapped(Map("test_integers", function), x.astype("float32"))
    np.testing.assert_array_equal(y, [1.5, -1.5, 7.0, 0.0, 1.0])


@kernel
def _masks_there_and_back(table):
    """y, x, memory for the bits."""
    _masks(parameter(table, 0), parameter(table, 1), parameter(table, 2))


@block
def _masks(emit, y, x, bits):
    v = emit.load(x)
    emit.store_bits(bits, v > 0.0, v.differs(v))
    positive, strange = emit.load_bits(bits)
    nothing = emit.zeros()
    two = strange.choose(emit.constant(2.0), nothing)
    emit.store(y, positive.choose(emit.constant(1.0), two))


def test_masks_are_kept_as_bits():
    x, y, bits = memory(LANES), memory(LANES), memory(LANES // 4 + 1, "uint8")
    x[...] = np.resize([1.0, np.nan, -1.0, 0.0, 2.0], LANES)
    Launch((_masks_there_and_back, (address(y), address(x), address(bits))), on=1)()
    np.testing.assert_array_equal(y, np.resize([1, 2, 0, 0, 1], LANES))
    assert bits[-1] == 0xAB  # two bits per lane, and no byte more


def test_float64_keeps_what_float32_would_lose():
    def function(emit, v, w):
        return ((v.widened() + w.widened()) - v.widened()).narrowed()

    made = Map("test_wide", function)
    assert mapped(made, np.full(5, 1e8), np.full(5, 0.25)).tolist() == [0.25] * 5


@block
def _weave(emit, x, y):
    a, b = emit.load(x), emit.load(x + 4 * LANES)
    c = emit.load(x + 8 * LANES)
    made = emit.woven(a, b), [emit.total(a), emit.largest(b)], emit.interleaved([a, b, c])
    for k, v in enumerate(v for vectors in made for v in vectors):
        emit.store(y + 4 * LANES * k, v)


@block
def _turn(emit, x, y):
    rows = [emit.load(x + 4 * LANES * k) for k in range(LANES)]
    for k, v in enumerate(emit.transposed(rows)):
        emit.store(y + 4 * LANES * k, v)


@kernel
def weave_and_turn(table):
    """x, woven, turned."""
    if thread() == 0:
        _weave(parameter(table, 0), parameter(table, 1))
        _turn(parameter(table, 0), parameter(table, 2))


def test_lanes_change_places():
    x, woven, turned = memory(LANES**2), memory(7 * LANES), memory(LANES**2)
    x[...] = np.arange(LANES**2)
    Launch((weave_and_turn, tuple(map(address, (x, woven, turned)))))()
    a, b = x[:LANES], x[LANES : 2 * LANES]
    np.testing.assert_array_equal(woven[: 2 * LANES], np.stack([a, b], 1).reshape(-1))
    assert (woven[2 * LANES : 3 * LANES] == a.sum()).all()
    assert (woven[3 * LANES : 4 * LANES] == b[-1]).all()
    three = x[: 3 * LANES].reshape(3, LANES)
    np.testing.assert_array_equal(woven[4 * LANES :], three.T.reshape(-1))
    np.testing.assert_array_equal(turned.reshape(LANES, LANES), x.reshape(LANES, LANES).T)


@block
def _count(emit, n, y):
    def body(at, seen, mask):
        ones = emit.constant(1.0)
        return [seen + (ones if mask is None else mask.choose(ones, 0.0))]

    (seen,) = emit.repeat(n, [emit.zeros()], lambda s: [s + 1.0])
    emit.store_one(y, seen)
    (swept,) = emit.sweep(n, [emit.zeros()], lambda at, s, mask: body(at, s, mask))
    emit.store_one(y + 4, emit.total(swept))
    emit.when(n > 3, lambda: emit.store_integer(y + 8, n * 2 - 1))


@kernel
def count_loops(table):
    """n, y."""
    if thread() == 0:
        _count(parameter(table, 0), parameter(table, 1))


@pytest.mark.parametrize("n", [0, 1, 3, LANES - 1, LANES, LANES + 1, 1001])
def test_loops_run_as_often_as_said(n):
    y = memory(4)
    y[...] = -1
    before = y[2:].tobytes()
    Launch((count_loops, (n, address(y))))()
    assert y[:2].tolist() == [n, n]
    assert y[2:].view("int64")[0] == 2 * n - 1 if n > 3 else y[2:].tobytes() == before


@helper
def twice(number):
    return 2 * number


@block
def _number(emit, y, number, count):
    emit.store_one(y, emit.spread(number) + emit.spread(count).to_floats())


@kernel
def numbers(table):
    """y, a float64, an int64, their addresses: scalars, in and out of blocks."""
    if thread() == 0:
        y = parameter(table, 0)
        wide, whole = read_double(parameter(table, 1)), read_integer(parameter(table, 2))
        _number(y, twice(wide), whole)
        write(y + 4, read(y) / 4)
        write_integer(y + 8, whole + threads())


def test_scalars_go_into_blocks_as_float32_and_int64():
    y, wide, whole = memory(4), np.array(1.25), np.array(5)
    Launch((numbers, tuple(map(address, (y, wide, whole)))), on=1)()
    assert y[0] == 7.5 and y[1] == 1.875 and y[2:].view("int64")[0] == 6


@kernel
def parts(table):
    """n, unit, 2 int64 per thread: which part is whose."""
    low, high = share(parameter(table, 0), parameter(table, 1), thread(), threads())
    write_integer(parameter(table, 2) + 16 * thread(), low)
    write_integer(parameter(table, 2) + 16 * thread() + 8, high)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 1000])
@pytest.mark.parametrize("unit", [1, 16])
def test_threads_share_all_of_it_in_whole_units(n, unit):
    for on in 1, 2, 5:
        y = memory(2 * on, "int64")
        Launch((parts, (n, unit, address(y))), on=on)()
        low, high = y.reshape(on, 2).T
        assert low[0] == 0 and high[-1] == n and (high[:-1] == low[1:]).all()
        assert (low % unit == 0)[low < n].all()


def test_a_launch_takes_addresses_and_offsets_and_can_be_bound():
    y, wide, whole = memory(8), np.array(1.0), np.array(2)
    launch = Launch((numbers, (Operand(0, 16), Operand(2), Operand(1))), on=1)
    launch(address(y), address(whole), address(wide))
    assert y[4] == 4.0
    bound = launch.bind(address(y), address(whole), address(wide))
    whole[...] = 3
    bound()
    assert y[4] == 5.0


@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 7), (50, 33), (7, 1000)])
def test_maps_over_rows(rows, columns):
    made = Map("test_rows", lambda emit, m, c, r, o: m * c + r * o, options=1)
    m, y = memory(2 * rows * columns), memory(rows * columns)
    c, r = memory(columns), memory(rows)
    rng = np.random.default_rng(0)
    for a in m, c, r:
        a[...] = rng.standard_normal(a.size)
    at = (y, 0, 4 * columns), (m, 0, 8 * columns), (c, 0, 0), (r, 0, 4)
    steps = (e for a, outer, inner in at for e in (address(a), outer, inner))
    table = rows, rows, columns, *steps, float_bits(2.0)
    for on in 1, 3:
        y[...] = 0
        Launch((made.rows("mcr"), table), on=on)()
        wanted = m.reshape(rows, 2, columns)[:, 0] * c + r[:, None] * 2
        np.testing.assert_allclose(y.reshape(rows, columns), wanted, rtol=4 * EPS, atol=4 * EPS)


def test_sums_of_columns_and_passes_over_rows():
    rows, columns = 50, 33
    x, y, top = memory(rows * columns), memory(columns), memory(rows)
    x[...] = np.random.default_rng(0).standard_normal(x.size)
    total = ColumnSums(
        "test_columns",
        lambda emit, v: v.widened(),
        lambda emit, s, by: (s * by).narrowed(),
        options=1,
    )

    def body(emit, n, x, top):
        def larger(at, held, mask):
            v = emit.load(x + at, mask)
            return [emit.larger(held, v if mask is None else mask.choose(v, held))]

        (held,) = emit.sweep(n, [emit.constant(-1e30)], larger)
        emit.store_one(top, emit.largest(held))

    peaks = Rows("test_peaks", body, operands=2)
    for on in 1, 3:
        scratch = memory(total.workspace(columns, on), "uint8")
        stages = total.stages(
            rows, columns, [(address(x), columns)], address(scratch), [address(y)], [],
            [double_bits(0.5)], on,
        )  # fmt: skip
        peak = peaks.stage(rows, columns, [(address(x), 4 * columns), (address(top), 4)])
        Launch(*stages, peak, on=on)()
        wide = x.reshape(rows, columns).astype("float64")
        np.testing.assert_allclose(y, wide.sum(0) / 2, rtol=EPS)
        np.testing.assert_array_equal(top, wide.max(1))


# ---- how kernels are kept


def test_an_option_beyond_float32_is_infinite():
    x = np.array([1, np.inf, -np.inf, -2], "float32")
    clipped = ops.clip(Tensor(x), -1e39, 2.0)
    np.testing.assert_array_equal(clipped.numpy(), [1, 2, -np.inf, -2])


def test_all_threads_run_unless_said_otherwise():
    assert Launch((numbers, (0,))).on == openmp.threads()
