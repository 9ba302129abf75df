"""Runs to the last fitted point over α, T and P, as one stack of models."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from entrokit.dynamics.noise import (
    Condition,
    MeanFieldMLP,
    NoiseRegimeRunner,
    grid,
    kernel_change,
    learning_rate,
    scaled_hinge,
    tangent_gram,
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


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
    together = runner(max_steps=400, test=points(10)).run(conditions)
    assert [run.status for run in together] == ["fitted"] * 3 + ["censored"]
    assert [run.condition for run in together] == conditions
    for run in together[:3]:
        assert run.history[-1].unfitted == 0
        assert run.history[-2].unfitted > 0
        assert run.history[-1].margin >= 0.25
        assert run.time == pytest.approx(learning_rate(run.condition.temp, 4, 8) * run.steps)
        assert run.spacing == pytest.approx(run.time - run.history[-2].time)
        alone = runner(max_steps=400, test=points(10)).run([run.condition])[0]
        assert (alone.steps, alone.status) == (run.steps, run.status)
        assert alone.change == pytest.approx(run.change, rel=1e-9)
    assert together[3].steps == 400


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
        ({"growth": math.inf}, "growth above 1 and finite"),
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


class Partly(nn.Module):
    """A parameter that is frozen, and one without a say."""

    def __init__(self, generator):
        super().__init__()
        self.body = small(generator)
        self.body.layers[0].requires_grad_(False)
        self.idle = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, x):
        return self.body(x)


def test_what_is_frozen_or_idle_stays():
    runs = runner(Partly, max_steps=4).run([Condition(1.0, t, 8) for t in (0.1, 50.0)])
    for run in runs:
        moved = run.history[-1].change_sq
        assert (moved["body.layers.0"], moved["idle"]) == (0.0, 0.0)
        assert moved["body.layers.1"] > 0
    with pytest.raises(ValueError, match="nothing to train"):
        runner(lambda g: small(g).requires_grad_(False)).run([Condition(1.0, 0.1, 8)])


def test_a_start_of_zero_has_no_relative_change():
    def linear(generator):
        layer = nn.Linear(4, 1, bias=False, dtype=torch.float64)
        nn.init.zeros_(layer.weight)
        return layer

    assert runner(linear, width=1, max_steps=1).run([Condition(1.0, 0.1, 8)])[0].change == math.inf


def test_a_large_alpha_in_half_precision_is_no_divergence():
    x, y = (t.half() for t in points())

    def half(generator):
        return MeanFieldMLP((4, 8), generator, dtype=torch.float16)

    run = runner(half, (x, y), max_steps=2).run([Condition(2.0**18, 0.01, 24)])[0]
    assert run.status == "censored"
    assert run.change > 0


def test_nan_is_neither_right_nor_fitted():
    far = (torch.full((3, 4), 1e308, dtype=torch.float64), torch.ones(3))
    run = runner(max_steps=2, test=far).run([Condition(1.0, 0.1, 8)])[0]
    assert run.test_error == 1.0
    boom = runner(max_steps=3).run([Condition(1.0, 1e200, 24)])[0]
    assert boom.status == "diverged"
    # An output that is infinite may be on the right side.
    assert boom.history[-1].error > 0.5
    assert boom.history[-1].unfitted > 12


def test_a_single_point_has_one_output_and_is_alive():
    run = runner(batch_size=1, max_steps=200).run([Condition(1.0, 0.1, 1)])[0]
    assert run.status == "fitted"
