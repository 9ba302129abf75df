"""What a policy gradient of a flow costs beyond its pretraining.

    python benchmarks/awm.py            # a quarter of a minute

- ``update``: loss and gradient of a network of 4 x 256 in 64 dimensions, 256 samples at four times each: plain flow
  matching; `AWMLoss` with a pull to a frozen reference; DDPO's log-densities of four of twenty steps. Samples are there
  already.
- ``draw``: what comes before: 256 samples by twenty steps of the ODE, and of the SDE.

Contestants take turns, in an order that turns with every round; CPU seconds of one thread, medians with the least and
the largest, ratios of the same round to the first. Prints tables and writes ``runs/bench/awm.json``.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from turns import saved, shown, timed

from entrokit.generative.awm import AWMLoss, ddpo_step_logp, interpolate, sample_ode, sample_sde

Calls = dict[str, Callable[[], Any]]


class Velocity(nn.Module):
    def __init__(self, dimensions: int) -> None:
        super().__init__()
        widths = [dimensions + 1, 256, 256, 256, 256]
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.SiLU())]
        self.net = nn.Sequential(*layers, nn.Linear(256, dimensions))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(torch.cat([x, t[:, None]], 1))


def updates() -> tuple[Calls, Calls]:
    torch.manual_seed(0)
    samples, dimensions, times, steps = 256, 64, 4, 20
    model = Velocity(dimensions)
    reference = copy.deepcopy(model).requires_grad_(False)
    noise = torch.randn(samples, dimensions)
    trajectory = sample_sde(model, noise, steps)
    x0, advantages = trajectory.samples, torch.randn(samples)
    t, fresh = torch.rand(samples, times), torch.randn(samples, times, dimensions)
    loss, parameters = AWMLoss(beta=0.1), list(model.parameters())

    def matching() -> Tensor:
        rows, at, eps = x0.repeat_interleave(times, 0), t.flatten(), fresh.flatten(0, 1)
        return (model(interpolate(rows, eps, at), at) - (eps - rows)).square().mean()

    def awm() -> Tensor:
        return loss(model, reference, x0, advantages, t, fresh)[0]

    def ddpo() -> Tensor:
        at = trajectory.times[:times].repeat_interleave(samples)
        before, after = trajectory.states[:times].flatten(0, 1), trajectory.states[1 : times + 1].flatten(0, 1)
        logp = ddpo_step_logp(model(before, at), before, after, at, trajectory.dt, 0.7)
        return -(advantages.repeat(times) * logp).mean()

    def with_gradient(value: Callable[[], Tensor]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(value(), parameters)

    named = {"flow matching": matching, "AWMLoss": awm, "DDPO": ddpo}
    drawn: Calls = {"ODE": lambda: sample_ode(model, noise, steps), "SDE": lambda: sample_sde(model, noise, steps)}
    return {name: with_gradient(value) for name, value in named.items()}, drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    update, draw = updates()
    tables = {"update": update, "draw": draw}
    written: dict[str, Any] = {}
    for title, calls in tables.items():
        spent = timed(calls, arguments.rounds)
        shown(title, spent)
        written[title] = spent
    saved("awm", written)


if __name__ == "__main__":
    main()
