"""Numbers, small networks, and directions of their parameters."""

import torch
from torch import nn


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def values_of(model):
    return {name: p.detach() for name, p in model.named_parameters()}


def direction_of(model, seed=1):
    return {n: normal(*p.shape, seed=seed + i).to(p.dtype) for i, (n, p) in enumerate(model.named_parameters())}


def network(seed=0, activation=None, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), activation or nn.Tanh(), nn.Linear(8, 3)).to(dtype)
