"""A small network with a batch norm, its data, and steps of SGD."""

import torch
from torch import nn
from torch.nn import functional

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))

Y = X[:, :3].argmax(1)

LOADER = [(X[:32], Y[:32]), (X[32:], Y[32:])]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))


def steps(model, seed=0, count=10, **options):
    optimizer = torch.optim.SGD(model.parameters(), **({"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1} | options))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        rows = torch.randperm(64, generator=generator)[:16]
        optimizer.zero_grad()
        functional.cross_entropy(model(X[rows]), Y[rows]).backward()
        optimizer.step()
