"""A small network with a scale, a rescaling and a translation, and steps of it."""

import torch
from torch import nn
from torch.nn import functional

from entrokit.dynamics.noether import (
    NoetherMonitor,
)


def network(dtype=torch.float64):
    """A scale, a rescaling and a translation, in layers without ε: the law holds to rounding."""
    return nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6, eps=0.0), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).to(
        dtype
    )


X = torch.randn(24, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

Y = torch.arange(24) % 3


def backward(model, step=0):
    model.zero_grad()
    rows = slice(8 * (step % 3), 8 * (step % 3) + 8)
    loss = functional.cross_entropy(model(X[rows].to(next(model.parameters()).dtype)), Y[rows])
    loss.backward()
    return loss


def watched(model, optimizer, steps, monitor=None):
    monitor = monitor or NoetherMonitor(model, optimizer)
    for n in range(steps):
        backward(model, n)
        monitor.step()
    return monitor


def largest(monitor):
    return max(float(residual.abs().max()) for residual in monitor.residuals().values())


def classified(model, x, classes=3):
    """Parameters, gradients and the loss of a classifier on fixed labels, in float64."""
    model.double()
    y = torch.arange(len(x)) % classes

    def loss():
        return functional.cross_entropy(model(x), y)

    model.zero_grad()
    loss().backward()
    parameters = dict(model.named_parameters())
    return parameters, {name: p.grad for name, p in parameters.items()}, loss
