"""A small network, and what a step did to it."""

import torch
from torch import nn

X = torch.linspace(-1, 1, 24, dtype=torch.float64).view(6, 4)
Y = torch.arange(6) % 3


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype)


def backward(model, x=X):
    loss = nn.functional.cross_entropy(model(x.to(next(model.parameters()).dtype)), Y[: len(x)])
    loss.backward()
    return loss


def values(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def moved(model, before):
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}


def adamw(model, lr):
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)
