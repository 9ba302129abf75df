import json
import math
import warnings

import numpy as np
import pytest

from entrokit.diagnose import beside
from entrokit.diagnose.two_runs.aligned import Pair, aligned
from entrokit.diagnose.two_runs.apart import FEWEST, onset_of
from entrokit.runs import Series, TrainingLog

from .logs import log_of

STEPS = np.arange(1.0, 121.0)


def noisy(rng, phi=0.0, n=120):
    """An AR(1) course of standard deviation 1, ``[n]``."""
    fresh = rng.normal(size=n + 60)
    x = np.zeros(n + 60)
    for t in range(1, n + 60):
        x[t] = phi * x[t - 1] + fresh[t]
    return x[60:] * (1 - phi**2) ** 0.5


def series(values, steps=STEPS):
    return Series.of(zip(steps, values, strict=True))


def log(folder, name="run", config=None, **values):
    return TrainingLog(
        folder / name,
        "table",
        {k.replace("__", "/"): v if isinstance(v, Series) else series(v) for k, v in values.items()},
        config=config or {},
    )


def run(folder, seed, name="run", at=None, shift=0.0, config=None):
    rng = np.random.default_rng(seed)
    fall = 0.3 + 0.6 * np.exp(-STEPS / 40)
    late = np.zeros(120) if at is None else np.where(at <= STEPS, shift, 0.0)
    return log(
        folder,
        name,
        config,
        entropy=fall + 0.02 * noisy(rng, 0.5) + 0.02 * late * ((at or 0) + 15 <= STEPS),
        reward=0.2 + STEPS / 300 + 0.03 * noisy(rng),
        grad_norm=np.exp(math.log(0.3) + 0.2 * noisy(rng) + 0.2 * late),
    )


def test_what_went_apart_first_when_and_by_how_much(tmp_path):
    c = beside(run(tmp_path, 1, "a"), run(tmp_path, 2, "b", at=41, shift=9.0))
    assert c.verdict == "apart"
    assert [x.key for x in c.apart] == ["grad_norm", "entropy"]
    first, second = c.apart
    assert first.step == pytest.approx(41, abs=1)
    assert second.step == pytest.approx(56, abs=2)
    assert first.sigmas > 5
    assert first.lasting
    assert (first.a, first.b) == (pytest.approx(0.3, rel=0.1), pytest.approx(0.3 * math.exp(1.8), rel=0.1))
    assert c.sentence.startswith(
        f"grad_norm went apart first, at step {first.step:g} ({first.sigmas:.1f} standard errors"
    )
    assert c.sentence.endswith(f"followed by entropy at {second.step:g}")


def test_the_order_of_the_runs_changes_their_order_alone(tmp_path):
    a, b = run(tmp_path, 1, "a"), run(tmp_path, 2, "b", at=41, shift=9.0)
    one, other = beside(a, b), beside(b, a)
    assert [(x.key, x.step, x.a, x.b) for x in one.apart] == [(x.key, x.step, x.b, x.a) for x in other.apart]


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("n", [30, 120])
def test_seeds_of_one_law_are_not_apart(phi, n):
    rng = np.random.default_rng(11)
    pairs = [[Pair(np.arange(n), noisy(rng, phi, n), noisy(rng, phi, n), "") for _ in range(6)] for _ in range(40)]
    alarms = sum(any(onset_of(p, 6 * n) for p in keys) for keys in pairs)
    assert alarms <= 2


@pytest.mark.parametrize(("shift", "found"), [(4.0, True), (0.3, False)])
def test_a_shift_is_found_from_some_sigmas_on(shift, found):
    rng = np.random.default_rng(3)
    onsets = []
    for _ in range(20):
        a, b = noisy(rng), noisy(rng) + shift * (STEPS >= 70)
        onsets.append(onset_of(Pair(STEPS, a, b, ""), 10 * 120))
    if not found:
        assert sum(o is not None for o in onsets) <= 1
        return
    assert all(o is not None for o in onsets)
    assert np.median([abs(o.step - 70) for o in onsets]) <= 1


def test_a_single_spike_is_no_parting(tmp_path):
    a, b = run(tmp_path, 1), run(tmp_path, 2)
    a.series["grad_norm"].values[50] = 1000.0
    assert beside(a, b).verdict == "not-apart"


@pytest.mark.parametrize(("count", "told"), [(5, True), (4, False)])
def test_spikes_of_one_run_are_told(tmp_path, count, told):
    a, b = run(tmp_path, 1, "a"), run(tmp_path, 2, "b")
    b.series["grad_norm"].values[40 : 40 + 12 * count : 12] = 50.0
    c = beside(a, b)
    assert c.verdict == "not-apart"
    said = f"grad_norm spikes {count} times in b, first at step 41, and 0 in a"
    assert c.sentence.endswith(said) == told


def test_runs_that_come_together_again_are_apart_for_a_while():
    rng = np.random.default_rng(0)
    apart = onset_of(Pair(STEPS, noisy(rng), noisy(rng) + 6.0 * ((STEPS > 30) & (STEPS < 60)), ""), 120)
    assert apart.step == pytest.approx(31, abs=1)
    assert not apart.lasting


def test_courses_without_noise_are_apart_where_they_differ():
    a = np.full(120, 1e-5)
    got = onset_of(Pair(STEPS, a, a / 10, ""), 120)
    assert (got.step, got.sigmas, got.a, got.b) == (1, None, 1e-5, pytest.approx(1e-6))
    stepped = onset_of(Pair(STEPS, a, np.where(STEPS > 50, 1e-6, 1e-5), ""), 120)
    assert (stepped.step, stepped.a, stepped.b) == (51, pytest.approx(1e-5), pytest.approx(1e-6))


def test_digits_that_a_printer_dropped_are_no_difference():
    values = np.random.default_rng(0).normal(size=120)
    assert not Pair(STEPS, values, np.array([float(f"{v:.6g}") for v in values]), "").difference.any()
    assert Pair(STEPS, values, values * (1 + 2e-5), "").difference.all()


def test_identical_runs(tmp_path):
    c = beside(run(tmp_path, 1, "a"), run(tmp_path, 1, "b"))
    assert (c.verdict, c.apart, c.same_until) == ("identical", (), 120.0)
    assert c.sentence == "identical: every number of every common series is the same, up to step 120"


def test_a_fork_says_up_to_where_it_is_the_same(tmp_path):
    a, b, other = run(tmp_path, 1, "a"), run(tmp_path, 1, "b"), run(tmp_path, 2)
    for key, s in b.series.items():
        s.values[60:] = other.series[key].values[60:]
    c = beside(a, b)
    assert (c.verdict, c.same_until) == ("not-apart", 60.0)
    assert c.sentence.endswith("up to step 60 every number is the same")


def test_runs_without_anything_in_common(tmp_path):
    a, b = log(tmp_path, "a", entropy=STEPS), log(tmp_path, "b", reward=STEPS)
    assert beside(a, b).sentence == "nothing to compare: a has entropy, and b has reward"
    assert beside(a, log(tmp_path, "b")).sentence == "nothing to compare: b holds no numbers that are known"
    assert beside(log(tmp_path, "a"), log(tmp_path, "b")).verdict == "nothing-in-common"
    late = log(tmp_path, "b", entropy=series(STEPS, STEPS + 500))
    said = "nothing to compare: no steps in common; a goes from step 1 to 120 and b goes from step 501 to 620"
    assert beside(a, late).sentence == said
    machine = [log(tmp_path, n, seconds=STEPS) for n in "ab"]
    assert "which is of the machine" in beside(*machine).sentence


def test_how_fast_the_machine_was_is_not_compared(tmp_path):
    a, b = (log(tmp_path, n, entropy=STEPS / 100, seconds=STEPS * k) for n, k in (("a", 1), ("b", 9)))
    c = beside(a, b)
    assert c.verdict == "identical"
    assert c.left_out == {"seconds": "of the machine, not of the training"}


@pytest.mark.parametrize(("points", "verdict"), [(FEWEST - 1, "too-short"), (FEWEST, "not-apart")])
def test_too_few_common_points(tmp_path, points, verdict):
    rng = np.random.default_rng(0)
    a = log(tmp_path, "a", entropy=noisy(rng))
    b = log(tmp_path, "b", entropy=series(noisy(rng)[:points], STEPS[:points]))
    c = beside(a, b)
    assert c.verdict == verdict
    assert ("entropy" in c.left_out) == (verdict == "too-short")
    assert c.notes == (f"b ends at step {points}, a at 120: compared as far as both go",)


def test_what_turned_nan_in_one_run(tmp_path):
    rng = np.random.default_rng(0)
    values = noisy(rng)
    values[58:] = np.nan
    a, b = log(tmp_path, "a", loss=noisy(rng)), log(tmp_path, "b", loss=values)
    c = beside(a, b)
    assert c.verdict == "apart"
    assert [(x.key, x.step, x.run, x.kind, x.other) for x in c.broken] == [("loss", 59, 1, "nan", None)]
    assert c.sentence == "loss turned NaN at step 59 in b, not in a"
    later = noisy(rng)
    later[70:] = np.inf
    assert beside(log(tmp_path, "a", loss=later), b).sentence == "loss turned NaN at step 59 in b, at step 71 in a"
    assert not beside(log(tmp_path, "a", loss=values), b).broken


def test_a_series_that_was_nothing_but_nan(tmp_path):
    nothing = log(tmp_path, "a", loss=np.full(120, np.nan), entropy=STEPS)
    c = beside(nothing, log(tmp_path, "b", loss=STEPS, entropy=STEPS))
    assert c.sentence.startswith("loss turned NaN at step 1 in a, not in b")
    assert c.left_out["loss"] == f"0 common points; {FEWEST} are needed"


def test_steps_are_brought_together_and_never_beyond_what_both_cover():
    every = series(2.0 * STEPS)
    tenth = series(2.0 * STEPS[9::10] - 9.0, STEPS[9::10])
    pair = aligned(every, tenth)
    assert pair.how == "means over 10 steps"
    assert pair.steps.tolist() == STEPS[9::10].tolist()
    # The denser run covers step 10 alone of the first interval: what came before lies outside of the common steps.
    np.testing.assert_allclose(pair.a[1:], pair.b[1:])
    swapped = aligned(tenth, every)
    np.testing.assert_allclose(swapped.b, pair.a)

    offset = aligned(series(STEPS, 10 * STEPS), series(STEPS + 0.5, 10 * STEPS + 5))
    assert offset.how == "interpolation"
    np.testing.assert_allclose(offset.a, offset.b)
    assert offset.steps[0] == 20
    assert offset.steps[-1] == 1200


def test_nothing_is_interpolated_across_a_gap():
    steps = 10 * STEPS + 5
    kept = (steps < 300) | (steps > 700)
    pair = aligned(series(STEPS, 10 * STEPS), Series.of(zip(steps[kept], steps[kept], strict=True)))
    assert not ((pair.steps > 300) & (pair.steps < 700)).any()


@pytest.mark.parametrize("points", [0, 1, 2])
def test_a_handful_of_points_is_no_trouble(points):
    few = Series.of([(float(i), 1.0) for i in range(points)])
    for other in (few, series(STEPS), Series.of([(0.5, 1.0)]), Series.of([])):
        assert len(aligned(few, other)) <= max(points, len(other))
        assert len(aligned(other, few)) <= max(points, len(other))


def test_a_long_course_is_compared_by_means():
    rng = np.random.default_rng(0)
    steps = np.arange(50_000.0)
    pair = aligned(series(rng.normal(size=50_000), steps), series(rng.normal(size=50_000) + (steps > 30_000), steps))
    assert len(pair) <= 4000
    assert pair.how == "means over 13 points"
    assert onset_of(pair, len(pair)).step == pytest.approx(30_000, abs=130)


def test_settings_that_differ(tmp_path):
    a = run(tmp_path, 1, "a", config={"lr": 1e-5, "nested": {"beta": 0.0, "same": [1]}, "old": True})
    b = run(tmp_path, 2, "b", config={"lr": 1e-6, "nested": {"beta": math.inf, "same": [1]}})
    c = beside(a, b)
    assert c.configs == {"lr": (1e-5, 1e-6), "nested/beta": (0.0, math.inf), "old": (True, "(not set)")}
    assert json.loads(c.to_json())["configs"]["nested/beta"] == [0.0, "inf"]
    unknown = beside(a, run(tmp_path, 2, "b"))
    assert unknown.configs == {}
    assert "no settings of b were found: settings are not compared" in unknown.notes


def test_the_json_holds_everything(tmp_path):
    c = beside(run(tmp_path, 1, "a"), run(tmp_path, 2, "b", at=41, shift=9.0))
    told = json.loads(c.to_json())
    assert told["verdict"] == "apart"
    assert told["apart"][0]["key"] == "grad_norm"
    assert told["names"] == ["a", "b"]
    assert [r["verdict"] for r in told["runs"]] == [d.verdict for d in c.diagnoses]
    assert told["compared"]["reward"] == {"points": 120, "by": "common steps"}


def test_what_one_run_alone_has(tmp_path):
    a = log(tmp_path, "a", entropy=STEPS, kl=STEPS)
    assert beside(a, log(tmp_path, "b", entropy=STEPS)).only == (("kl",), ())


@pytest.mark.parametrize(("folders", "names"), [("xy", ("x/run", "y/run")), ("xx", ("x/run (A)", "x/run (B)"))])
def test_runs_of_one_name_are_told_apart(tmp_path, folders, names):
    c = beside(*(log(tmp_path / f, entropy=STEPS) for f in folders))
    assert c.names == names


@pytest.mark.parametrize("size", [1e300, 1e-300, 5e-324])
def test_numbers_whose_squares_are_none_are_compared(size):
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b = (log_of({"entropy": size * rng.normal(size=40), "reward": np.zeros(40)}) for _ in range(2))
        assert beside(a, b).verdict in ("apart", "not-apart", "identical")
        assert beside(a, log_of({"entropy": np.zeros(40), "reward": size * np.ones(40)})).to_json()


def test_one_common_point_of_a_longer_run_is_no_identity():
    whole = log_of({"entropy": np.linspace(0.6, 0.4, 60)})
    assert beside(whole, whole).verdict == "identical"
    first = log_of({"entropy": np.array([0.6])})
    assert beside(first, whole).verdict == "too-short"
    assert beside(first, first).verdict == "identical"
