"""The depleted perceptron: its data, that passing over idle steps keeps SGD's law, its regimes and exponents."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from entrokit.dynamics.noise import PerceptronTheory, depleted_sign, fit_power_law, train_perceptrons
from entrokit.dynamics.noise.draws import distinct, hits


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def world(P, d, chi, runs):
    data = [depleted_sign(P, d, chi, seeded(s)) for s in range(runs)]
    return torch.stack([x for x, _ in data]), torch.stack([y for _, y in data])


def geometric(values):
    return float(values.double().log().mean().exp())


@pytest.mark.parametrize(("chi", "mean"), [(0.0, 0.797885), (1.0, 1.253314), (2.0, 1.595769), (0.5, None)])
def test_check_3_moments_of_the_data(chi, mean):
    n = 200_000
    x, y = depleted_sign(n, 3, chi, seeded(0))
    assert bool((x[:, 0].sign() == y).all())
    # Five standard errors: x_1² has variance 2(χ + 1), |x_1| at most χ + 1, the rest are normal.
    assert abs(float(x[:, 0].square().mean()) - (chi + 1)) < 5 * math.sqrt(2 * (chi + 1) / n)
    if mean is not None:
        assert abs(float(x[:, 0].abs().mean()) - mean) < 5 * math.sqrt((chi + 1 - mean**2) / n)
    assert abs(float(y.mean())) < 5 / math.sqrt(n)
    assert float(x[:, 1:].mean(0).abs().max()) < 5 / math.sqrt(n)
    again, _ = depleted_sign(n, 3, chi, seeded(0))
    assert torch.equal(x, again)


@pytest.mark.parametrize(
    ("chi", "share"), [(0.0, 0.398942), (0.5, 0.348683), (1.0, 0.313329), (2.0, 0.265962)], ids=lambda v: str(v)
)
def test_the_constants_of_the_theory(chi, share):
    theory = PerceptronTheory(chi)
    assert theory.noise_norm(3.0, 16) == pytest.approx(3 * 4 * 15 / 16 * share, rel=2e-6)
    u = np.linspace(1e-9, 12, 400_001)
    normal = np.exp(-u * u / 2) / math.sqrt(2 * math.pi)
    tail = np.array([math.erfc(v / math.sqrt(2)) / 2 for v in u[::100]])
    assert theory.unfitted_integral == pytest.approx(np.trapezoid(u[::100] ** chi * tail, u[::100]), rel=1e-3)
    assert theory.drift_integral == pytest.approx(np.trapezoid(u**chi * normal, u), rel=1e-3)
    assert theory.unfitted_share(theory.stopping_ratio(500)) == pytest.approx(1 / 500, rel=1e-12)
    # The share itself, ∫ ρ(x) Φ(−λx) dx, goes as the law says where λ is large.
    density = theory.density * u**chi * np.exp(-u * u / 2)
    far = 200.0
    unfitted = np.array([math.erfc(far * v / math.sqrt(2)) / 2 for v in u[:4000]])
    assert theory.unfitted_share(far) == pytest.approx(np.trapezoid(density[:4000] * unfitted, u[:4000]), rel=5e-3)


def test_the_exponents_of_the_theory():
    flat, depleted = PerceptronTheory(0.0), PerceptronTheory(1.0)
    assert (flat.signal_exponent, flat.time_exponent, flat.growth_exponent) == (1, 3, 1 / 3)
    assert (depleted.signal_exponent, depleted.time_exponent, depleted.critical_exponent) == (0.5, 2, 0.5)
    assert depleted.growth_exponent == 0.25
    for chi in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="chi must be finite and above -1"):
            PerceptronTheory(chi)


def test_hits_are_hypergeometric():
    table = hits(6, 3)
    for u in range(7):
        found = [sum(i < u for i in batch) for batch in combinations(range(6), 3)]
        shares = [np.mean([k <= most for k in found]) for most in range(4)]
        np.testing.assert_allclose(table[u], shares, atol=1e-12)
    assert (table[:, -1] == 1).all()


def test_draws_are_distinct_and_every_set_alike_likely():
    n = 60_000
    uniforms = np.random.default_rng(0).random((n, 3))
    drawn = distinct(uniforms, np.full(n, 5), np.full(n, 3))
    sets, counts = np.unique(np.sort(drawn, axis=1), axis=0, return_counts=True)
    assert sets.tolist() == [list(c) for c in combinations(range(5), 3)]
    # Five deviations of a count of n draws with probability 1/10.
    assert np.abs(counts - n / 10).max() < 5 * math.sqrt(n * 0.09)
    few = distinct(uniforms, np.full(n, 5), np.full(n, 2))[:, :2]
    assert (few[:, 0] != few[:, 1]).all()
    assert np.bincount(few.ravel()).tolist() == pytest.approx([2 * n / 5] * 5, abs=5 * math.sqrt(n * 0.24))


def plain(x, y, alpha, lr, batch, rng):
    """SGD step by step: change of the weights, and steps."""
    points, w, steps = (x * y[:, None]).numpy() / math.sqrt(x.shape[1]), np.zeros(x.shape[1]), 0
    while (alpha * (points @ w) < 1).any():
        rows = rng.permutation(len(points))[:batch]
        short = alpha * (points[rows] @ w) < 1
        w = w + lr / batch * points[rows][short].sum(0)
        steps += 1
    return w, steps


def test_idle_steps_are_passed_over_in_law():
    """Steps, signal and noise of 400 runs either way, on the same points: means within five standard errors."""
    runs, (x, y) = 400, depleted_sign(12, 3, 1.0, seeded(1))
    rng = np.random.default_rng(0)
    slow = [plain(x, y, 1.0, 2.0, 2, rng) for _ in range(runs)]
    fast = train_perceptrons(x.expand(runs, -1, -1), y.expand(runs, -1), alpha=1.0, temp=1.0, seeds=range(runs))
    assert bool((fast.moves < fast.steps).any())
    for ours, theirs in (
        (fast.steps.double().log().numpy(), np.log([s for _, s in slow])),
        (fast.signal.numpy(), np.array([w[0] for w, _ in slow])),
        (fast.noise.numpy(), np.array([np.linalg.norm(w[1:]) for w, _ in slow])),
    ):
        error = math.sqrt((ours.var() + theirs.var()) / runs)
        assert abs(ours.mean() - theirs.mean()) < 5 * error


def test_waits_and_hits_are_those_of_batches():
    """Nine points along one axis and three along the other, either fitted by one of its own: all laws are known."""
    runs = 12_000
    points = torch.zeros(runs, 12, 2, dtype=torch.float64)
    points[:, :9, 0], points[:, 9:, 1] = 1.0, 1.0
    done = train_perceptrons(points, torch.ones(runs, 12), alpha=1.0, temp=10.0, batch_size=4, seeds=range(runs))
    shares = [math.comb(3, k) * math.comb(9, 4 - k) / math.comb(12, 4) for k in range(4)]
    assert bool(((done.moves == 1) | (done.moves == 2)).all())
    # No batch is of the three alone: steps are geometric.
    p = 1 - shares[0]
    assert abs(float(done.steps.double().mean()) - 1 / p) < 5 * math.sqrt((1 - p) / runs) / p
    late = done.w[done.moves == 2, 1] / (10 / math.sqrt(2))
    found = torch.bincount(late.round().long(), minlength=4) / len(late)
    for k in range(1, 4):
        share = shares[k] / p
        assert abs(float(found[k]) - share) < 5 * math.sqrt(share * (1 - share) / len(late))


def test_a_fitted_run_fits_and_a_censored_one_says_so():
    X, y = world(32, 8, 1.0, 3)
    done = train_perceptrons(X, y, alpha=0.5, temp=1.0, seeds=range(3))
    margins = 0.5 * y * (X @ done.w[:, :, None])[..., 0] / math.sqrt(8)
    assert bool(done.fitted.all())
    assert float(margins.min()) >= 1 - 1e-12
    assert torch.equal(done.time, 2.0 * done.steps)
    most = int(done.steps.min()) - 1
    cut = train_perceptrons(X, y, alpha=0.5, temp=1.0, seeds=range(3), max_steps=most)
    assert not bool(cut.fitted.any())
    assert cut.steps.tolist() == [most] * 3
    exact = train_perceptrons(X, y, alpha=0.5, temp=1.0, seeds=range(3), max_steps=most + 1)
    assert int(exact.fitted.sum()) == int((done.steps == most + 1).sum()) > 0


def test_a_run_does_not_depend_on_its_neighbours():
    X, y = world(32, 4, 1.0, 4)
    temps = torch.tensor([1.0, 2.0, 3.0, 10.0], dtype=torch.float64)
    together = train_perceptrons(X, y, alpha=1.0, temp=temps, seeds=range(4))
    for i in range(4):
        alone = train_perceptrons(X[i : i + 1], y[i : i + 1], alpha=1.0, temp=float(temps[i]), seeds=[i])
        assert alone.steps.tolist() == together.steps[i : i + 1].tolist()
        torch.testing.assert_close(alone.w[0], together.w[i], rtol=1e-9, atol=1e-9)


def test_check_5_time_and_weights_are_proportional_to_the_temperature():
    X, y = world(32, 8, 1.0, 4)
    a, b, c = (train_perceptrons(X, y, alpha=1e6, temp=t, seeds=range(4)) for t in (0.25, 1.0, 4.0))
    for low, high in ((a, b), (b, c)):
        assert torch.equal(4 * low.time, high.time)
        torch.testing.assert_close(4 * low.w, high.w, rtol=1e-9, atol=0)


def test_check_6_the_crossover():
    """Sheet, geometric means of 8 seeds: w_1 4.81, ‖w_⊥‖ 1.92, t* 118 at T = 0.03, up to 201, 120, 4866 at 100."""
    X, y = world(32, 8, 1.0, 48)
    runs = {t: train_perceptrons(X, y, alpha=1.0, temp=t, seeds=range(48)) for t in (0.03, 0.1, 10.0, 100.0)}
    signal = {t: geometric(run.signal) for t, run in runs.items()}
    assert signal[0.1] / signal[0.03] < 1.15
    assert signal[100.0] / signal[10.0] > 6
    # ln w_1 spreads by 0.3 over seeds, ln t* by 1 where noise rules: four errors of the sheet's 8 seeds.
    for t, w_1, w_perp, time in ((0.03, 4.81, 1.92, 118), (10.0, 25.0, 12.5, 717), (100.0, 201, 120, 4866)):
        assert abs(math.log(signal[t] / w_1)) < 4 * 0.3 / math.sqrt(8)
        assert abs(math.log(geometric(runs[t].noise) / w_perp)) < 4 * 0.3 / math.sqrt(8)
        assert abs(math.log(geometric(runs[t].time) / time)) < 4 * 1.0 / math.sqrt(8)


def test_check_7_exponents():
    slopes = {}
    for chi, sizes in ((1.0, (256, 512, 1024, 2048)), (0.0, (128, 256, 512))):
        P, ratio, time = [], [], []
        for size in sizes:
            run = train_perceptrons(*world(size, 16, chi, 16), alpha=1e6, temp=1.0, seeds=range(16))
            assert bool(run.fitted.all())
            P += [size] * 16
            ratio += (run.signal / run.noise).tolist()
            time += run.time.tolist()
            if chi == 1.0 and size >= 1024:
                assert float(run.noise.mean()) == pytest.approx(PerceptronTheory(1.0).noise_norm(1.0, 16), rel=0.15)
        slopes[chi] = fit_power_law(P, ratio).exponent, fit_power_law(P, time).exponent
    assert 0.35 < slopes[1.0][0] < 0.6
    assert 1.3 < slopes[1.0][1] < 2.2
    assert 0.8 < slopes[0.0][0] < 1.2
    assert 2 < slopes[0.0][1] < 3.2


def test_check_8_whole_batches_do_not_depend_on_their_seed():
    X, y = world(16, 4, 1.0, 1)
    a, b = (train_perceptrons(X, y, alpha=1.0, temp=0.1, batch_size=16, seeds=[s]) for s in (0, 1))
    assert torch.equal(a.steps, b.steps)
    assert torch.equal(a.moves, a.steps)
    torch.testing.assert_close(a.w, b.w, rtol=1e-9, atol=0)
    c, e = (train_perceptrons(X, y, alpha=1.0, temp=0.1, batch_size=15, seeds=[s]) for s in (0, 1))
    assert not torch.equal(c.w, e.w)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": torch.zeros(2, 3)}, r"needs X \[R, P, d\]"),
        ({"X": torch.zeros(2, 0, 3), "y": torch.zeros(2, 0)}, r"needs X \[R, P, d\]"),
        ({"X": torch.full((2, 4, 3), math.nan, dtype=torch.float64)}, "X holds NaN or inf"),
        ({"y": torch.zeros(2, 4)}, "labels must be 1 or -1"),
        ({"seeds": [0]}, "2 runs need as many seeds, got 1"),
        ({"batch_size": 5}, "batch_size must be 1 to P = 4"),
        ({"batch_size": 0}, "batch_size must be 1 to P = 4"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"alpha": torch.ones(3)}, r"alpha is one number or one a run \[2\]"),
        ({"alpha": 0.0}, "alpha must be positive and finite"),
        ({"temp": math.inf}, "temp must be positive and finite"),
    ],
)
def test_what_is_refused(change, message):
    given = {"X": torch.ones(2, 4, 3), "y": torch.ones(2, 4), "alpha": 1.0, "temp": 1.0, "seeds": [0, 1]} | change
    with pytest.raises(ValueError, match=message):
        train_perceptrons(given.pop("X"), given.pop("y"), **given)


def test_half_precision_and_views_give_what_their_numbers_say():
    x, y = depleted_sign(8, 4, 1.0, seeded(0))
    half, view = x.half()[None], torch.stack([x.half().double()] * 2, -1)[..., 0][None]
    assert not view.is_contiguous()
    a, b = (train_perceptrons(v, y[None], alpha=1.0, temp=1.0, seeds=[0]) for v in (half, view))
    assert torch.equal(a.w, b.w)


def test_data_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="chi must be finite"):
        depleted_sign(4, 2, -1.0, seeded(0))
    with pytest.raises(ValueError, match="at least one point"):
        depleted_sign(0, 2, 1.0, seeded(0))


@pytest.mark.parametrize("temp", [1e308, 8e307])
def test_a_temperature_that_leaves_float64_is_not_a_fit(temp):
    with pytest.raises(OverflowError, match="outputs left float64; lower temp"):
        train_perceptrons(*world(8, 3, 1.0, 2), alpha=1.0, temp=temp, seeds=[0, 1])


def test_runs_are_compared_by_identity():
    one, other = (train_perceptrons(*world(8, 3, 1.0, 2), alpha=1.0, temp=1.0, seeds=[0, 1]) for _ in range(2))
    assert one != other
