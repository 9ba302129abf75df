"""Differences paired by seed: Student's interval covers what it says, and three seeds have a range."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from entrokit.diagnose import paired_difference, what_is_shown
from entrokit.diagnose.student import student_quantile


def of(*differences, **options):
    return paired_difference(differences, [0.0] * len(differences), **options)


@pytest.mark.parametrize("freedom", [*range(1, 41), 99, 100, 399, 1000])
def test_the_quantile_is_scipy_s(freedom):
    for confidence in (0.01, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999):
        assert student_quantile(confidence, freedom) == pytest.approx(
            stats.t.ppf((1 + confidence) / 2, freedom), rel=1e-9
        )


def test_quantiles_of_printed_tables():
    found = [student_quantile(0.95, freedom) for freedom in (1, 2, 3, 7)]
    assert found == pytest.approx([12.7062, 4.3027, 3.1824, 2.3646], abs=5e-5)
    # At one degree of freedom T is Cauchy's, at two it has a closed form.
    assert student_quantile(0.5, 1) == pytest.approx(1.0, rel=1e-12)
    assert student_quantile(0.6, 2) == pytest.approx(0.6 * math.sqrt(2 / (1 - 0.36)), rel=1e-12)


@pytest.mark.parametrize(("confidence", "freedom"), [(0.0, 3), (1.0, 3), (float("nan"), 3), (0.95, 0)])
def test_a_quantile_out_of_range_is_refused(confidence, freedom):
    with pytest.raises(ValueError, match="student_quantile: needs confidence"):
        student_quantile(confidence, freedom)


@pytest.mark.parametrize("pairs", [2, 3, 5, 8])
def test_the_interval_covers_the_mean_of_normal_differences_as_often_as_it_says(pairs):
    draws = 4000
    found = [of(*x) for x in np.random.default_rng(pairs).normal(0.3, 2.0, (draws, pairs))]
    covered = sum(d.low <= 0.3 <= d.high for d in found)
    assert abs(covered / draws - 0.95) < 4 * math.sqrt(0.95 * 0.05 / draws)
    # A claim of no effect "holds" at one end in 2.5 %, not in the 12 % of three pairs on one side of 0.
    assert abs(sum(d.low > 0.3 for d in found) / draws - 0.025) < 4 * math.sqrt(0.025 * 0.975 / draws)


def test_worked_numbers():
    three = of(1.0, 2.0, 6.0)
    # Deviations -2, -1, 3: variance 7, standard error √(7/3) = 1.527525; t(2) = 4.302653.
    assert (three.mean, three.std_error) == pytest.approx((3.0, math.sqrt(7 / 3)))
    assert (three.low, three.high) == pytest.approx((3 - 6.572411, 3 + 6.572411), abs=1e-6)
    assert (three.range, three.shown, three.few) == ((1.0, 6.0), (1.0, 6.0), True)
    four = of(1.0, 2.0, 3.0, 6.0)
    # Deviations -2, -1, 0, 3: variance 14/3, standard error √(14/12) = 1.080123; t(3) = 3.182446.
    assert (four.low, four.high) == pytest.approx((3 - 3.437435, 3 + 3.437435), abs=1e-6)
    assert (four.range, four.shown, four.few) == ((1.0, 6.0), (four.low, four.high), False)
    # t(7) = 1.894579 at 90 %.
    eight = of(*range(8), confidence=0.9)
    assert eight.high - eight.mean == pytest.approx(1.894579 * math.sqrt(6.0 / 8), abs=1e-6)


floats = st.floats(-10, 10)


@given(st.lists(st.tuples(floats, floats), min_size=2, max_size=8), floats, st.floats(0.01, 100))
def test_the_interval_moves_stretches_and_mirrors_with_its_differences(pairs, shift, scale):
    a, b = (np.array(x) for x in zip(*pairs, strict=True))
    found = paired_difference(a, b)
    both = paired_difference(a + shift, b + shift)
    assert (both.mean, both.low, both.high) == pytest.approx((found.mean, found.low, found.high), abs=1e-9)
    moved = paired_difference(scale * a + shift, scale * b)
    expected = tuple(scale * x + shift for x in (found.mean, found.low, found.high, *found.range))
    assert (moved.mean, moved.low, moved.high, *moved.range) == pytest.approx(expected, abs=1e-9 * max(1.0, scale))
    mirrored = paired_difference(b, a)
    assert (mirrored.mean, mirrored.low, mirrored.high) == pytest.approx((-found.mean, -found.high, -found.low))


@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1e308, 5e-324])
def test_equal_differences_give_a_point(value):
    found = of(value, value, value)
    assert (found.mean, found.low, found.high, found.std_error) == (value, value, value, 0.0)


def test_sizes_whose_squares_are_no_numbers():
    for size in (1e-200, 1e200):
        found = of(1.0 * size, 2.0 * size, 6.0 * size)
        assert (found.low / size, found.high / size) == pytest.approx((3 - 6.572411, 3 + 6.572411), abs=1e-6)
    with pytest.raises(ValueError, match="a difference is too large"):
        paired_difference([1e308, 0.0], [-1e308, 0.0])


def test_what_stands_in_brackets():
    one, two, three, four = of(1.0), of(1.0, 2.0), of(1.0, 2.0, 6.0), of(1.0, 2.0, 3.0, 6.0)
    assert f"{three:+.1f}" == "+3.0 [+1.0, +6.0]"
    assert f"{four:+.2f}" == "+3.00 [-0.44, +6.44]"
    assert f"{one}" == "+1.000"
    assert np.isnan([one.low, one.high, one.std_error]).all()
    assert what_is_shown([one]) == what_is_shown([]) == ""
    assert what_is_shown([three, one, three]) == "range of 3 seeds"
    assert what_is_shown([four, four]) == "95 % Student interval"
    assert what_is_shown([three, four, two]) == "95 % Student interval or range of 2 seeds or range of 3 seeds"
    assert what_is_shown([of(*range(5), confidence=0.5)]) == "50 % Student interval"


@pytest.mark.parametrize(
    ("values", "baseline", "options", "message"),
    [
        ([], [], {}, "one length above 0"),
        ([1.0], [1.0, 2.0], {}, "one length above 0"),
        ([1.0, float("nan")], [0.0, 0.0], {}, "not finite"),
        ([1.0], [float("inf")], {}, "not finite"),
        ([1.0], [0.0], {"confidence": 1.0}, "confidence must lie in"),
    ],
)
def test_bad_pairs_are_refused(values, baseline, options, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(values, baseline, **options)
