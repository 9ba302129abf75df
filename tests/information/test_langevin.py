"""Langevin samples have the variance that theory gives them, and an ensemble averages probabilities."""

import pytest
import torch
from torch import nn

from entrokit.information.mixture import LangevinSampler, PosteriorEnsemble


def test_check_7_the_stationary_variance_of_a_gaussian():
    n, h = 20, 0.01
    # Many chains side by side instead of one long one.
    theta = nn.Parameter(torch.zeros(4000, dtype=torch.float64))
    sampler = LangevinSampler([theta], lr=h, generator=torch.Generator().manual_seed(0))
    squares = []
    for step in range(200):
        sampler.zero_grad()
        (0.5 * (n + 1) * theta.square().sum()).backward()
        sampler.step()
        if step >= 100:
            squares.append(float(theta.detach().square().mean()))
    exact = 1 / ((n + 1) * (1 - h * (n + 1) / 4))
    assert exact == pytest.approx(0.050258, abs=1e-6)
    assert sum(squares) / len(squares) == pytest.approx(exact, rel=0.02)


def test_steps_are_repeatable_schedules_apply_and_closures_are_called():
    ends = []
    for _ in range(2):
        theta = nn.Parameter(torch.ones(3))
        sampler = LangevinSampler([theta], lr=0.1, generator=torch.Generator().manual_seed(4))
        schedule = torch.optim.lr_scheduler.LambdaLR(sampler, lambda t: (1 + t) ** -0.55)

        def closure(theta=theta, sampler=sampler):
            sampler.zero_grad()
            loss = theta.square().sum()
            loss.backward()
            return loss

        assert float(sampler.step(closure)) == 3.0
        schedule.step()
        assert sampler.param_groups[0]["lr"] == pytest.approx(0.1 * 2**-0.55)
        ends.append(theta.detach().clone())
    assert torch.equal(*ends)
    with pytest.raises(ValueError, match="lr must be above 0"):
        LangevinSampler([nn.Parameter(torch.zeros(1))], lr=0.0)


def test_an_ensemble_averages_probabilities_and_forgets_the_oldest():
    ensemble, models = PosteriorEnsemble(most=2), [nn.Linear(3, 4) for _ in range(3)]
    with pytest.raises(ValueError, match="add a model first"):
        ensemble(torch.zeros(1, 3))
    for model in models:
        ensemble.add(model)
    x = torch.randn(5, 3)
    with torch.no_grad():
        expected = torch.stack([m(x).softmax(-1) for m in models[1:]]).mean(0)
    torch.testing.assert_close(ensemble(x).exp(), expected)
    assert not any(p.requires_grad for p in ensemble.parameters())
    with torch.no_grad():
        models[2].weight.zero_()
    torch.testing.assert_close(ensemble(x).exp(), expected)
    with pytest.raises(ValueError, match="most must be"):
        PosteriorEnsemble(0)


def test_extreme_logits_stay_finite():
    class Fixed(nn.Module):
        def __init__(self, logits):
            super().__init__()
            self.logits = logits

        def forward(self, x):
            return self.logits

    ensemble = PosteriorEnsemble()
    for logits in ([1e4, 0.0], [0.0, 1e4]):
        ensemble.add(Fixed(torch.tensor([logits])))
    assert ensemble(None).exp().tolist() == [[0.5, 0.5]]
