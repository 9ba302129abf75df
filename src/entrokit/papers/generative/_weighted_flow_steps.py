"""What a training step costs by batch: plain, optimal-transport and weighted flow matching, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from entrokit.generative.weighted_flow import WeightedConditionalFlowMatcher, sinkhorn_potentials, weighted_flow_loss

from ._weighted_flows import Laws, Matched, Velocity, circle, gaussian, peer

LAWS = Laws(gaussian, circle(4.0, 0.3))
PLAIN, TRANSPORT, WEIGHTED = "I-CFM", "OT-CFM", "W-CFM"
UNTILTED = "W-CFM with potentials"


def step_seconds(batch: int, rounds: int, repeats: int = 1) -> dict[str, list[float]]:
    """CPU seconds of a step, a round each: pairs to matched points, loss, gradient, Adam. One round is not counted.

    Args:
        repeats: steps of a round, of all but optimal transport, which takes one: short steps need them for the clock.
    """
    g = torch.Generator().manual_seed(0)
    x0, x1 = LAWS.source(batch, g), LAWS.target(batch, g)
    reference = sinkhorn_potentials(LAWS.source(512, g), LAWS.target(512, g), 2.0)
    contestants = {
        PLAIN: (peer("ConditionalFlowMatcher"), repeats),
        WEIGHTED: (WeightedConditionalFlowMatcher(2.0).sample, repeats),
        UNTILTED: (WeightedConditionalFlowMatcher(2.0, potentials=reference).sample, repeats),
        TRANSPORT: (peer("ExactOptimalTransportConditionalFlowMatcher"), 1),
    }
    steps = {name: (_step(sample, x0, x1), count) for name, (sample, count) in contestants.items()}
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name in list(steps)[:: 1 if turn % 2 else -1]:
            step, count = steps[name]
            begin = time.process_time()
            for _ in range(count):
                step()
            if turn:
                spent[name].append((time.process_time() - begin) / count)
    return spent


def _step(sample: Callable[[Tensor, Tensor], Matched], x0: Tensor, x1: Tensor) -> Callable[[], None]:
    model = Velocity()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3, fused=True)

    def step() -> None:
        t, xt, ut, weight = sample(x0, x1)
        loss = weighted_flow_loss(model(t, xt), ut, weight)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    return step
