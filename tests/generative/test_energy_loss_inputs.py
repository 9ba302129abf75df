"""Losses: what they cannot take, by name."""

import math
from types import SimpleNamespace

import pytest
import torch

from entrokit.generative.energy import FokkerPlanckRegularizer, denoising_loss, equal_weight, training_loss
from entrokit.generative.noising import VariancePreserving

from .energy_cases import VP, Wrong, drawn, small


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": math.nan}, "alpha"),
        ({"alpha": math.inf}, "alpha"),
        ({"share": 0.0}, "share"),
        ({"share": 1.1}, "share"),
        ({"form": "strong"}, "form"),
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": math.inf}, "sigma"),
    ],
)
def test_penalties_that_are_none_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        FokkerPlanckRegularizer(**knobs)


def test_losses_name_what_they_cannot_take():
    x0, t = drawn(3, 2, seed=16)
    with pytest.raises(ValueError, match=r"points shape, \[3, 2\]|its points' shape"):
        denoising_loss(lambda x, t: x[:, :1], x0, t, VP)
    with pytest.raises(ValueError, match=r"the score is not finite at 3 of 3"):
        denoising_loss(lambda x, t: x * math.nan, x0, t, VP)
    with pytest.raises(TypeError, match="neither has one"):
        denoising_loss(3, x0, t, VP)
    with pytest.raises(ValueError, match=r"there is one of 1\.5"):
        training_loss(small(), x0, 1.5, VP)
    with pytest.raises(TypeError, match="no energy"):
        training_loss(lambda x, t: -x, x0, t, VP, FokkerPlanckRegularizer(1.0))
    for none in (torch.zeros(0, 2), torch.zeros(0, 3, 2)):
        with pytest.raises(ValueError, match="empty batch"):
            denoising_loss(lambda x, t: -x, none, 0.5, VP)
        with pytest.raises(ValueError, match="empty batch"):
            FokkerPlanckRegularizer(1.0)(Wrong(), none, 0.5, VP)
    with pytest.raises(ValueError, match="midpoint"):
        equal_weight(t, 0.1, (0.1, 0.6))
    with pytest.raises(ValueError, match=r"times lie in \[0\.1, 0\.6\]; there is one of 0\.7"):
        equal_weight(torch.tensor([0.3, 0.7], dtype=torch.float64), 0.3, (0.1, 0.6))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (lambda t: t[:, None], r"a weight a time is expected, \[8\]; the weight's shape is \[8, 1\]"),
        (lambda t: t - 2, "finite and at least 0; that of t = "),
        (lambda t: t * math.nan, "is nan"),
        (lambda t: t + math.inf, "is inf"),
    ],
)
def test_weights_that_are_none_are_named(weight, message):
    model, (x0, t) = small(), drawn(8, 2, seed=3)
    with pytest.raises(ValueError, match=message):
        denoising_loss(model, x0, t, VP, weight=weight)
    for form in ("shared", "weak"):
        with pytest.raises(ValueError, match=message):
            training_loss(model, x0, t, VP, FokkerPlanckRegularizer(1e-3, weight, form=form))


@pytest.mark.parametrize("loss", [denoising_loss, training_loss])
def test_arguments_of_another_kind_are_named(loss):
    model, (x0, t) = small(), drawn(8, 2, seed=3)
    for wrong in (x0.numpy(), None, (x0,)):
        with pytest.raises(TypeError, match=r"x0 must be a torch\.Tensor"):
            loss(model, wrong, t, VP)
    with pytest.raises(TypeError, match="times are a tensor"):
        loss(model, x0, None, VP)
    for sde, words in (
        (
            SimpleNamespace(timesteps=[], alphas_cumprod=[]),
            r"a SimpleNamespace: feynman_kac.scheduler_noising\(scheduler\) makes one",
        ),
        (VariancePreserving, "the class VariancePreserving itself"),
        (None, "a NoneType"),
    ):
        with pytest.raises(TypeError, match=f"sde must be a noising process.*it is {words}"):
            loss(model, x0, t, sde)
    for weight in (torch.ones(8), 0.5):
        with pytest.raises(TypeError, match=r"weight is a function of times \[B\].*it is a (Tensor|float)"):
            loss(model, x0, t, VP, weight=weight)
    with pytest.raises(TypeError, match=r"weight must be a torch\.Tensor"):
        loss(model, x0, t, VP, weight=lambda t: 0.5)
    for output in ((x0,), SimpleNamespace(sample=x0), x0.numpy(), None):
        with pytest.raises(TypeError, match=r"a score is a tensor; the model gave a .*-sigma\(t\) times the score"):
            loss(lambda x, t, out=output: out, x0, t, VP)


def test_a_penalty_that_is_a_number_is_named():
    x0, t = drawn(8, 2, seed=3)
    with pytest.raises(TypeError, match=r"regularizer is a FokkerPlanckRegularizer\(alpha\), or None; it is a float"):
        training_loss(small(), x0, t, VP, 5e-4)
    for name in ("alpha", "sigma"):
        with pytest.raises(TypeError, match=f"{name} is a number; it is 'a'"):
            FokkerPlanckRegularizer(**{name: "a"})
    with pytest.raises(TypeError, match="time_weight is a function of times"):
        FokkerPlanckRegularizer(5e-4, 0.3)
    with pytest.raises(TypeError, match=r"t must be a torch\.Tensor"):
        equal_weight(0.3)


@pytest.mark.parametrize("form", ["weak", "shared"])
def test_a_penalty_names_what_is_no_noising(form):
    with pytest.raises(TypeError, match="sde must be a noising process"):
        FokkerPlanckRegularizer(form=form)(small(), *drawn(3, 2, seed=3), None)


def test_data_that_are_not_finite_are_named():
    """A model that ignores them would train on nothing."""
    x0, t = drawn(3, 2, seed=3)
    x0[1, 0] = math.nan
    with pytest.raises(ValueError, match="x0 is NaN or infinite in 1 of 3 samples, first in 1"):
        denoising_loss(lambda x, t: torch.zeros_like(x), x0, t, VP)
