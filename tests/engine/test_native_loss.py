"""Our own losses, softmax and embedding beside float64; ids out of range raise as elsewhere."""

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from native_calls import EPS, Given, exact, expect_close, plan_of, put, run
from trivet import registry
from trivet.errors import IdError
from trivet.registry import Call
from trivet.spec import Spec, Strided

REDUCTIONS = ["mean", "sum", "none"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def ids(count, *shape, seed=0, dtype="int64"):
    return np.random.default_rng(seed).integers(0, count, shape, dtype)


# ---- softmax


@pytest.mark.parametrize("shape", [(1,), (3, 7), (64, 33), (2, 3, 1001), (4, 16)], ids=str)
def test_softmax_and_its_gradients(shape):
    z, gy, axis = normal(*shape) * 5, normal(*shape, seed=1), len(shape) - 1
    peak = np.abs(z - z.max(-1, keepdims=True))
    for threads in 1, 3:
        for name in "softmax", "safe_softmax":
            (y,) = run(name, z, geometry=axis, threads=threads)
            wanted = exact(name, z, geometry=axis)[0]
            # exp of z less its peak, which is rounded; a sum of n terms is off by log2 n roundings
            expect_close(y, wanted, (peak + 16) * EPS * wanted + 1e-37)
        (y,) = run("log_softmax", z, geometry=axis, threads=threads)
        expect_close(y, exact("log_softmax", z, geometry=axis)[0], 16 * EPS * (1 + peak))
        p = exact("softmax", z, geometry=axis)[0].astype("float32")
        (g,) = run("softmax_grad", gy, p, geometry=axis, threads=threads)
        size = p * (np.abs(gy) + (np.abs(gy) * p).sum(-1, keepdims=True))
        expect_close(g, exact("softmax_grad", gy, p, geometry=axis)[0], 16 * EPS * size)
        log = np.log(p)
        (g,) = run("log_softmax_grad", gy, log, geometry=axis, threads=threads)
        size = np.abs(gy) + p * np.abs(gy).sum(-1, keepdims=True) * (1 + np.abs(log))
        expect_close(g, exact("log_softmax_grad", gy, log, geometry=axis)[0], 16 * EPS * size)


def test_softmax_of_inf_and_nan():
    z = normal(4, 5)
    z[0, 2], z[1, 1], z[2], z[3, 0] = np.inf, np.nan, -np.inf, -np.inf
    for name in "softmax", "safe_softmax", "log_softmax":
        (y,) = run(name, z, geometry=1)
        expect_close(y, exact(name, z, geometry=1)[0], 20 * EPS * (1 + np.abs(z)))


# ---- cross entropy


def expect_cross_entropy(rows, columns, reduction, threads):
    z, chosen = normal(rows, columns) * 4, ids(columns, rows)
    peak = np.abs(z - z.max(1, keepdims=True))
    size = (1 + peak[np.arange(rows), chosen]) * 16 * EPS
    wanted = exact("cross_entropy", z, chosen, geometry=reduction)[0]
    bound = {"none": size, "sum": size.sum() + EPS * wanted, "mean": size.mean() + EPS * wanted}
    got = run("cross_entropy", z, chosen, geometry=reduction, threads=threads)[0]
    expect_close(got, wanted, bound[reduction])
    gy = normal(rows) if reduction == "none" else normal()
    args = gy, z, chosen
    wanted = exact("cross_entropy_grad", *args, geometry=reduction)[0]
    got = run("cross_entropy_grad", *args, geometry=reduction, threads=threads)[0]
    share = np.abs(gy / rows if reduction == "mean" else gy)
    expect_close(got, wanted, (16 + peak) * EPS * share[..., None])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("rows, columns", [(1, 1), (7, 10), (64, 2), (33, 130)])
def test_cross_entropy_and_its_gradient(rows, columns, reduction):
    for threads in 1, 3:
        expect_cross_entropy(rows, columns, reduction, threads)


@settings(max_examples=40, deadline=None)
@drawn(st.integers(1, 70), st.integers(1, 70), st.sampled_from(REDUCTIONS), st.integers(1, 4))
def test_cross_entropy_of_any_shape(rows, columns, reduction, threads):
    expect_cross_entropy(rows, columns, reduction, threads)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(1,), (8, 14), (3, 5, 7), (1001,)], ids=str)
def test_binary_cross_entropy_and_its_gradient(shape, reduction):
    z, target = normal(*shape) * 10, np.abs(normal(*shape, seed=1)) % 1
    name = "binary_cross_entropy_with_logits"
    size = 12 * EPS * (np.abs(z) + 1)
    bound = {"none": size, "sum": size.sum(), "mean": size.mean()}[reduction]
    for threads in 1, 3:
        got = run(name, z, target, geometry=reduction, threads=threads)[0]
        expect_close(got, exact(name, z, target, geometry=reduction)[0], bound)
        gy = normal(*shape) if reduction == "none" else normal()
        args = gy, z, target
        got = run(f"{name}_grad", *args, geometry=reduction, threads=threads)[0]
        share = np.abs(gy / z.size if reduction == "mean" else gy)
        wanted = exact(f"{name}_grad", *args, geometry=reduction)[0]
        expect_close(got, wanted, 10 * EPS * share * np.ones(shape))


def test_a_small_loss_of_a_confident_guess_keeps_its_digits():
    z, target = np.array([30.0, -40.0], "float32"), np.array([1.0, 0.0], "float32")
    name = "binary_cross_entropy_with_logits"
    (loss,) = run(name, z, target, geometry="none")
    wanted = exact(name, z, target, geometry="none")[0]
    expect_close(loss, wanted, 8 * EPS * wanted)


# ---- embedding

TABLES = [(5, 1, (3,)), (50, 125, (4, 7)), (1000, 130, (2, 3, 5)), (3, 16, ())]


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("rows, columns, shape", TABLES, ids=str)
def test_embedding_and_its_gradient(rows, columns, shape, dtype):
    weight, chosen = normal(rows, columns), ids(rows, *shape, dtype=dtype)
    gy = normal(*shape, columns)
    size = exact("embedding_grad", np.abs(gy), chosen, geometry=rows)[0]
    grads = []
    for threads in 1, 2, 5:
        (y,) = run("embedding", chosen, weight, threads=threads)
        np.testing.assert_array_equal(y, weight[chosen])
        grads.append(run("embedding_grad", gy, chosen, geometry=rows, threads=threads)[0])
        wanted = exact("embedding_grad", gy, chosen, geometry=rows)[0]
        expect_close(grads[-1], wanted, max(chosen.size, 1) * EPS * size)
    assert all(g.tobytes() == grads[0].tobytes() for g in grads)


def test_a_gradient_whose_steps_were_turned_is_taken_as_it_lies():
    chosen, gy = ids(50, 4, 7), normal(4, 7, 33)
    turned = Given(gy, Strided(steps=(33, 4 * 33, 1)))
    plan = plan_of("embedding_grad", [turned, chosen], 50)
    assert plan.ins[0] == turned.spec
    got, plain = (run("embedding_grad", g, chosen, geometry=50)[0] for g in (turned, gy))
    np.testing.assert_array_equal(got, plain)


def test_one_word_that_is_nearly_all_words():
    chosen, gy = np.zeros((100, 7), int), normal(100, 7, 33)
    chosen[3, 2] = 299
    for threads in 1, 4:
        got = run("embedding_grad", gy, chosen, geometry=300, threads=threads)[0]
        wanted = exact("embedding_grad", gy, chosen, geometry=300)[0]
        expect_close(got, wanted, 700 * EPS * np.abs(gy).sum((0, 1)))


@settings(max_examples=40, deadline=None)
@drawn(st.integers(1, 400), st.integers(1, 40), st.lists(st.integers(1, 20), max_size=2),
       st.integers(1, 4))  # fmt: skip
def test_embedding_of_any_shape(rows, columns, shape, threads):
    chosen, gy = ids(rows, *shape), normal(*shape, columns)
    got = run("embedding_grad", gy, chosen, geometry=rows, threads=threads)[0]
    size = exact("embedding_grad", np.abs(gy), chosen, geometry=rows)[0]
    wanted = exact("embedding_grad", gy, chosen, geometry=rows)[0]
    expect_close(got, wanted, max(chosen.size, 1) * EPS * size)


WRONG = {
    "embedding": (np.array([[1, 2], [3, 9]]), normal(4, 3)),
    "embedding, 32 bits": (np.array([[1, 2], [-3, 9]], "int32"), normal(4, 3)),
    "cross_entropy": (normal(4, 3), np.array([0, 1, -2, 5])),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_id_raises_the_references_error(name):
    operands, name = WRONG[name], name.partition(",")[0]
    geometry = "mean" if name == "cross_entropy" else None
    with pytest.raises(IdError) as expected:
        exact(name, *operands, geometry=geometry)
    plan = plan_of(name, operands, geometry)
    ins = [put(spec, value) for spec, value in zip(plan.ins, operands)]
    outs = [put(spec) for spec in (*plan.outs, Spec((plan.workspace,), "uint8"))]
    addresses = [b.address() for b in (outs[0], *ins, outs[1])]
    for launch in (lambda: plan.run(*addresses)), plan.bound(*addresses):
        with pytest.raises(IdError) as raised:
            launch()
        assert str(raised.value) == str(expected.value)


def test_images_of_logits_are_refused():
    images = Call("cross_entropy", (Spec((2, 3, 4)), Spec((2, 4), "int64")), "mean")
    assert "rows of logits" in registry.ask("trivet.native", images)
