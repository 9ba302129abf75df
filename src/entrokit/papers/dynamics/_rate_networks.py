"""Recurrent networks that learn a two-alternative decision from weights of a chosen rank."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entrokit.dynamics.laziness import LazinessTracker, RateRNN

STEPS, STRENGTH = 8, 0.8


@dataclass(frozen=True)
class Setting:
    """How networks learn.

    Attributes:
        hidden: N. ranks: of W_rec at the start. iterations, lr: of SGD with momentum 0.9 on batches of 32.
        fixation: whether the loss is over all eight steps, the first seven of which want a third output, as in the
            official tasks; otherwise it is at the last step. probes: for activity; the kernel takes the first 32.
    """

    hidden: int
    ranks: tuple[int, ...]
    iterations: int
    lr: float
    fixation: bool
    probes: int


MINIATURE = Setting(64, (1, 8, 64), 1500, 0.01, fixation=False, probes=320)
DECISION = Setting(300, (1, 30, 300), 2000, 0.003, fixation=True, probes=320)


def trials(n: int, setting: Setting, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs ``[n, 8, 3]``: a constant and two channels of unit noise, one of them stronger; and targets ``[n, 8]``.

    With fixation the constant and the stimulus end before the last step, and its targets are 1 and 2.
    """
    side = torch.randint(2, (n,), generator=generator)
    x = torch.randn(n, STEPS, 3, generator=generator)
    x[:, :, 0] = 1.0
    x[torch.arange(n), :, 1 + side] += STRENGTH
    if not setting.fixation:
        return x, side[:, None].expand(n, STEPS)
    x[:, -1] = 0.0
    target = torch.zeros(n, STEPS, dtype=torch.long)
    target[:, -1] = 1 + side
    return x, target


def learn(seed: int, rank: int, setting: Setting) -> dict[str, float]:
    """`LazinessTracker.report` of one network after training, and its ``accuracy`` on the probes' last step.

    Networks of one seed share W_0, the other weights and all trials, whatever their rank.
    """
    generator = torch.Generator().manual_seed(seed)
    net = RateRNN(3, setting.hidden, 3 if setting.fixation else 2, rank=rank, generator=generator)
    probes, wanted = trials(setting.probes, setting, generator)
    tracker = LazinessTracker(net, probes, "W_rec", hidden=lambda x: net.activity(x)[:, -1], kernel_probes=32)
    tracker.snapshot()
    optimizer = torch.optim.SGD(net.parameters(), lr=setting.lr, momentum=0.9)
    counted = slice(None) if setting.fixation else slice(-1, None)
    for _ in range(setting.iterations):
        x, target = trials(32, setting, generator)
        optimizer.zero_grad()
        out = net(x)[:, counted].flatten(0, 1)
        torch.autograd.backward(torch.nn.functional.cross_entropy(out, target[:, counted].flatten()))
        optimizer.step()
    tracker.snapshot()
    with torch.no_grad():
        right = net(probes)[:, -1].argmax(-1) == wanted[:, -1]
    return tracker.report() | {"accuracy": float(right.double().mean())}
