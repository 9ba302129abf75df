"""What the entry of Noether's Learning Dynamics is measured on: a small network, a circle, noise, and digits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from entrokit.dynamics.noether import (
    NoetherMonitor,
    equilibrium_norm_sq,
    equivalent_rmsprop,
    find_symmetries,
    predict_norm_sq,
    predict_norm_sq_from_velocity,
)

Angles = np.ndarray[Any, np.dtype[np.float64]]

STEPS, LR, MOMENTUM, DECAY = 300, 0.1, 0.9, 1e-3
EXACT, EQUATION, STILL = "discrete law", "the paper's equation", "its kinetic term left out"
LASTING, NOISE = "from gradients, lasting", "from gradients, noise"
# On the circle: slow enough that a gradient lasts far longer than momentum's memory, of 10 steps.
TURNS, TURN_LR, TURN_DECAY = 10_000, 0.002, 0.01
EPOCHS, TRAIN = 20, 1200


def norms(seed: int) -> dict[str, Tensor]:
    """|q|² ``[301, 16]`` of every row before a BatchNorm: measured, and predicted in five ways from the log."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(512, 20, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (512,), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(20, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    monitor = NoetherMonitor(model, optimizer, find_symmetries(model, kinds=("scale",)))
    weight, logs, unit = model.get_parameter("0.weight"), [], []
    for _ in range(STEPS):
        rows = torch.randint(0, 512, (64,), generator=generator)
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(model(x[rows]), y[rows]))
        assert weight.grad is not None
        unit.append(weight.grad.square().sum(1) * weight.detach().square().sum(1))
        monitor.step()
        logs.append(monitor.balances()["scale(0.weight)"])
    R = torch.stack([*(balance.quantity for balance in logs), weight.detach().square().sum(1)])
    V, drive = torch.stack([balance.kinetic for balance in logs]), torch.stack(unit)
    rate0 = (R[1] - R[0]) / LR
    return {
        "run": R,
        EXACT: predict_norm_sq_from_velocity(R[0], None, V, LR, MOMENTUM, DECAY),
        EQUATION: predict_norm_sq_from_velocity(R[0], rate0, V, LR, MOMENTUM, DECAY, form="lagrangian"),
        STILL: predict_norm_sq_from_velocity(R[0], rate0, 0 * V, LR, MOMENTUM, DECAY, form="lagrangian"),
        LASTING: predict_norm_sq(R[0], drive, LR, MOMENTUM, DECAY),
        NOISE: predict_norm_sq(R[0], drive, LR, MOMENTUM, DECAY, noise=True),
    }


def lasting(seed: int) -> dict[str, Angles]:
    """Angles a step ``[10000]`` in the plane, where a gradient of slowly changing size always turns the same way.

    SGD from a drawn length, its RMSProp on the circle, and SGD whose length is put back after every step.
    """
    rng = np.random.default_rng(seed)
    waves, phases = rng.uniform(0.2, 0.5, 3), rng.uniform(0, 2 * math.pi, 3)
    times = 2 * math.pi * np.arange(TURNS)[:, None] / np.array([2500.0, 4000.0, 7000.0])
    size = np.exp((waves * np.sin(times + phases)).sum(1))
    start = float(equilibrium_norm_sq(torch.tensor(1.0), TURN_LR, MOMENTUM, TURN_DECAY)) * rng.uniform(0.5, 2.0)
    rms = equivalent_rmsprop(TURN_LR, MOMENTUM, TURN_DECAY)
    # r⁴ is G times the squared equilibrium at a gradient of 1.
    G = start**2 / float(equilibrium_norm_sq(torch.tensor(1.0), TURN_LR, MOMENTUM, TURN_DECAY)) ** 2
    found: dict[str, list[float]] = {"SGD": _turns(size, start, fixed=False), "RMSProp on the circle": []}
    for a in size.tolist():
        G = rms.decay * G + (1 - rms.decay) * a**2
        found["RMSProp on the circle"].append(math.atan(rms.lr * a / math.sqrt(G)))
    found["SGD at a fixed length"] = _turns(size, start, fixed=True)
    return {name: np.array(angles) for name, angles in found.items()}


def _turns(size: Angles, start: float, *, fixed: bool) -> list[float]:
    r0 = math.sqrt(start)
    # As if it had turned before: a velocity that the first gradient has settled.
    q, v, angles = complex(r0), 1j * float(size[0]) / r0 / (1 - MOMENTUM), []
    for a in size.tolist():
        v = MOMENTUM * v + 1j * q / abs(q) * a / abs(q) + TURN_DECAY * q
        new = q - TURN_LR * v
        angles.append(-math.atan2((new / q).imag, (new / q).real))
        q = new / abs(new) * r0 if fixed else new
    return angles


def noise(seed: int) -> dict[str, float]:
    """Mean angular learning rate η/((1−β)r²) under tangential noise alone, over that of either RMSProp."""
    generator = torch.Generator().manual_seed(seed)
    lr, decay, steps = 0.02, 0.02, 6000
    q = torch.full((10,), 0.2**0.5, dtype=torch.float64)
    rms = {name: equivalent_rmsprop(lr, MOMENTUM, decay, noise=name == NOISE) for name in (LASTING, NOISE)}
    G, v, sgd, rates = dict.fromkeys(rms, 9.0), torch.zeros_like(q), 0.0, dict.fromkeys(rms, 0.0)
    for n in range(steps):
        drawn = torch.randn(10, generator=generator, dtype=torch.float64)
        R = float(q @ q)
        unit = drawn - float(drawn @ q) / R * q
        for name, (_, memory) in rms.items():
            G[name] = memory * G[name] + (1 - memory) * float(unit @ unit)
        v = MOMENTUM * v + unit / math.sqrt(R) + decay * q
        q = q - lr * v
        if n >= steps // 2:
            sgd += lr / (1 - MOMENTUM) / float(q @ q)
            rates = {name: rates[name] + rms[name].lr / math.sqrt(G[name]) for name in rms}
    return {name: rate / sgd for name, rate in rates.items()}


def digits(seed: int, lr: float, *, frozen: bool) -> float:
    """Test accuracy of two convolutions with BatchNorm on digits; ``frozen``: filters keep their first lengths."""
    x, y = _digits()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=5e-4)
    filters = [model.get_parameter(p.name) for s in find_symmetries(model, kinds=("scale",)) for p in s.parts]
    lengths = [w.detach().flatten(1).norm(dim=1) for w in filters]
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(TRAIN, generator=generator), 64):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model(x[rows]), y[rows]))
            optimizer.step()
            if frozen:
                _put_back(filters, lengths)
    model.eval()
    with torch.no_grad():
        return float((model(x[TRAIN:]).argmax(1) == y[TRAIN:]).double().mean())


@torch.no_grad()
def _put_back(filters: list[nn.Parameter], lengths: list[Tensor]) -> None:
    for w, length in zip(filters, lengths, strict=True):
        w.mul_((length / w.flatten(1).norm(dim=1))[:, None, None, None])


def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.from_numpy(data.images).float()[:, None] / 16.0, torch.from_numpy(data.target)
