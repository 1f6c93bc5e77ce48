"""Optimisers, schedules, clipping and loss scaling, with PyTorch as the oracle."""

import numpy as np
import pytest
import torch
from trivet import Tensor, capture, ops, optim
from trivet.errors import CaptureError, DtypeError, GradientError, OptionError, ShapeError
from trivet.launch import Trace, sending_to

SHAPES = [(4, 3), (5,), (), (0, 2), (2, 1, 3)]


def twins(rng, shapes=SHAPES, dtype="float64"):
    """The same parameters in trivet and in PyTorch."""
    values = [rng.standard_normal(s).astype(dtype) for s in shapes]
    ours = [Tensor(v, requires_grad=True) for v in values]
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    return ours, theirs


def give(rng, ours, theirs, skip=()):
    """The same random gradients to both; None to those that are skipped."""
    for i, (p, q) in enumerate(zip(ours, theirs)):
        g = (rng.standard_normal(p.shape) * 10.0 ** rng.integers(-6, 2)).astype(p.dtype)
        p.grad = None if i in skip else Tensor(g)
        q.grad = None if i in skip else torch.tensor(g)


def assert_equal(ours, theirs, tolerance=1e-12):
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(
            p.numpy(), q.detach().numpy(), rtol=tolerance, atol=tolerance, err_msg=str(p.shape)
        )


CASES = [
    ("SGD", {}),
    ("SGD", dict(momentum=0.9)),
    ("SGD", dict(momentum=0.9, nesterov=True)),
    ("SGD", dict(weight_decay=0.1)),
    ("SGD", dict(momentum=0.5, nesterov=True, weight_decay=0.1)),
    ("Adam", {}),
    ("Adam", dict(betas=(0.5, 0.9), eps=1e-3)),
    ("Adam", dict(weight_decay=0.1)),
    ("AdamW", {}),
    ("AdamW", dict(betas=(0.8, 0.99), eps=1e-6, weight_decay=0.3)),
    ("RMSprop", {}),
    ("RMSprop", dict(alpha=0.9, eps=1e-4, weight_decay=0.1)),
    ("RMSprop", dict(momentum=0.9)),
    ("RMSprop", dict(centered=True)),
    ("RMSprop", dict(centered=True, momentum=0.5, weight_decay=0.1)),
]


@pytest.mark.parametrize("late", [False, True], ids=["all", "one gradient comes late"])
@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_twenty_steps_equal_pytorch(rng, name, options, late):
    ours, theirs = twins(rng)
    mine = getattr(optim, name)(ours, 0.03, **options)
    other = getattr(torch.optim, name)(theirs, lr=0.03, **options)
    for step in range(20):
        if step == 10:
            mine.rate = other.param_groups[0]["lr"] = 0.01
        give(rng, ours, theirs, skip=(1,) if late and step < 5 else ())
        mine.step()
        other.step()
    assert_equal(ours, theirs)


@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_float32_agrees_to_rounding(rng, name, options):
    ours, theirs = twins(rng, dtype="float32")
    mine = getattr(optim, name)(ours, 0.01, **options)
    other = getattr(torch.optim, name)(theirs, lr=0.01, **options)
    for _ in range(20):
        give(rng, ours, theirs)
        mine.step()
        other.step()
    assert_equal(ours, theirs, 2e-5)


def test_adam_adds_eps_after_the_bias_correction():
    """workloads.md: at |g| = 1e-6 the first step is 0.990 of the rate, not 0.760."""
    w = Tensor([0.0], "float64", requires_grad=True)
    w.grad = Tensor([1e-6], "float64")
    optim.Adam([w], 1.0).step()
    assert -w.item() == pytest.approx(1e-6 / (1e-6 + 1e-8), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_state_of_16_bit_parameters_is_float32(name, dtype):
    w = Tensor(np.ones(3), dtype, requires_grad=True)
    optimizer = getattr(optim, name)([w], 0.1, **(dict(momentum=0.9) if name == "SGD" else {}))
    w.grad = Tensor(np.full(3, 1e-4), dtype)  # its square is below the smallest float16
    before = w.numpy().astype(float)
    optimizer.step()
    state = [t for key, t in optimizer.state.items() if "." in key]
    assert {t.dtype for t in state} == {"float32"} and w.dtype == dtype
    assert all((t.numpy() != 0).all() for t in state)
    if name != "SGD":
        assert (w.numpy().astype(float) < before).all()


def test_values_move_in_place_and_stale_graphs_notice():
    w = Tensor([2.0], requires_grad=True)
    buffer, y = w.buffer, (w * w).sum()
    w.grad = Tensor([1.0])
    optim.SGD([w], 0.1).step()
    assert w.buffer is buffer
    with pytest.raises(GradientError, match="written in place since"):
        y.backward()


def test_a_run_that_diverges_shows_inf_and_nan_without_warning():
    w = Tensor([1.0, 2.0], requires_grad=True)
    for name, _ in CASES:
        w.grad = Tensor([np.inf, np.nan], "float32")
        getattr(optim, name)([w], 1.0).step()
    assert np.isnan(w.numpy()).all()


def test_zero_grad_forgets_gradients(rng):
    ours, theirs = twins(rng)
    give(rng, ours, theirs)
    optim.SGD(ours, 0.1).zero_grad()
    assert [p.grad for p in ours] == [None] * len(ours)


def test_the_rate_is_read_and_written():
    optimizer = optim.Adam([Tensor([1.0], requires_grad=True)])
    optimizer.rate = 0.3
    assert optimizer.rate == 0.3  # not rounded to float32
    with pytest.raises(OptionError, match=r"a rate >= 0; got -1"):
        optimizer.rate = -1


@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_state_resumes_to_the_same_numbers(rng, name, options):
    ours, theirs = twins(rng)
    first = getattr(optim, name)(ours, 0.03, **options)
    for _ in range(3):
        give(rng, ours, theirs)
        first.step()
    again = [Tensor(p.numpy(), requires_grad=True) for p in ours]
    second = getattr(optim, name)(again, 1.0, **options)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        give(rng, ours, theirs)
        for p, q in zip(ours, again):
            q.grad = p.grad
        first.step()
        second.step()
    assert [p.numpy().tobytes() for p in ours] == [p.numpy().tobytes() for p in again]


@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_a_captured_step_replays_with_other_gradients_and_rates(rng, name, options):
    ours, theirs = twins(rng, [(3, 2), (4,)])
    mine = getattr(optim, name)(ours, 0.1, **options)
    other = getattr(torch.optim, name)(theirs, lr=0.1, **options)

    @capture
    def step(a, b):
        mine.zero_grad()
        ((ours[0] * a).sum() + (ours[1] * b).sum()).backward()  # the gradients are a and b
        norm = optim.clip_grad_norm_(ours, 1.0)
        mine.step()
        return norm

    for i in range(6):
        gradients = [rng.standard_normal(p.shape) for p in ours]
        mine.rate = other.param_groups[0]["lr"] = 0.1 / (i + 1)
        norm = step(*map(Tensor, gradients))
        for q, g in zip(theirs, gradients):
            q.grad = torch.tensor(g)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        other.step()
        assert norm.item() == pytest.approx(expected.item(), rel=1e-12)
    assert_equal(ours, theirs)


def test_reading_the_rate_in_a_captured_step_is_refused():
    optimizer = optim.SGD([Tensor([1.0], requires_grad=True)], 0.1)
    with sending_to(Trace()), pytest.raises(CaptureError, match="reads a Tensor"):
        optimizer.rate


def w():
    return Tensor([1.0], requires_grad=True)


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: optim.SGD([], 0.1), OptionError, "SGD: expected parameters, at least one"),
        (lambda: optim.SGD(["w"], 0.1), OptionError, "got ['str']"),
        (lambda: optim.SGD([w()] * 2, 0.1), OptionError, "each parameter once; got one twice"),
        (lambda: optim.SGD([w()], float("nan")), OptionError, "a rate >= 0; got nan"),
        (lambda: optim.SGD([w()], 0.1, nesterov=True), OptionError, "momentum > 0 with nesterov"),
        (lambda: optim.SGD([w()], 0.1, momentum=-1.0), OptionError, "momentum in [0, inf); got -1"),
        (lambda: optim.Adam([w()], betas=(0.9, 1.0)), OptionError, "beta2 in [0, 1); got 1.0"),
        (
            lambda: optim.AdamW([w()], weight_decay=-0.1),
            OptionError,
            "AdamW: expected weight_decay",
        ),
        (lambda: optim.RMSprop([w()], eps=np.nan), OptionError, "eps in [0, inf); got nan"),
        (lambda: optim.SGD([w()], 0.1).step(), GradientError, "got None for all 1 parameters"),
        (lambda: optim.clip_grad_norm_([w()], 1.0), GradientError, "expected gradients; got none"),
        (lambda: optim.clip_grad_norm_([w()], 0), OptionError, "expected max_norm > 0; got 0"),
        (
            lambda: optim.Adam([w()]).load_state_dict(optim.SGD([w()], 0.1).state_dict()),
            OptionError,
            "only on one side: mean.0, square.0, steps",
        ),
        (
            lambda: optim.SGD([w()], 0.1, momentum=0.9).load_state_dict(
                {"rate": np.float64(1), "velocity.0": np.zeros(2)}
            ),
            ShapeError,
            "expected velocity.0 (1,); got (2,)",
        ),
    ],
)
def test_errors_say_what_came_and_how_to_fix_it(make, error, text):
    with pytest.raises(error) as e:
        make()
    assert text in str(e.value) and "\n  Fix: " in str(e.value)


def test_an_optimiser_older_than_the_dtype_is_noticed():
    p = w()
    optimizer = optim.SGD([p], 0.1, momentum=0.9)
    p.buffer, p.grad = p.to("float64").buffer, Tensor([1.0], "float64")
    with pytest.raises(DtypeError, match=r"state of float64; got float64 and \['float32'\]"):
        optimizer.step()


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e9])
def test_clipping_by_norm_equals_pytorch(rng, max_norm):
    ours, theirs = twins(rng)
    give(rng, ours, theirs, skip=(1,))
    norm = optim.clip_grad_norm_(ours, max_norm)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-12)
    pairs = [(p.grad, q.grad) for p, q in zip(ours, theirs) if p.grad is not None]
    assert_equal(*zip(*pairs))


def test_clipping_by_norm_passes_nan_on():
    ps = [w(), w()]
    ps[0].grad, ps[1].grad = Tensor([np.nan], "float32"), Tensor([1.0])
    assert np.isnan(optim.clip_grad_norm_(ps, 1.0).item())
    assert np.isnan([p.grad.item() for p in ps]).all()


def test_clipping_16_bit_gradients_sums_wide():
    p = Tensor(np.zeros(4), "float16", requires_grad=True)
    p.grad = Tensor(np.full(4, 300.0), "float16")  # squares are beyond float16
    norm = optim.clip_grad_norm_([p], 6.0)
    assert (norm.dtype, norm.item()) == ("float32", 600.0)
    assert p.grad.numpy().tolist() == [3.0] * 4


def test_clipping_by_value_equals_pytorch(rng):
    ours, theirs = twins(rng)
    give(rng, ours, theirs)
    optim.clip_grad_value_(ours, 0.1)
    torch.nn.utils.clip_grad_value_(theirs, 0.1)
    assert_equal([p.grad for p in ours], [q.grad for q in theirs])


SCHEDULES = [
    (optim.constant(0.5), lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0)),
    (optim.step_decay(0.5, 7, 0.3), lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.3)),
    (
        optim.cosine(0.5, 20, 0.05),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, 0.05),
    ),
    (
        optim.polynomial(0.5, 15, 2.0),
        lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 15, 2.0),
    ),
    (
        optim.warmup(5, optim.constant(0.5)),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / 5, 1.0, 4),
    ),
]


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("f, scheduler", SCHEDULES)
def test_schedules_equal_pytorch(f, scheduler):
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs = scheduler(other)
    mine = optim.SGD([w()], 0.0)
    ours = optim.Schedule(mine, f)
    for _ in range(20):
        assert mine.rate == pytest.approx(other.param_groups[0]["lr"], rel=1e-12, abs=1e-15)
        ours.step()
        theirs.step()


def test_warmup_hands_over_to_what_follows():
    f = optim.warmup(4, optim.cosine(1.0, 10))
    assert [f(3), f(4), f(14)] == pytest.approx([1.0, 1.0, 0.0])


def test_a_schedule_resumes():
    first, second = (optim.Schedule(optim.SGD([w()], 0), optim.cosine(1.0, 9)) for _ in "ab")
    for _ in range(4):
        first.step()
    second.load_state_dict(first.state_dict())
    assert second.optimizer.rate == first.optimizer.rate and second.count == 4


def test_the_loss_scale_grows_and_backs_off():
    p = w()
    optimizer = optim.SGD([p], 0.5)
    scaler = optim.LossScaler(8.0, growth=4.0, backoff=0.5, interval=2)
    made, scales = [], []
    for g in (1.0, np.inf, 1.0, 1.0, np.nan):
        p.grad = Tensor([g * scaler.value], "float32")
        made.append(scaler.step(optimizer))
        scales.append(scaler.value)
    assert made == [True, False, True, True, False]
    assert scales == [8.0, 4.0, 4.0, 16.0, 8.0]
    assert p.item() == 1.0 - 3 * 0.5
    other = optim.LossScaler()
    other.load_state_dict(scaler.state_dict())
    assert (other.value, other.good_steps) == (8.0, 0)


def test_scaling_saves_gradients_that_float16_would_lose():
    def gradient(scaler):
        p = Tensor([1.0], requires_grad=True)
        loss = (p.to("float16") * Tensor([1e-4], "float16")) * Tensor([1e-4], "float16")
        optimizer = optim.SGD([p], 1.0)
        if scaler:
            scaler.scale(loss.sum()).backward()
            scaler.unscale(optimizer)
            assert optim.clip_grad_norm_([p], 1.0).item() < 1e-7
            found = p.grad.item()
            assert scaler.step(optimizer) and p.grad.item() == found  # not divided twice
            return found
        loss.sum().backward()
        return p.grad.item()

    assert gradient(None) == 0.0
    assert gradient(optim.LossScaler()) == pytest.approx(1e-8, rel=1e-2)


def test_gradients_are_divided_once():
    p = w()
    p.grad = Tensor([4.0])
    optimizer, scaler = optim.SGD([p], 0.5), optim.LossScaler(4.0)
    scaler.unscale(optimizer)
    with pytest.raises(OptionError, match="got some that were divided already"):
        scaler.unscale(optimizer)
    p.grad = Tensor([4.0])  # that step was skipped
    scaler.unscale(optimizer)
    assert scaler.step(optimizer) and p.item() == 0.5


@pytest.mark.parametrize("g", [4.0, np.inf])
def test_two_optimisers_overflow_each_for_itself(g):
    ps = [w(), w()]
    ps[0].grad, ps[1].grad = Tensor([g], "float32"), Tensor([4.0])
    first, second = (optim.SGD([p], 0.5) for p in ps)
    scaler = optim.LossScaler(4.0)
    scaler.unscale(first)
    scaler.unscale(second)
    assert [scaler.step(first), scaler.step(second)] == [g == 4.0, True]
    assert [p.item() for p in ps] == [0.5 if g == 4.0 else 1.0, 0.5]


@pytest.mark.filterwarnings("error")
def test_what_float16_cannot_hold_is_inf_without_warning():
    p = Tensor(np.full(2, 6e4), "float16", requires_grad=True)
    p.grad = Tensor(np.full(2, -6e4), "float16")
    optim.SGD([p], 1.0).step()
    assert np.isinf(p.numpy()).all()


def test_a_captured_step_cannot_scale_its_loss():
    p = w()
    p.grad = Tensor([1.0])
    scaler, optimizer = optim.LossScaler(), optim.SGD([p], 0.1)
    with sending_to(Trace()), pytest.raises(CaptureError):
        scaler.step(optimizer)


def test_updates_refuse_the_wrong_rate():
    with pytest.raises(DtypeError, match="a rate of float64 and state of float32"):
        ops.sgd_(w(), Tensor([1.0]), Tensor(0.1))
