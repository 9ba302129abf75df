"""Verdicts: when a claim holds, when it fails, and what a seed that never gets there does."""

import pytest

from entrokit.diagnose import paired_difference
from entrokit.papers.claims import (
    accuracy_gap,
    entropy_gap,
    final,
    gap_chart,
    matched_chart,
    measured,
    metric_gap,
    steps_gap,
)
from entrokit.runs import Run, RunWriter

from .fake_bench import FakeBench, FakePocket, course


def bench(own, name="tabular", final=1.0, speed=1.0):
    """``own``: entropies of x at accuracy 0.5, one a seed; those of base are 1."""
    return FakeBench(name, given={"x": [course(h, final, speed) for h in own], "base": [course(1.0)] * len(own)})


def test_on_the_table_the_mean_must_pass_its_bound():
    ground = bench([1.04, 1.06, 1.08])
    over = entropy_gap(ground, "x", "base", claim="c", bound=0.05)
    assert over.passed
    assert over.verdict == "holds"
    # 0.02 / √3 = 0.01155, and 4.3027 of that are 0.0497.
    assert over.measured == (
        "+0.0600 ± 0.0115 nats, range of 3 seeds +0.0400 to +0.0800, 95 % Student interval +0.0103 to +0.1097"
    )
    assert over.criterion == "entropy of x minus base at accuracy 0.5: mean over seeds > +0.05 nats"
    assert not entropy_gap(ground, "x", "base", claim="c", bound=0.07).passed
    assert not entropy_gap(ground, "x", "base", claim="c", bound=-0.02, raises=False).passed
    assert entropy_gap(bench([0.9] * 3), "x", "base", claim="c", bound=-0.02, raises=False).passed


@pytest.mark.parametrize(
    ("own", "raises", "passed"),
    [
        ([1.015, 1.02, 1.025], True, True),
        ([0.985, 0.98, 0.975], False, True),
        # Three on one side of 0 are no evidence; a fourth among them is.
        ([1.01, 1.02, 1.03], True, False),
        ([0.99, 0.98, 0.97], False, False),
        ([1.01, 1.02, 1.03, 1.02], True, True),
        ([0.99, 1.05, 1.05], True, False),
    ],
)
def test_on_the_pocket_bench_student_s_interval_must_lie_beyond_zero(own, raises, passed):
    found = entropy_gap(bench(own, "pocket"), "x", "base", claim="c", bound=9.0, raises=raises)
    assert found.passed == passed
    assert found.criterion.endswith(f": 95 % Student interval over seeds {'above' if raises else 'below'} 0")
    assert ("range of 3 seeds" in found.measured) == (len(own) == 3)


def test_a_difference_in_words():
    few, many = (paired_difference(x, [0.0] * len(x)) for x in ([1.0, 2.0, 6.0], [1.0, 2.0, 3.0, 6.0]))
    assert measured(few, unit="steps", digits=".1f") == (
        "+3.0 ± 1.5 steps, range of 3 seeds +1.0 to +6.0, 95 % Student interval -3.6 to +9.6"
    )
    assert measured(many, digits=".2f") == "+3.00 ± 1.08, 95 % Student interval -0.44 to +6.44"


@pytest.mark.parametrize("name", ["tabular", "pocket"])
def test_a_seed_that_never_reaches_the_accuracy_fails_the_claim(name):
    ground = bench([2.0, 2.0, 2.0], name)
    ground.given["x"][1] = course(2.0, final=0.3)
    found = entropy_gap(ground, "x", "base", claim="c", bound=0.0)
    assert not found.passed
    assert found.measured.endswith("; 1 seed short of that accuracy")
    assert list(found.raw) == ["x", "base"]
    assert found.raw["x"] == [pytest.approx(2.0), None, pytest.approx(2.0)]
    assert found.raw["base"] == pytest.approx([1.0, 1.0, 1.0])
    ground.given["x"][0] = course(2.0, final=0.3)
    alone = entropy_gap(ground, "x", "base", claim="c", bound=0.0)
    assert alone.measured == "+1.0000 nats, one seed; 2 seeds short of that accuracy"
    assert not alone.passed
    ground.given["x"] = [course(2.0, final=0.3)] * 3
    assert entropy_gap(ground, "x", "base", claim="c", bound=0.0).measured == (
        "no difference; 3 seeds short of that accuracy"
    )


def test_accuracy_and_steps():
    better = accuracy_gap(
        FakeBench(given={"x": [course(1, 0.9)] * 3, "base": [course(1, 0.8)] * 3}), "x", "base", claim=""
    )
    assert better.passed
    assert better.measured.startswith("+0.1000 ± 0.0000, range of 3 seeds")
    assert better.raw == {"x": [0.9] * 3, "base": [0.8] * 3}
    faster = steps_gap(bench([1.0] * 3, speed=2.0), "x", "base", 0.9, claim="")
    assert faster.passed
    assert (faster.raw["x"], faster.raw["base"]) == (pytest.approx([9.0] * 3), pytest.approx([18.0] * 3))
    assert not steps_gap(bench([1.0] * 3, speed=0.5), "x", "base", 0.9, claim="").passed
    assert steps_gap(bench([1.0] * 3, speed=1.0), "x", "base", 0.9, claim="").passed, "no more steps is enough"


def test_a_logged_metric_at_the_end():
    ground = FakePocket(given_runs={"x": [0.52, 0.53, 0.54], "y": [0.46, 0.47, 0.48]})
    above = metric_gap(ground, "x", "base", "pass@1", claim="")
    assert above.passed
    assert (above.raw["x"], above.raw["base"]) == (pytest.approx([0.52, 0.53, 0.54]), [0.5, 0.5, 0.5])
    assert not metric_gap(ground, "x", "base", "pass@1", claim="", bound=0.03).passed
    assert metric_gap(ground, "y", "base", "length", claim="", raises=False).passed
    within = metric_gap(ground, "y", "base", "pass@1", claim="", bound=-0.06)
    assert within.passed
    assert within.criterion == "pass@1 of y minus base at the end: 95 % Student interval over seeds above -0.06"


def test_what_final_is(tmp_path):
    w = RunWriter(tmp_path, {"recipe": "grpo"})
    for i in range(20):
        w.metrics(i, {"length": float(i), "eval_length": float(i)})
    run = Run.load(tmp_path)
    assert final(run, "length") == 12.0
    assert final(run, "eval_length") == 19.0


def test_charts_show_means_where_all_seeds_are():
    ground = bench([1.0, 1.1, 1.2])
    ground.given["x"][2] = course(1.2, final=0.8)
    series = matched_chart(ground, ["base", "x"]).series
    assert series[1].x[-1] == pytest.approx(0.8)
    assert series[1].y[0] == pytest.approx(1.1 + 0.5)


def test_the_chart_of_gaps_says_what_its_bars_are():
    chart = gap_chart(bench([1.0, 1.1, 1.2]), ["x"], "base")
    base, gap = chart.series
    assert (base.y, gap.y[0]) == ([0.0], pytest.approx(0.1))
    assert (gap.low[0], gap.high[0]) == (pytest.approx(0.0), pytest.approx(0.2))
    assert chart.x_label == "bars: range of 3 seeds"
    four = gap_chart(bench([1.0, 1.1, 1.2, 1.1]), ["x"], "base")
    # 3.1824 standard errors of 0.0408.
    assert four.series[1].high[0] == pytest.approx(0.1 + 0.12992, abs=1e-5)
    assert four.x_label == "bars: 95 % Student interval"
    alone = gap_chart(bench([1.1]), ["x"], "base")
    assert (alone.series[1].low, alone.series[1].high, alone.x_label) == (None, None, "")
