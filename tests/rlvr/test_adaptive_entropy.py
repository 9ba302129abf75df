"""The adaptive entropy bonus: its controller by hand, and where it acts."""

import io

import pytest
import torch

from entrokit.rlvr import Context, recipe
from entrokit.rlvr.interventions.adaptive_entropy import AdaptiveEntropy, adapted_coefficient

BOUNDS = {"target": 0.5, "delta": 0.1, "low": 0.0, "high": 0.25}


def test_the_coefficient_rises_at_or_below_the_target_falls_above_and_stays_within_bounds():
    seen = [1.0, 0.5, 0.4, 0.3, 0.2, 0.6, 0.7, 0.8, 0.9]
    coefficient, course = 0.05, []
    for entropy in seen:
        coefficient = adapted_coefficient(coefficient, entropy, **BOUNDS)
        course.append(coefficient)
    assert course == pytest.approx([0.0, 0.1, 0.2, 0.25, 0.25, 0.15, 0.05, 0.0, 0.0])


def test_it_acts_only_after_a_step_whose_entropy_was_low():
    bonus = AdaptiveEntropy(coef=0.3, target=0.5, coef_delta=0.1)
    assert bonus.applied == 0.0, "nothing has been seen"
    bonus.observe({"entropy": 0.5}, Context())
    assert bonus.applied == pytest.approx(0.4)
    bonus.observe({"entropy": 0.6}, Context())
    assert (bonus.applied, bonus.coefficient) == (0.0, pytest.approx(0.3))
    again = AdaptiveEntropy(coef=0.3, target=0.5, coef_delta=0.1)
    again.load_state_dict(bonus.state_dict())
    assert again == bonus


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"coef_min": 0.5, "coef_max": 0.4}, "coef_max must be"),
        ({"coef": 0.1, "coef_min": 0.2}, "coef must be"),
        ({"coef_delta": 0.0}, "coef_delta must be"),
        ({"target": -1.0}, "target must be"),
    ],
)
def test_bounds_that_hold_nothing_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveEntropy(**knobs)


def test_nothing_seen_survives_as_it_is():
    fresh = recipe("grpo+adaptive-entropy")
    assert fresh.state_dict()["adaptive-entropy"]["seen"] is None
    torch.save(fresh.state_dict(), buffer := io.BytesIO())
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert fresh.interventions[0].applied == 0.0
