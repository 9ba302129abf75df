"""What the Fokker-Planck penalty costs beside plain denoising: a step of training of an energy network.

The peer is denoising as one would write it in torch, the score by `torch.autograd.grad`, without a check. Each takes
its steps in turns with it, in an order that turns with every round: milliseconds of the core a step, median of rounds
and range, and the ratio to the peer's of the same round. Prints a table, writes runs/bench/energy.json. Takes about
three minutes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from turns import saved, shown, timed

from entrokit.generative.energy import EnergyScore, FokkerPlanckRegularizer, fp_residual, training_loss
from entrokit.generative.noising import VariancePreserving

SDE = VariancePreserving()
# Dimensions, hidden layers, batch: the paper's toy, the same in its batch of molecules, and 22 atoms.
SIZES = ((2, (92, 92, 92), 128), (2, (92, 92, 92), 1024), (66, (256, 256, 256), 1024))
Loss = Callable[[EnergyScore, Tensor, Tensor], Tensor]


def by_hand(model: EnergyScore, x0: Tensor, t: Tensor) -> Tensor:
    noise = torch.randn_like(x0)
    sigma = SDE.sigma(t)[:, None]
    x = (SDE.alpha(t)[:, None] * x0 + sigma * noise).requires_grad_()
    (score,) = torch.autograd.grad(model.log_q(x, t).sum(), x, create_graph=True)
    return (noise + sigma * score).square().mean()


def with_penalty(form: Any = None, share: float = 1.0) -> Loss:
    penalty = None if form is None else FokkerPlanckRegularizer(1e-3, form=form, share=share)
    return lambda model, x0, t: training_loss(model, x0, t, SDE, penalty).total


def exact(model: EnergyScore, x0: Tensor, t: Tensor) -> Tensor:
    x = SDE.alpha(t)[:, None] * x0 + SDE.sigma(t)[:, None] * torch.randn_like(x0)
    return by_hand(model, x0, t) + 1e-3 * fp_residual(model, x, t, SDE).square().mean() / x0.shape[1] ** 2


ARMS: dict[str, Loss] = {
    "by hand": by_hand,
    "plain": with_penalty(),
    "weak": with_penalty("weak"),
    "weak, half the rows": with_penalty("weak", 0.5),
    "shared": with_penalty("shared"),
    "shared, half the rows": with_penalty("shared", 0.5),
    "exact divergence": exact,
}


def stepper(loss: Loss, dimensions: int, hidden: tuple[int, ...], batch: int) -> Callable[[], None]:
    torch.manual_seed(0)
    model = EnergyScore.mlp(dimensions, hidden)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x0, t = torch.randn(batch, dimensions), 0.002 + 0.996 * torch.rand(batch)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(loss(model, x0, t))
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.1, help="of the peer's steps in a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, one thread, float32")
    summary: dict[str, Any] = {}
    for dimensions, hidden, batch in SIZES:
        arms = {name: loss for name, loss in ARMS.items() if dimensions < 10 or loss is not exact}
        found = timed(
            {name: stepper(loss, dimensions, hidden, batch) for name, loss in arms.items()},
            arguments.rounds,
            seconds=arguments.seconds,
            unit=1e-3,
        )
        shown(f"D = {dimensions}, {hidden}, {batch} rows", found, "ms")
        summary[f"{dimensions}, {hidden}, {batch}"] = found
    saved("energy", summary)


if __name__ == "__main__":
    main()
