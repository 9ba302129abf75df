"""The Fokker-Planck residual: where it is refused, and by what words."""

import math

import pytest
import torch
from torch import nn

from entrokit.generative.energy import (
    fp_residual,
    fp_residual_shared,
    fp_residual_weak,
    residual_along,
    score_and_residuals,
)
from entrokit.generative.energy.residual import BACKWARD, FORWARD

from .energy_cases import FORMS, VP, T, Wrong, X, small


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("t", [-0.1, 1.2, math.nan])
def test_a_time_outside_the_schedule_is_named(form, t):
    with pytest.raises(ValueError, match=r"times lie in \[0, 1\].*" + str(t)):
        FORMS[form](Wrong(), X.expand(2, -1), torch.tensor([0.5, t], dtype=torch.float64), None)


@pytest.mark.parametrize(("t", "side"), [(5e-4, "0.0005"), (0.9998, "0.9998")])
def test_times_too_near_for_differences_are_named(t, side):
    times = torch.tensor([0.5, t], dtype=torch.float64)
    for form in ("exact, fd", "weak"):
        with pytest.raises(ValueError, match=rf"t = {side} \(row 1\).*dt='autograd'"):
            FORMS[form](Wrong(), X.expand(2, -1), times, None)
    FORMS["weak, autograd"](Wrong(), X.expand(2, -1), times, None)


def test_differences_end_where_the_range_does():
    for t in (BACKWARD, 1 - FORWARD):
        assert FORMS["weak"](Wrong(), X, torch.tensor([t], dtype=torch.float64), None)[0].isfinite().all()


def test_a_time_outside_a_models_range_has_no_derivative():
    with pytest.raises(ValueError, match=r"smooth from 0 to 0\.1"):
        fp_residual(small(time_range=(0.0, 0.1)), X, T, VP)
    with pytest.raises(ValueError, match=r"smooth from 0 to 0\.1"):
        fp_residual_shared(small(time_range=(0.0, 0.1)), X, T, VP)


class Cornered:
    """NaN where both coordinates are above 1."""

    def log_q(self, x, t):
        wall = torch.where((x > 1).all(1), math.nan, 0.0)
        return -x.square().sum(1) + wall


class Kinked:
    """Finite everywhere; of a score that is NaN at 0."""

    def log_q(self, x, t):
        return -x.square().sum(1).sqrt()


@pytest.mark.parametrize("form", list(FORMS))
def test_what_is_not_finite_in_a_corner_is_named(form):
    x = torch.tensor([[0.0, 0.3], [2.0, 1.5]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"log_q is not finite at .* x = \[(2|1\.99|2\.00)"):
        FORMS[form](Cornered(), x, T.expand(2), torch.Generator().manual_seed(0))


def test_a_score_that_is_nan_is_named():
    x = torch.tensor([[0.1, 0.3], [0.0, 0.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"the score is not finite at 1 of 2 points; the first is row 1, x = \[0, 0\]"):
        fp_residual(Kinked(), x, T.expand(2), VP)


@pytest.mark.parametrize("form", list(FORMS))
def test_models_without_energy_and_points_of_another_shape_are_refused(form):
    class ScoreNetwork(nn.Module):
        def forward(self, x, t):
            return -x

    with pytest.raises(TypeError, match=r"ScoreNetwork has no energy.*EnergyScore"):
        FORMS[form](ScoreNetwork(), X, T, None)
    with pytest.raises(ValueError, match=r"points \[B, \*\].*\[2\]"):
        FORMS[form](Wrong(), X[0], T, None)
    with pytest.raises(ValueError, match=r"points \[B, 2\].*\[\d, 3\]"):
        FORMS[form](small(), torch.zeros(1, 3, dtype=torch.float64), T, None)
    with pytest.raises(ValueError, match=r"a time a point, \[1\]"):
        FORMS[form](small(), X, T.expand(2), None)
    with pytest.raises(ValueError, match="float"):
        FORMS[form](small(), X.long(), T, None)


def test_knobs_out_of_range_are_named():
    for form in (fp_residual_weak, fp_residual_shared):
        for sigma in (0.0, -1e-4, math.nan):
            with pytest.raises(ValueError, match="sigma must be above 0"):
                form(Wrong(), X, T, VP, sigma=sigma)
    for div in (0, True, "all"):
        with pytest.raises(ValueError, match="div is 'exact' or a number"):
            fp_residual(Wrong(), X, T, VP, div=div)
    with pytest.raises(ValueError, match="dt is 'autograd' or 'fd'"):
        fp_residual(Wrong(), X, T, VP, dt="jvp")
    with pytest.raises(ValueError, match=r"steps \[K, 1, 2\]"):
        residual_along(Wrong(), X, T, VP, torch.zeros(1, 2, dtype=torch.float64), sigma=1.0)
    for rows in (0, 2):
        with pytest.raises(ValueError, match="rows are 1 to 1"):
            score_and_residuals(Wrong(), X, T, VP, rows=rows)


def test_half_precision_is_refused():
    for form in (fp_residual, fp_residual_weak, fp_residual_shared):
        with pytest.raises(ValueError, match="bfloat16"):
            form(small().bfloat16(), X.bfloat16(), T.bfloat16(), VP)
        with (
            torch.autocast("cpu", torch.bfloat16),
            pytest.raises(ValueError, match=r"bfloat16.*float32.*autocast"),
        ):
            form(small().float(), X.float(), T.float(), VP)


def test_what_is_no_noising_is_named():
    for form in (fp_residual, fp_residual_weak, fp_residual_shared):
        with pytest.raises(TypeError, match="sde must be a noising process.*it is a float"):
            form(small(), X, T, 0.5)
    with pytest.raises(TypeError, match=r"steps must be a torch\.Tensor"):
        residual_along(small(), X, T, VP, None, sigma=1.0)


@pytest.mark.parametrize("form", list(FORMS))
def test_a_residual_that_overflows_is_named(form):
    """Scores of 1e25 are finite in float32, and their squares are not."""

    class Steep:
        def log_q(self, x, t):
            return 1e25 * x.sum(1)

    with pytest.raises(ValueError, match="the residual is not finite at"):
        FORMS[form](Steep(), X.float(), T.float(), torch.Generator().manual_seed(0))
