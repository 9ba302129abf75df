"""`RadiusClip` on what is NaN or infinite: refused where steps are clipped, told where they are measured alone."""

import copy
import math

import pytest
import torch

from entrokit.optim.radius import RadiusClip

from .radius_network import X, adamw, backward, network, values


def test_a_broken_gradient_changes_nothing():
    model = network()
    optimizer = RadiusClip(adamw(model, 0.1), model)
    backward(model)
    model[0].weight.grad[0, 0] = math.nan
    before = values(model)
    with pytest.raises(FloatingPointError, match="a gradient is NaN or infinite; nothing was changed"):
        optimizer.step()
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert not optimizer.state


@pytest.mark.parametrize("how", ["update", "logits"])
def test_a_broken_step_is_taken_back(how):
    model = network()
    optimizer = RadiusClip(
        torch.optim.SGD(model.parameters(), lr=0.1), model, samples=X * (math.inf if how == "logits" else 1)
    )

    def closure():
        optimizer.zero_grad()
        loss = backward(model)
        if how == "update":
            model[2].bias.grad[0] = math.inf
        return loss

    before = values(model)
    with pytest.raises((FloatingPointError, ValueError), match=r"2.bias is NaN or infinite|slopes are NaN"):
        optimizer.step(closure)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


class Stumbles(torch.optim.SGD):
    """Moves, and fails then."""

    def step(self, closure=None):
        super().step()
        raise RuntimeError("no more memory")


@pytest.mark.parametrize("target", [1.0, math.inf])
def test_an_inner_optimizer_that_fails_in_the_middle_moves_nothing(target):
    model = network()
    optimizer = RadiusClip(Stumbles(model.parameters(), lr=0.1), model, target)
    backward(model)
    before = values(model)
    with pytest.raises(RuntimeError, match="no more memory"):
        optimizer.step()
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert optimizer.last is None
    assert optimizer.state_dict()["radius"] == {"steps": 0}


def test_a_state_that_does_not_fit_is_not_loaded_at_all():
    model = network()
    optimizer = RadiusClip(adamw(model, 0.1), model)
    backward(model)
    optimizer.step()
    other = torch.optim.AdamW([torch.zeros(2, requires_grad=True)], lr=5.0).state_dict() | {"radius": {"steps": 9}}
    with pytest.raises(ValueError, match="parameter group"):
        optimizer.load_state_dict(other)
    assert optimizer.state_dict()["radius"] == {"steps": 1}
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("how", ["gradient", "update", "slopes"])
def test_measuring_refuses_nothing(how):
    plain, model = network(), network()
    samples = X * math.inf if how == "slopes" else X
    free, optimizer = (torch.optim.SGD(m.parameters(), lr=1.0, momentum=0.9) for m in (plain, model))
    optimizer = RadiusClip(optimizer, model, math.inf, samples=samples)
    for own, step in ((plain, free), (model, optimizer)):
        backward(own)
        if how == "gradient":
            own[0].weight.grad[0, 0] = math.nan
        if how == "update":
            step.param_groups[0]["lr"] = math.inf
        step.step()
    for a, b in zip(plain.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert optimizer.last.r == math.inf
    assert optimizer.last.scale == 1.0
    assert math.isnan(optimizer.last.beyond)
    assert math.isfinite(optimizer.last.norm) == (how == "slopes")
    assert optimizer.state_dict()["radius"] == {"steps": 1}


@pytest.mark.parametrize("target", [1.0, math.inf])
def test_a_rank_whose_slopes_are_broken_tells_the_others(monkeypatch, target):
    """Else they would wait for it."""
    model, told = network(), []
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=1e-3), model, target, samples=X * math.inf)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x, op: told.append(float(x)))
    backward(model)
    if target == 1.0:
        with pytest.raises(FloatingPointError, match="slopes are NaN or infinite"):
            optimizer.step()
    else:
        optimizer.step()
        assert optimizer.last.r == math.inf
    assert told == [math.inf]


@pytest.mark.parametrize("how", ["gradient", "update", "slopes"])
def test_what_a_refused_step_leaves_of_the_inner_state(how):
    """A gradient is looked at before the inner optimiser steps, the rest after."""
    model, samples = network(), X.clone()
    optimizer = RadiusClip(adamw(model, 0.1), model, samples=samples)
    backward(model)
    optimizer.step()
    state, before = copy.deepcopy(optimizer.state_dict()), values(model)
    if how == "gradient":
        model[0].weight.grad[0, 0] = math.inf
    elif how == "update":
        optimizer.param_groups[0]["lr"] = math.inf
    else:
        samples[0] = math.nan
    with pytest.raises(FloatingPointError):
        optimizer.step()
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    now = optimizer.state_dict()
    assert now["radius"] == state["radius"]
    assert [s["step"].item() for s in now["state"].values()] == [1.0 if how == "gradient" else 2.0] * 4
