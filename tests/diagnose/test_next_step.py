"""The parts of an optimiser's next step add up to the step that it takes."""

import pytest
import torch

from entrokit.account.next_step import next_moves, supports

OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.95)),
    "adam with decay": lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.3),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd with decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.2),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.7, nesterov=True, weight_decay=0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_parts_add_up_to_the_step(make, steps):
    a, b = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    idle = torch.randn(2, requires_grad=True)
    optimizer = make([a, b, idle])
    for _ in range(steps):
        before = [p.detach().clone() for p in (a, b)]
        for p in (a, b):
            p.grad = torch.randn_like(p)
        moves = list(next_moves(optimizer))
        direction = torch.randn_like(a)
        parts = moves[0].along(direction)
        optimizer.step()
        for move, p, old in zip(moves, (a, b), before, strict=True):
            assert move.parameter is p
            whole = -move.preconditioner * p.grad
            whole = whole + (0 if move.memory is None else move.memory) + (0 if move.decay is None else move.decay)
            torch.testing.assert_close(whole, p.detach() - old, rtol=1e-12, atol=1e-15)
        expected = (direction * (a.detach() - before[0])).sum()
        torch.testing.assert_close(sum(parts.values()).double(), expected, rtol=1e-5, atol=1e-6)


def test_looking_ahead_changes_nothing():
    p = torch.randn(3, requires_grad=True)
    optimizer = torch.optim.AdamW([p], lr=0.1)
    p.grad = torch.ones(3)
    list(next_moves(optimizer))
    assert not optimizer.state[p]
    assert p.grad.tolist() == [1.0, 1.0, 1.0]


def test_other_optimisers_are_refused_by_name():
    p = [torch.zeros(2, requires_grad=True)]
    assert not supports(torch.optim.RMSprop(p))
    assert not supports(torch.optim.Adam(p, amsgrad=True))
    with pytest.raises(TypeError, match=r"knows torch.optim.Adam, AdamW and SGD .* got RMSprop; with TRL choose"):
        next(next_moves(torch.optim.RMSprop(p)))
