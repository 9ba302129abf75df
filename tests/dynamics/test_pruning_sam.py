"""A step of sharpness-aware minimisation."""

import math

import pytest
import torch

from entrokit.dynamics.pruning import (
    sam_step,
)


def bowl(start):
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    at = []

    def closure():
        optimizer.zero_grad()
        at.append(w.detach().clone())
        loss = (w[0] ** 2 + 4 * w[1] ** 2) / 2
        loss.backward()
        return loss

    return w, optimizer, closure, at


def test_check_3_a_step_of_sam():
    w, optimizer, closure, at = bowl([1.0, 2.0])
    assert float(sam_step(optimizer, closure, rho=0.1).detach()) == 8.5
    torch.testing.assert_close(at[1] - at[0], torch.tensor([0.012403, 0.099228]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(w.grad, torch.tensor([1.012403, 8.396911]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(w.detach(), torch.tensor([0.898760, 1.160309]).double(), atol=1e-6, rtol=0)


def test_without_a_radius_or_a_gradient_it_is_the_plain_step():
    w, optimizer, closure, _ = bowl([1.0, 2.0])
    sam_step(optimizer, closure, rho=0.0)
    torch.testing.assert_close(w.detach(), torch.tensor([0.9, 1.2], dtype=torch.float64), rtol=1e-12, atol=0)
    w, optimizer, closure, at = bowl([0.0, 0.0])
    sam_step(optimizer, closure, rho=0.1)
    assert torch.equal(w.detach(), torch.zeros(2).double())
    assert torch.equal(at[0], at[1])


def test_the_norm_is_over_all_groups_and_parameters_without_gradient_are_left():
    a, b, idle = (torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(3))
    optimizer = torch.optim.SGD([{"params": [a]}, {"params": [b, idle]}], lr=0.1)
    seen = []

    def closure():
        optimizer.zero_grad()
        seen.append((a.item(), b.item()))
        loss = 3 * a.sum() + 4 * b.sum()
        loss.backward()
        return loss

    sam_step(optimizer, closure, rho=0.5)
    assert seen[1] == pytest.approx((1.3, 1.4), abs=1e-9)
    assert (a.item(), b.item(), idle.item()) == pytest.approx((0.7, 0.6, 1.0), abs=1e-9)


@pytest.mark.parametrize("at", [1, 2])
def test_a_gradient_that_is_not_finite_moves_nothing(at):
    w, optimizer, closure, seen = bowl([1.0, 2.0])

    def poisoned():
        loss = closure()
        if len(seen) == at:
            w.grad[0] = math.nan
        return loss

    with pytest.raises(ValueError, match="no step was taken"):
        sam_step(optimizer, poisoned, rho=0.1)
    assert w.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("rho", [-0.1, math.nan, math.inf])
def test_a_radius_that_is_none_is_refused(rho):
    w, optimizer, closure, seen = bowl([1.0, 2.0])
    with pytest.raises(ValueError, match="rho"):
        sam_step(optimizer, closure, rho=rho)
    assert not seen
    assert w.tolist() == [1.0, 2.0]


def test_a_gradient_that_comes_with_the_second_call_is_looked_at_too():
    a, late = (torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.SGD([a, late], lr=0.1)
    calls = []

    def closure():
        optimizer.zero_grad()
        calls.append(1)
        loss = a.sum() if len(calls) == 1 else a.sum() + math.nan * late.sum()
        loss.backward()
        return loss

    with pytest.raises(ValueError, match="no step was taken"):
        sam_step(optimizer, closure, rho=0.1)
    assert (a.item(), late.item()) == (1.0, 1.0)
