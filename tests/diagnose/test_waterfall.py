"""Accounts put together: shares as the optimiser got them, and what clipping took away beside."""

import math
from dataclasses import replace

import numpy as np
import pytest

from entrokit.diagnose import clipping_said, waterfall_of
from entrokit.diagnose.trend import Trend
from entrokit.runs import QUADRANTS, Part, StepAccount

UP, DOWN = QUADRANTS[:2]
ENTROPY = Trend(np.array([0.0, 2.0]), np.array([2.0, 1.5]))


def account(step, kept, share):
    """A step whose gradient has two shares of opposite sign; clipping leaves ``kept`` of it."""
    gradient = share - 0.1
    splits = {"quadrant": {UP: Part(share, 3.0), DOWN: Part(-0.1, 1.0)}, "token": {"a": Part(gradient, 4.0)}}
    numbers = {"gradient": gradient, "clipping": (kept - 1) * gradient, "memory": 0.0, "decay": 0.0}
    moved = {"predicted": kept * gradient, "measured": kept * gradient, "tokens": gradient}
    return StepAccount(step, 2, 4, 4, 2.0, free=0.1, free_correlation=0.5, splits=splits, **numbers, **moved)


def test_shares_are_those_that_the_optimiser_got():
    accounts = [account(0, 0.25, 0.5), account(1, 1.0, 0.3)]
    assert [a.kept for a in accounts] == pytest.approx([0.25, 1.0])
    w = waterfall_of(accounts, ENTROPY)
    bars = {bar.name: bar.change for bar in w.bars}
    # Every account stands for two steps.
    assert bars[UP] == pytest.approx(2 * (0.25 * 0.5 + 0.3))
    assert bars[DOWN] == pytest.approx(2 * (-0.025 - 0.1))
    assert w.unclipped == pytest.approx({UP: 2 * 0.8, DOWN: -0.4})
    assert w.splits["token"]["a"] == pytest.approx(0.25 * 0.4 + 0.2)
    assert w.kept == pytest.approx(0.625)
    assert w.start + sum(bar.change for bar in w.bars) == pytest.approx(w.end)
    said = clipping_said(w)
    assert said.startswith("Clipping left 62% of the gradient in the median step.")
    assert f"{UP} +1.600, {DOWN} -0.400" in said


def test_a_gradient_of_nothing_was_not_clipped():
    assert replace(account(0, 1.0, 0.1), gradient=0.0, clipping=0.0).kept == 1.0


def test_a_step_that_broke_the_run_is_left_out():
    accounts = [account(0, 0.5, 0.5), account(1, 1.0, 0.3)]
    broken = [replace(accounts[0], **{name: math.nan}) for name in ("predicted", "measured", "gradient")]
    # As text: `free_correlation` is NaN, and from Python 3.13 on dataclasses that hold one are never equal.
    assert repr(waterfall_of([*accounts, *broken], ENTROPY)) == repr(waterfall_of(accounts, ENTROPY))
    assert waterfall_of(broken, ENTROPY) is None


@pytest.mark.parametrize(
    ("course", "ends"),
    [([2.0], (2.0, 2.0)), ([2.0, 1.5], (2.0, 1.5)), ([3.0, 2.0, 1.0, 1.5, 0.5], (2.5, 1.0)), ([3.0] * 30, (3.0, 3.0))],
)
def test_the_start_and_the_end_of_a_short_course_share_no_point(course, ends):
    w = waterfall_of([account(0, 1.0, 0.3)], Trend(np.arange(float(len(course))), np.array(course)))
    assert (w.start, w.end) == ends


def test_predictions_that_differ_by_rounding_alone_have_no_slope():
    one = account(0, 1.0, 0.3)
    rounded = replace(one, predicted=math.nextafter(one.predicted, 1.0), measured=one.measured + 0.1)
    assert math.isnan(waterfall_of([one, rounded], ENTROPY).slope)
    apart = replace(one, predicted=2 * one.predicted, measured=3 * one.measured)
    assert waterfall_of([one, apart], ENTROPY).slope == pytest.approx(2.0)
