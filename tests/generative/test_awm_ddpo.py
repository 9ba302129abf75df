"""DDPO's steps, and what matching them learns from: the sheet's identities (awm)."""

import math

import pytest
import torch

from entrokit.generative.awm import (
    ddpo_step,
    ddpo_step_logp,
    ddpo_target_score,
    sample_ode,
    sample_sde,
    score_of_velocity,
    target_variance,
)

F64 = torch.float64
X, V, NEXT = (torch.tensor([row], dtype=F64) for row in ([0.3, -1.0], [0.5, 0.2], [0.1, -0.7]))
T = torch.tensor([0.6], dtype=F64)


def test_the_sheets_step():
    """Check 1."""
    mean, std = ddpo_step(V, X, T, 0.05)
    assert mean.flatten().tolist() == pytest.approx([0.2125, -0.895], abs=1e-12)
    assert float(std) ** 2 == pytest.approx(0.15, abs=1e-12)
    score, target = score_of_velocity(V, X, T), ddpo_target_score(X, NEXT, T, 0.05)
    assert score.flatten().tolist() == pytest.approx([-0.833333, 1.533333], abs=5e-7)
    assert target.flatten().tolist() == pytest.approx([-1.583333, 2.833333], abs=5e-7)
    quadratic = float((NEXT - mean).square().sum() / (2 * 0.15))
    assert quadratic == pytest.approx(0.168938, abs=5e-7)
    assert quadratic == pytest.approx(0.15 / 2 * float((score - target).square().sum()), rel=1e-12)
    assert float(ddpo_step_logp(V, X, NEXT, T, 0.05)) == pytest.approx(-0.109695, abs=5e-7)


def test_a_step_s_density_is_torch_s_and_differentiable():
    g = torch.Generator().manual_seed(0)
    v, x, y = (torch.randn(4, 3, 2, dtype=F64, generator=g) for _ in range(3))
    t = torch.tensor([0.2, 0.5, 0.8, 1.0], dtype=F64)
    mean, std = ddpo_step(v, x, t, 0.1, 0.7)
    theirs = torch.distributions.Normal(mean, std[:, None, None]).log_prob(y).flatten(1).sum(1)
    torch.testing.assert_close(ddpo_step_logp(v, x, y, t, 0.1, 0.7), theirs, rtol=1e-12, atol=1e-12)
    v.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: ddpo_step_logp(v, x, y, t, 0.1, 0.7), v)


@pytest.mark.parametrize("t", [0.95, 0.99, 1.0])
def test_a_step_s_variance_is_held_down_from_099_on(t):
    x = torch.ones(1, 2, dtype=F64)
    mean, std = ddpo_step(0 * x, x, torch.tensor([t], dtype=F64), 0.1, 0.7)
    # Without a velocity the score is -x / t, and the drift half the rate of it.
    torch.testing.assert_close(mean, x - 0.49 / (1 - min(t, 0.99)) / 2 * 0.1, rtol=1e-12, atol=1e-12)
    assert float(std) ** 2 == pytest.approx(0.49 * t / (1 - min(t, 0.99)) * 0.1, rel=1e-12)


def test_a_density_of_singles_is_summed_in_double():
    g = torch.Generator().manual_seed(0)
    v, x, y = (torch.randn(2, 500, generator=g) for _ in range(3))
    t = torch.tensor([0.2, 0.9])
    mean, std = (part.double() for part in ddpo_step(v, x, t, 0.1, 0.7))
    theirs = torch.distributions.Normal(mean, std[:, None]).log_prob(y.double()).sum(1)
    torch.testing.assert_close(ddpo_step_logp(v, x, y, t, 0.1, 0.7), theirs, rtol=1e-12, atol=0)


def test_without_noise_a_step_is_eulers():
    mean, std = ddpo_step(V, X, T, 0.05, 0.0)
    torch.testing.assert_close(mean, X - 0.05 * V, rtol=0, atol=1e-16)
    assert float(std) == 0
    with pytest.raises(ValueError, match="no density"):
        ddpo_step_logp(V, X, NEXT, T, 0.05, 0.0)


@pytest.mark.parametrize(("s", "expected"), [(0, 2.0), (0.2, 2.266667), (0.4, 5.2), (0.45, 10.1), (0.49, 50.02)])
def test_the_sheets_variances(s, expected):
    """Check 2."""
    assert target_variance(s, 0.5) == pytest.approx(expected, rel=2e-3 if s == 0.45 else 2e-4)


@pytest.mark.parametrize("s", [0.0, 0.4])
def test_targets_of_every_neighbour_have_the_score_for_a_mean_and_their_own_variance(s):
    """Checks 2 and 3: for N(0, 1) data the score at t = 0.5 is -2 x."""
    g, count, t = torch.Generator().manual_seed(1), 400_000, 0.5
    x_s = math.sqrt((1 - s) ** 2 + s**2) * torch.randn(count, dtype=F64, generator=g)
    shrunk = (1 - t) / (1 - s)
    added = t**2 - s**2 * shrunk**2
    x_t = shrunk * x_s + math.sqrt(added) * torch.randn(count, dtype=F64, generator=g)
    target = -(x_t - shrunk * x_s) / added
    slope = float((target * x_t).sum() / x_t.square().sum())
    variance = target_variance(s, t)
    assert slope == pytest.approx(-2, abs=5 * math.sqrt(variance / (0.5 * count)))
    # The square of a normal residual has twice its squared variance.
    assert float((target + 2 * x_t).square().mean()) == pytest.approx(variance, rel=5 * math.sqrt(2 / count))


def test_both_samplers_reach_the_law_of_an_exact_velocity():
    """Data N(2, 0.5²): v = E[noise - x0 | x_t] in closed form."""

    def velocity(x, t):
        at = t[:, None]
        mean, variance = 2 * (1 - at), (1 - at) ** 2 * 0.25 + at**2
        return -2 + (at - (1 - at) * 0.25) / variance * (x - mean)

    g, count, steps = torch.Generator().manual_seed(0), 5_000, 100
    noise = torch.randn(count, 1, dtype=F64, generator=g)
    trajectory = sample_sde(velocity, noise, steps, 0.7, g)
    assert trajectory.states.shape == (steps + 1, count, 1)
    assert torch.equal(trajectory.states[0], noise)
    assert trajectory.times[[0, -1]].tolist() == pytest.approx([1.0, 1 / steps])
    for x in (sample_ode(velocity, noise, steps), trajectory.samples):
        # Five standard errors, and Euler's error of the order of a step.
        assert float(x.mean()) == pytest.approx(2, abs=5 * 0.5 / math.sqrt(count) + 1 / steps)
        assert float(x.std()) == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(2 * count) + 1 / steps)


def test_a_velocity_that_breaks_is_named_with_its_time():
    def breaks(x, t):
        return torch.where((t[:, None] < 0.6) & (x > 0), math.nan, 0 * x)

    noise = torch.tensor([[1.0], [-1.0], [2.0]])
    with pytest.raises(ValueError, match=r"velocity at t = 0\.5 is NaN or infinite in 2 of 3 samples, first in 0"):
        sample_ode(breaks, noise, 4)
    with pytest.raises(ValueError, match="noise_level"):
        sample_sde(breaks, noise, 4, 0.0)
    with pytest.raises(ValueError, match="steps"):
        sample_ode(breaks, noise, 0)


def test_what_does_not_belong_together_is_named():
    with pytest.raises(ValueError, match="velocity has shape"):
        ddpo_step(V[:, :1], X, T, 0.05)
    with pytest.raises(ValueError, match="x_next has shape"):
        ddpo_step_logp(V, X, NEXT[:, :1], T, 0.05)
    with pytest.raises(ValueError, match="time of 0 is data"):
        ddpo_step(V, X, 0 * T, 0.05)
    with pytest.raises(ValueError, match="dt is the length of a step"):
        ddpo_step(V, X, T, 0.0)
    with pytest.raises(ValueError, match="floating"):
        ddpo_step(V.long(), X.long(), T, 0.05)
    with pytest.raises(ValueError, match="0 <= s < t < 1"):
        target_variance(0.5, 0.5)
