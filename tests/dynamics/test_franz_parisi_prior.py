"""Posteriors that become priors: the two kinds, their state, and β that grows."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, kl_divergence

from entrokit.dynamics.franz_parisi import (
    BinaryVariationalLinear,
    PosteriorPrior,
    beta_schedule,
)

from .binary_layer import THETA, layer


def test_the_schedules_of_the_released_runs():
    assert beta_schedule(0, 25) == pytest.approx(10 * math.tanh(0.1 + 2 / 25))
    assert beta_schedule(24, 25) == pytest.approx(10 * math.tanh(2.1))
    assert beta_schedule(9, 10, slope=1.0) == pytest.approx(10 * math.tanh(1.1))


def two_layers():
    return nn.Sequential(layer(), nn.ReLU(), layer(beta=1.0, theta=THETA.T.contiguous()))


def test_the_prior_of_the_previous_task():
    model = two_layers()
    prior = PosteriorPrior(model, gamma=0.5)
    assert float(prior.penalty().detach()) == 0.0
    prior.end_task()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    prior.after_step()  # leaves that reference alone
    expected = model[0].kl(before["0.theta"]) + model[2].kl(before["2.theta"])
    assert float(prior.penalty(0.25).detach()) == pytest.approx(0.125 * float(expected.detach()), abs=1e-12)
    prior.penalty().backward()
    exact = 0.5 * 1.5**2 * 0.1 * model[0].variance()
    torch.testing.assert_close(model[0].theta.grad, exact.detach(), atol=1e-12, rtol=0)


def test_the_released_prior_holds_back_the_last_step_and_remembers_no_task():
    model = two_layers()
    prior = PosteriorPrior(model, when="previous_step")
    assert float(prior.penalty().detach()) == 0.0
    for step in (0.3, -0.1):
        with torch.no_grad():
            model[0].theta.add_(step)
        prior.after_step()
    prior.penalty().backward()
    exact = 1.5**2 * model[0].variance() * -0.1
    torch.testing.assert_close(model[0].theta.grad, exact.detach(), atol=1e-12, rtol=0)
    own = float(prior.penalty().detach())
    prior.end_task()
    assert float(prior.penalty().detach()) == own


@pytest.mark.parametrize("when", ["previous_task", "previous_step"])
def test_a_prior_goes_on_from_its_state(when):
    model = two_layers()
    prior = PosteriorPrior(model, when=when)
    for turn in range(2):
        with torch.no_grad():
            model[0].theta.add_(0.1)
        prior.after_step()
        if turn == 0:
            prior.end_task()
    state = prior.state_dict()
    other = PosteriorPrior(model, when=when)
    other.load_state_dict(state)
    assert float(other.penalty().detach()) == float(prior.penalty().detach()) > 0
    with torch.no_grad():
        model[0].theta.add_(0.2)
    for p in (prior, other):
        p.after_step()
    assert float(other.penalty().detach()) == float(prior.penalty().detach())
    with pytest.raises(ValueError, match="the state is of layers"):
        PosteriorPrior(nn.Sequential(BinaryVariationalLinear(2, 2)), when).load_state_dict(state)


def test_a_prior_keeps_the_law_when_beta_grows():
    model = nn.ModuleList([layer(beta=1.0)])
    prior = PosteriorPrior(model)
    prior.end_task()
    model[0].beta = 2.0
    kl = kl_divergence(Bernoulli(logits=4 * THETA), Bernoulli(logits=2 * THETA)).sum()
    assert float(prior.penalty().detach()) == pytest.approx(float(kl), abs=1e-12)
    released = PosteriorPrior(model, when="previous_step")
    released.after_step()
    model[0].beta = 3.0
    assert float(released.penalty().detach()) == pytest.approx(0.0, abs=1e-12)


def test_a_layer_that_is_used_twice_counts_once():
    made = layer()
    prior = PosteriorPrior(nn.ModuleList([made, made]))
    prior.end_task()
    with torch.no_grad():
        made.theta.add_(0.1)
    assert float(prior.penalty().detach()) == pytest.approx(float(made.kl(THETA).detach()), abs=1e-12)


def test_a_state_of_another_kind_of_prior_is_refused():
    """One is of fields, the other of β times them."""
    model = two_layers()
    prior, other = (PosteriorPrior(model, when=when) for when in ("previous_task", "previous_step"))
    prior.end_task()
    with pytest.raises(ValueError, match="the state is of when='previous_task', and this prior of 'previous_step'"):
        other.load_state_dict(prior.state_dict())
    assert float(other.penalty().detach()) == 0.0


def test_a_state_brings_the_fields_before_the_next_step():
    model = two_layers()
    prior, other = (PosteriorPrior(model, when="previous_step") for _ in range(2))
    state = prior.state_dict()
    with torch.no_grad():
        model[0].theta.add_(0.1)
    other.load_state_dict(PosteriorPrior(model, when="previous_step").state_dict())
    other.load_state_dict(state)
    for p in (prior, other):
        p.after_step()
    assert float(other.penalty().detach()) == float(prior.penalty().detach()) > 0
    turned = nn.Sequential(layer(theta=THETA.T.contiguous()), nn.ReLU(), layer())
    with pytest.raises(ValueError, match="the state is of layers"):
        PosteriorPrior(turned, when="previous_step").load_state_dict(state)
