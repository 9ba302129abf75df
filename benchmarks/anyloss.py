"""What AnyLoss costs beside torch's cross-entropy: a loss and its gradient, and a step of a small network.

The peer is `torch.nn.functional.binary_cross_entropy_with_logits`. Each is called in turns with it, in an order that
turns with every round: microseconds of the core a call, median of rounds and range, and the ratio to the peer's of
the same round. Prints tables, writes runs/bench/anyloss.json. Takes about a minute.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from turns import saved, shown, timed

from entrokit.losses.anyloss import AnyLoss

METRICS = ("f1", "gmean", "balanced_accuracy")
SIZES = (256, 4096, 65536, 1048576)
WIDTH, HIDDEN = 64, 128
Loss = Callable[[Tensor, Tensor], Tensor]


def losses() -> dict[str, Loss]:
    return {"cross-entropy": binary_cross_entropy_with_logits, **{m: AnyLoss(m) for m in METRICS}}


def batch(rows: int) -> tuple[Tensor, Tensor]:
    """Features ``[rows, WIDTH]`` in float32, and targets of which one in ten is 1."""
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(rows, WIDTH, generator=generator), (torch.rand(rows, generator=generator) < 0.1).float()


def alone(rows: int) -> dict[str, Callable[[], None]]:
    """A loss of logits and its gradient."""
    X, y = batch(rows)
    z = X[:, 0].clone().requires_grad_()

    def call(loss: Loss) -> Callable[[], None]:
        return lambda: torch.autograd.backward(loss(z, y), inputs=[z])

    return {name: call(loss) for name, loss in losses().items()}


def step(rows: int) -> dict[str, Callable[[], None]]:
    """A step of Adam of a network of one hidden layer."""
    X, y = batch(rows)

    def call(loss: Loss) -> Callable[[], None]:
        model = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

        def once() -> None:
            optimizer.zero_grad()
            torch.autograd.backward(loss(model(X)[:, 0], y))
            optimizer.step()

        return once

    return {name: call(loss) for name, loss in losses().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.03, help="of the peer's calls in a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, one thread, float32")
    summary: dict[str, Any] = {}
    for what, make in (("loss and gradient", alone), ("step of a network", step)):
        for rows in SIZES if make is alone else SIZES[:3]:
            found = timed(make(rows), arguments.rounds, seconds=arguments.seconds, unit=1e-6)
            shown(f"{what}, {rows} rows", found, "µs")
            summary[f"{what}, {rows}"] = found
    saved("anyloss", summary)


if __name__ == "__main__":
    main()
