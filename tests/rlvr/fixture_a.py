"""Fixture A of the sheets (entropy-mechanism, steer, forking-tokens), in float64."""

import torch

from entrokit.rlvr import PolicyStats, Rollouts

LOGP = [[-0.10, -2.30, -0.50, -1.20], [-0.05, -3.00, -0.70, -0.90]]
OLD = [[-0.20, -2.00, -0.50, -1.60], [-0.05, -2.40, -1.00, -0.90]]
ENTROPY = [[0.30, 1.80, 0.90, 1.10], [0.10, 2.20, 0.60, 1.00]]
MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


def logp():
    return tensor(LOGP).requires_grad_()


def old():
    return tensor(OLD)


def advantages():
    return tensor([[0.8] * 4, [-1.2] * 4])


def stats(log_prob):
    return PolicyStats(logp=log_prob, entropy=tensor(ENTROPY))


def rollouts():
    """The fixture's rows as a batch; its advantages are given, so rewards and groups are placeholders."""
    return Rollouts(
        tokens=torch.zeros(2, 4, dtype=torch.long),
        real=MASK,
        trained=MASK,
        group=torch.tensor([0, 1]),
        reward=torch.zeros(2, dtype=torch.float64),
        behaviour=PolicyStats(logp=old() * MASK, entropy=tensor(ENTROPY) * MASK),
    )


def loss_and_gradient(recipe, *, prepare=True, totals=None):
    """Loss of the fixture under a recipe, and its gradient in the current log-probabilities."""
    log_prob, batch, adv = logp(), rollouts(), advantages()
    prepared = recipe.prepare(batch, torch.where(MASK, adv, 0.0)) if prepare else {}
    result = recipe.loss(stats(log_prob), batch, adv, prepared, totals)
    (gradient,) = torch.autograd.grad(result.loss, log_prob)
    return result.loss.item(), gradient
