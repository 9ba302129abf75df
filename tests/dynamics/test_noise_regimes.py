"""Losses, noise of gradients, power laws, phase diagrams, and the runner over α, T and P."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from entrokit.dynamics.noise import (
    Condition,
    MeanFieldMLP,
    NoiseRegimeRunner,
    Run,
    critical_temperature,
    fit_power_law,
    gradient_noise_covariance,
    gradient_statistics,
    grid,
    kernel_change,
    learning_rate,
    phase_diagram,
    scaled_hinge,
    signal_noise,
    tangent_gram,
    temperature,
)

OUT = torch.tensor([0.2, -0.5, 1.0, 0.05], dtype=torch.float64)
Y = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.1, [9.8, 10.5, 11, 10.05]), (1.0, [0.8, 1.5, 2, 1.05]), (10.0, [0, 0.6, 1.1, 0.15])],
)
def test_check_1_losses(alpha, expected):
    loss = scaled_hinge(OUT, Y, alpha)
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_check_1_the_slope_is_the_label_where_a_point_is_not_fitted():
    o = OUT.clone().requires_grad_()
    loss = scaled_hinge(o, Y, 10.0)
    assert int((loss > 0).sum()) == 3
    (slope,) = torch.autograd.grad(loss.sum(), o)
    torch.testing.assert_close(slope, torch.tensor([0.0, -1.0, 1.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_other_hinges():
    torch.testing.assert_close(scaled_hinge(OUT, Y, 10.0, "squared"), scaled_hinge(OUT, Y, 10.0).square() * 10)
    u = (1 - 10 * OUT * Y).clamp(min=1e-300)
    torch.testing.assert_close(scaled_hinge(OUT, Y, 10.0, "soft"), u * torch.exp(-1 / (2 * u)) / 10)


@given(
    st.floats(-2, 2),
    st.sampled_from([-1.0, 1.0]),
    st.floats(0.1, 10),
    st.sampled_from(["hinge", "squared", "soft"]),
)
def test_slopes_are_differences(o, y, alpha, kind):
    if kind == "hinge" and abs(1 - alpha * o * y) < 1e-3:
        return
    at, label = torch.tensor([o], dtype=torch.float64, requires_grad=True), torch.tensor([y], dtype=torch.float64)
    (slope,) = torch.autograd.grad(scaled_hinge(at, label, alpha, kind).sum(), at)
    step = 1e-6
    with torch.no_grad():
        above, below = (scaled_hinge(at + s, label, alpha, kind) for s in (step, -step))
    # Third derivatives are below 1e3 α² ≤ 1e5, rounding is 1e-16 · 21 / (α step).
    assert float(slope) == pytest.approx(float((above - below) / (2 * step)), abs=1e-6)


def test_a_point_far_inside_has_a_finite_slope_of_zero():
    o = torch.tensor([1e3, 0.1], dtype=torch.float64, requires_grad=True)
    for kind in ("hinge", "squared", "soft"):
        (slope,) = torch.autograd.grad(scaled_hinge(o, torch.ones(2, dtype=torch.float64), 10.0, kind).sum(), o)
        assert slope.tolist() == [0.0, 0.0]


def test_half_precision_is_computed_in_float32():
    o = torch.tensor([0.25, -0.5], dtype=torch.float16)
    loss = scaled_hinge(o, torch.tensor([1.0, 1.0], dtype=torch.float16), 2.0**18)
    assert loss.dtype == torch.float32
    assert loss.tolist() == [0.0, 0.5 + 2.0**-18]


@pytest.mark.parametrize(
    ("o", "y", "alpha", "kind", "message"),
    [
        (OUT, Y[:2], 1.0, "hinge", "must have one shape"),
        (OUT, (Y + 1) / 2, 1.0, "hinge", "labels must be 1 or -1"),
        (OUT, Y, 0.0, "hinge", "alpha must be positive and finite"),
        (OUT, Y, math.nan, "hinge", "alpha must be positive and finite"),
        (OUT, Y, 1.0, "logistic", "kind must be"),
    ],
)
def test_losses_that_cannot_be_are_refused(o, y, alpha, kind, message):
    with pytest.raises(ValueError, match=message):
        scaled_hinge(o, y, alpha, kind)


def test_an_empty_batch_has_an_empty_loss():
    assert scaled_hinge(torch.zeros(0), torch.zeros(0), 1.0).shape == (0,)


def test_temperature_and_rate_are_inverse():
    assert temperature(0.5, 16, 32) == 0.5 / 512
    assert learning_rate(temperature(0.3, 16, 32), 16, 32) == pytest.approx(0.3, rel=1e-12)
    for name, call in (("lr", temperature), ("temp", learning_rate)):
        with pytest.raises(ValueError, match=f"{name} must be positive"):
            call(0.0, 4)
        with pytest.raises(ValueError, match="at least 1"):
            call(1.0, 0)


def test_check_4_the_noise_is_that_of_all_batches():
    grads = torch.randn(4, 3, generator=seeded(0), dtype=torch.float64)
    means = torch.stack([grads[list(rows)].mean(0) for rows in combinations(range(4), 2)])
    centred = means - means.mean(0)
    found = gradient_noise_covariance(grads, 2)
    torch.testing.assert_close(found, centred.T @ centred / len(means), rtol=0, atol=1e-12)
    pairs = torch.stack([(grads[i] + grads[j]) / 2 for i in range(4) for j in range(4)])
    centred = pairs - pairs.mean(0)
    with_ = gradient_noise_covariance(grads, 2, replacement=True)
    torch.testing.assert_close(with_, centred.T @ centred / 16, rtol=0, atol=1e-12)


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 50))
@settings(max_examples=20)
def test_the_noise_vanishes_for_whole_batches_and_is_the_statistics_trace(P, N, seed):
    grads = torch.randn(P, N, generator=seeded(seed), dtype=torch.float64)
    assert not gradient_noise_covariance(grads, P).any()
    signal, noise = gradient_statistics(grads)
    trace = gradient_noise_covariance(grads, 1, replacement=True).trace()
    assert float(trace) == pytest.approx(float(noise), abs=1e-9)
    assert float(signal + noise) == pytest.approx(float(grads.square().sum(1).mean()), abs=1e-9)


def test_noise_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"must be \[P, N\]"):
        gradient_noise_covariance(torch.zeros(4), 1)
    with pytest.raises(ValueError, match=r"must be \[P, N\]"):
        gradient_statistics(torch.zeros(0, 3))
    for batch in (0, 5):
        with pytest.raises(ValueError, match="at most P = 4"):
            gradient_noise_covariance(torch.zeros(4, 2), batch)
    assert gradient_noise_covariance(torch.zeros(4, 2), 5, replacement=True).shape == (2, 2)


def test_the_tangent_kernel_is_that_of_a_loop():
    model = MeanFieldMLP((3, 5, 4), seeded(0), dtype=torch.float64)
    x = torch.randn(6, 3, generator=seeded(1), dtype=torch.float64)
    rows = []
    for point in x:
        grads = torch.autograd.grad(model(point[None]).sum(), list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    slow = torch.stack(rows) @ torch.stack(rows).T
    params = {name: p.detach() for name, p in model.named_parameters()}
    torch.testing.assert_close(tangent_gram(model, params, x), slow, rtol=1e-9, atol=1e-9)


def test_kernel_change():
    K = torch.tensor([[2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert float(kernel_change(K, 3 * K)) == pytest.approx(2)
    assert float(kernel_change(K, 3 * K, relative=False)) == pytest.approx(8)
    assert float(kernel_change(K, K)) == 0
    assert float(kernel_change(0 * K, K, relative=False)) == 2
    for K0, other, message in ((0 * K, K, "at the start is 0"), (K, K[:1], "one shape"), (K[:0], K[:0], "one shape")):
        with pytest.raises(ValueError, match=message):
            kernel_change(K0, other)


def test_signal_and_noise():
    w0 = torch.tensor([1.0, 1.0, 1.0])
    w = w0 + torch.tensor([[6.0, 3.0, 4.0], [-2.0, 0.0, 0.0]])
    signal, noise = signal_noise(w, w0.expand(2, -1), torch.tensor([3.0, 0.0, 0.0]))
    assert signal.tolist() == [6, -2]
    assert noise.tolist() == [5, 0]
    for teacher, message in ((torch.zeros(3), "finite length above 0"), (torch.ones(2), "go with a teacher")):
        with pytest.raises(ValueError, match=message):
            signal_noise(w0, w0, teacher)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-2, 2))
def test_an_exact_law_is_found_exactly(a, b, c):
    x = np.array([[1.0, 2.0], [2.0, 1.0], [4.0, 8.0], [8.0, 3.0], [0.5, 5.0]])
    law = fit_power_law(x, math.exp(c) * x[:, 0] ** a * x[:, 1] ** b)
    assert law.exponents == pytest.approx((a, b), abs=1e-9)
    assert law.log_factor == pytest.approx(c, abs=1e-9)
    assert max(law.stderrs) < 1e-9
    with pytest.raises(ValueError, match="2 exponents"):
        _ = law.exponent


def test_the_error_is_that_of_repeated_fits():
    """Spread of the exponents of 2000 noisy laws; its own relative error is 1/√(2·2000), five of which are 8 %."""
    x, rng = np.array([1.0, 2, 4, 8, 16, 32]), np.random.default_rng(0)
    laws = [fit_power_law(x, 3 * x**1.5 * np.exp(rng.normal(0, 0.2, 6))) for _ in range(2000)]
    exponents, errors = np.array([(law.exponent, law.stderr) for law in laws]).T
    assert exponents.mean() == pytest.approx(1.5, abs=5 * exponents.std() / math.sqrt(2000))
    assert np.sqrt((errors**2).mean()) == pytest.approx(exponents.std(), rel=0.08)
    assert np.sqrt(np.mean([law.residual**2 for law in laws])) == pytest.approx(0.2, rel=0.08)


def test_points_that_do_not_count_are_left_out():
    x, y = [1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, math.inf]
    law = fit_power_law(x, y, keep=[True, True, True, False])
    assert (law.points, law.exponent) == (3, pytest.approx(1))
    with pytest.raises(ValueError, match="y must be positive and finite"):
        fit_power_law(x, y)


@pytest.mark.parametrize(
    ("x", "y", "keep", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], None, "at least 3 points, got 2"),
        ([0.0, 1.0, 2.0], [1.0, 2.0, 3.0], None, "x must be positive"),
        ([1.0, 2.0, 3.0], [1.0, -2.0, 3.0], None, "y must be positive"),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], None, "x does not vary"),
        ([[1, 2], [2, 4], [3, 6], [5, 10]], [1, 2, 3, 4], None, "vary only together"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], None, r"needs x \[n\]"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [True], "keep must be"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [True, True, False], "at least 3 points, got 2"),
    ],
)
def test_laws_that_cannot_be_fitted_are_refused(x, y, keep, message):
    with pytest.raises(ValueError, match=message):
        fit_power_law(x, y, keep=keep)


def test_critical_temperature():
    temps = [2.0**k for k in range(6)]
    assert critical_temperature(temps, [t**2 for t in temps], 10.0) == pytest.approx(math.sqrt(10), rel=1e-12)
    assert critical_temperature(temps, [1.0] * 6, 2.0) is None
    assert critical_temperature(temps, [3.0] * 6, 2.0) == 1.0
    assert critical_temperature(temps, [1, 1, math.nan, 1, 1, 1], 2.0) == 4.0
    for t, v, level, message in (
        ([1.0], [1.0], 1.0, "two or more"),
        ([2.0, 1.0], [1.0, 1.0], 1.0, "rising"),
        ([1.0, 2.0], [0.0, 1.0], 1.0, "must be positive"),
        ([1.0, 2.0], [1.0, 1.0], 0.0, "must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            critical_temperature(t, v, level)


def ended(alpha, temp, status="fitted", change=0.1, error=0.2, size=8):
    return Run(Condition(alpha, temp, size), status, 1, 1.0, 1.0, change, error, None, ())


def test_a_phase_diagram():
    runs = [
        ended(2.0, 1.0, change=0.1),
        ended(2.0, 1.0, change=0.4, error=0.4),
        ended(2.0, 2.0, change=0.3, error=0.1),
        ended(2.0, 4.0, change=0.41),
        ended(2.0, 8.0, "diverged", error=None),
        ended(0.5, 1.0, "censored"),
        ended(0.5, 2.0, change=1.5, error=0.3),
        ended(0.5, 4.0, change=2.9, error=0.3),
        ended(0.5, 8.0, change=3.1, error=0.5),
        ended(0.5, 8.0, "diverged", error=None),
    ]
    diagram = phase_diagram(runs)
    assert diagram.alphas == (0.5, 2.0)
    assert diagram.temps == (1.0, 2.0, 4.0, 8.0)
    assert diagram.change[1, 0] == pytest.approx(0.2)
    assert diagram.error[1, 0] == pytest.approx(0.3)
    assert math.isnan(diagram.error[1, 3])
    assert diagram.fitted[0].tolist() == [0, 1, 1, 0.5]
    assert diagram.diverged[0].tolist() == [0, 0, 0, 0.5]
    assert diagram.regimes() == [["censored", "features", "features", "noise"], ["lazy", "lazy", "lazy", "diverged"]]
    assert diagram.regimes(moved=0.25)[1] == ["lazy", "features", "noise", "diverged"]
    assert diagram.best_temperature() == [2.0, 2.0]
    assert phase_diagram([*runs, ended(1.0, 1.0, size=16)], size=8).alphas == (0.5, 2.0)
    none = phase_diagram([ended(1.0, 1.0, "diverged", error=None)])
    assert none.best_temperature() == [None]


def test_a_phase_diagram_by_the_kernel():
    runs = [replace(ended(1.0, t), kernel_change=k) for t, k in ((1.0, 0.0), (2.0, 0.5), (2.0, 2.0))]
    diagram = phase_diagram(runs, change="kernel")
    assert diagram.change[0].tolist() == pytest.approx([0, 1])
    assert diagram.regimes() == [["lazy", "noise"]]
    with pytest.raises(ValueError, match="give the runner kernel_points"):
        phase_diagram([ended(1.0, 1.0)], change="kernel")
    with pytest.raises(ValueError, match="'weights' or 'kernel'"):
        phase_diagram(runs, change="time")


def test_diagrams_that_cannot_be_are_refused():
    for runs, message in (
        ([], "one size P"),
        ([ended(1.0, 1.0), ended(1.0, 1.0, size=9)], "one size P"),
        ([ended(1.0, 1.0), ended(2.0, 2.0)], "2 cells of the grid have no run"),
        ([ended(1.0, 1.0, error=None)], "needs test errors"),
    ):
        with pytest.raises(ValueError, match=message):
            phase_diagram(runs)
    for levels in ({"moved": 0.0}, {"factor": 1.0}):
        with pytest.raises(ValueError, match="moved must be above 0"):
            phase_diagram([ended(1.0, 1.0)]).regimes(**levels)


def points(n=24, d=4):
    x = torch.randn(n, d, generator=seeded(5), dtype=torch.float64)
    return x, torch.sign(x[:, 0])


def small(generator):
    return MeanFieldMLP((4, 8), generator, dtype=torch.float64)


def runner(model_fn=small, data=None, **options):
    return NoiseRegimeRunner(model_fn, points() if data is None else data, **({"batch_size": 4, "width": 8} | options))


def test_the_mean_field_net_is_what_it_says():
    net = MeanFieldMLP((3, 50, 40), seeded(0), dtype=torch.float64)
    first, second, last = net.layers
    x = torch.randn(7, 3, generator=seeded(1), dtype=torch.float64)
    hidden = math.sqrt(2) * torch.relu(x @ first.T / math.sqrt(3))
    hidden = math.sqrt(2) * torch.relu(hidden @ second.T / math.sqrt(50))
    torch.testing.assert_close(net(x), (hidden @ last.T)[:, 0] / 40, rtol=1e-6, atol=0)
    assert MeanFieldMLP((1, 1), seeded(0), activation=lambda z: z).gain == pytest.approx(1, rel=1e-9)
    with pytest.raises(ValueError, match="at least one hidden layer"):
        MeanFieldMLP((3,), seeded(0))


def test_check_2_a_run_starts_at_zero():
    start = runner(test=points(10)).run([Condition(0.25, 1.0, 20)])[0].history[0]
    assert (start.steps, start.loss, start.error, start.unfitted, start.margin) == (0, 4.0, 1.0, 20, 0.0)
    assert set(start.change_sq.values()) == {0.0}


@pytest.mark.parametrize("kind", ["hinge", "squared"])
def test_a_stack_is_plain_sgd_of_each(kind):
    """Whole batches, so that no draw matters: each run against a loop of its own."""
    x, y = points()
    conditions = [Condition(a, t, 4, seed=s) for a, t, s in ((1.0, 0.02, 0), (4.0, 0.01, 1), (0.5, 0.05, 2))]
    runs = runner(max_steps=6, kind=kind, test=(x, y), kernel_points=3).run(conditions)
    for c, run in zip(conditions, runs, strict=True):
        model, start = small(seeded(c.seed)), small(seeded(c.seed))
        rows = torch.randperm(24, generator=seeded(c.seed))[:4]
        optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate(c.temp, 4, 8))
        for _ in range(run.steps):
            optimizer.zero_grad()
            o = model(x[rows]) - start(x[rows]).detach()
            scaled_hinge(o, y[rows], c.alpha, kind).mean().backward()
            optimizer.step()
        with torch.no_grad():
            o, all_o = model(x[rows]) - start(x[rows]), model(x) - start(x)
        last = run.history[-1]
        assert last.loss == pytest.approx(float(scaled_hinge(o, y[rows], c.alpha, kind).mean()), abs=1e-9)
        assert last.margin == pytest.approx(float((o * y[rows]).min()), abs=1e-9)
        assert last.unfitted == int((c.alpha * o * y[rows] < 1).sum())
        assert last.error == float((o * y[rows] <= 0).double().mean())
        assert run.test_error == float((all_o * y <= 0).double().mean())
        moved = [
            float((p - q).detach().square().sum()) for p, q in zip(model.parameters(), start.parameters(), strict=True)
        ]
        norms = [float(q.detach().square().sum()) for q in start.parameters()]
        assert list(last.change_sq.values()) == pytest.approx(moved, rel=1e-9)
        assert run.change == pytest.approx(math.sqrt(sum(moved) / sum(norms)), rel=1e-9)
        kernels = [tangent_gram(m, dict(m.named_parameters()), x[rows[:3]]).detach() for m in (start, model)]
        assert run.kernel_change == pytest.approx(float(kernel_change(*kernels)), rel=1e-9)


def test_runs_are_independent_and_end_as_they_should():
    conditions = [Condition(4.0, t, p, s, s) for t, p, s in ((0.1, 8, 0), (0.02, 24, 1), (0.3, 16, 0), (1e-6, 24, 2))]
    together = runner(max_steps=1200, test=points(10)).run(conditions)
    assert [run.status for run in together] == ["fitted"] * 3 + ["censored"]
    assert [run.condition for run in together] == conditions
    for run in together[:3]:
        assert run.history[-1].unfitted == 0
        assert run.history[-2].unfitted > 0
        assert run.history[-1].margin >= 0.25
        assert run.time == pytest.approx(learning_rate(run.condition.temp, 4, 8) * run.steps)
        assert run.spacing == pytest.approx(run.time - run.history[-2].time)
        alone = runner(max_steps=1200, test=points(10)).run([run.condition])[0]
        assert (alone.steps, alone.status) == (run.steps, run.status)
        assert alone.change == pytest.approx(run.change, rel=1e-9)
    assert together[3].steps == 1200


def test_check_8_whole_batches_do_not_depend_on_their_seed_and_smaller_ones_do():
    for size, same in ((4, True), (24, False)):
        a, b = runner(max_steps=20).run([Condition(0.01, 0.01, size, batches=k) for k in (0, 1)])
        assert (abs(a.change / b.change - 1) < 1e-9) is same


def test_a_homogeneous_run_scales_with_its_temperature():
    """At a large α a linear model's margin is nothing: time and change of the weights are proportional to T."""

    def linear(generator):
        layer = nn.Linear(4, 1, bias=False, dtype=torch.float64)
        nn.init.normal_(layer.weight, generator=generator)
        return layer

    a, b = runner(linear, width=1).run([Condition(1e9, t, 24) for t in (0.25, 1.0)])
    assert a.status == b.status == "fitted"
    assert b.time == 4 * a.time
    assert b.change == pytest.approx(4 * a.change, rel=1e-6)


def test_what_blows_up_or_dies_is_recorded_as_diverged():
    conditions = [Condition(1.0, 1e200, 24), Condition(1.0, 1e4, 24), Condition(1.0, 0.05, 24)]
    boom, dead, sound = runner(max_steps=500, test=points(10), kernel_points=4).run(conditions)
    assert boom.status == dead.status == "diverged"
    assert boom.test_error is boom.kernel_change is None
    assert math.isnan(boom.history[-1].margin)
    alone = runner(max_steps=500, test=points(10), kernel_points=4).run(conditions[2:])[0]
    assert sound.change == pytest.approx(alone.change, rel=1e-9)


def test_smaller_sets_are_nested_and_seeds_differ():
    conditions = grid([1.0], [0.1, 0.2], [8, 16], [0, 1])
    assert len(conditions) == 8
    assert {(c.size, c.seed, c.batches) for c in conditions} == {(p, s, s) for p in (8, 16) for s in (0, 1)}
    a, b = runner(max_steps=1).run([Condition(1.0, 0.1, 16, s) for s in (0, 1)])
    assert a.history[0].norm_sq != b.history[0].norm_sq


def test_float32_margins_are_compared_in_float64():
    """A margin of 1/α = 2⁻¹⁵ on outputs near 1: what ends the run is 1 ≤ α o y of the difference, not a loss of 0."""
    x, y = (t.float() for t in points())
    run = runner(lambda g: MeanFieldMLP((4, 8), g), (x, y), max_steps=5000).run([Condition(2.0**15, 0.05, 24)])[0]
    assert run.status == "fitted"
    assert run.history[-1].margin >= 2.0**-15


def test_an_output_of_zero_is_wrong():
    """A net without biases gives 0 at 0, before and after."""
    run = runner(max_steps=2, test=(torch.zeros(3, 4, dtype=torch.float64), torch.ones(3))).run(
        [Condition(1.0, 0.1, 8)]
    )[0]
    assert run.test_error == 1.0


class Halved(nn.Module):
    """One number a point more than there should be."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x.float())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda g: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), "1 .BatchNorm1d. has buffers"),
        (lambda g: nn.Sequential(nn.Linear(4, 1), nn.Dropout(0.5)), "1 .Dropout. draws noise of its own"),
        (lambda g: Halved(), "one number a point"),
    ],
)
def test_models_that_cannot_be_stacked_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        runner(model).run([Condition(1.0, 1.0, 8)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": (torch.zeros(0, 4), torch.zeros(0))}, r"data must be points"),
        ({"data": (torch.ones(3, 4), torch.ones(2))}, r"data must be points"),
        ({"data": (torch.full((3, 4), math.nan), torch.ones(3))}, "data holds NaN"),
        ({"test": (torch.ones(3, 4), torch.zeros(3))}, "labels must be 1 or -1"),
        ({"batch_size": 0}, "at least 1"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"growth": 1.0}, "growth above 1"),
        ({"kernel_points": -1}, "kernel_points at least 0"),
    ],
)
def test_runners_that_cannot_run_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        runner(**options)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ([], "no condition"),
        ([Condition(0.0, 1.0, 8)], "alpha must be positive"),
        ([Condition(1.0, math.inf, 8)], "temp must be positive"),
        ([Condition(1.0, 1.0, 3)], "at least the batch size 4"),
        ([Condition(1.0, 1.0, 25)], "at most the 24 points"),
    ],
)
def test_conditions_that_cannot_be_are_refused(conditions, message):
    with pytest.raises(ValueError, match=message):
        runner().run(conditions)


def test_points_of_other_shapes_and_views():
    x, y = points()
    images = x.reshape(24, 2, 2)
    flat = runner(max_steps=30).run([Condition(1.0, 0.1, 24)])[0]

    def folded(generator):
        return nn.Sequential(nn.Flatten(), small(generator))

    view = torch.stack([images] * 2, -1)[..., 0]
    assert not view.is_contiguous()
    same = runner(folded, (view, y), max_steps=30).run([replace(flat.condition)])[0]
    assert same.change == pytest.approx(flat.change, rel=1e-9)
