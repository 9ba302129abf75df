"""What a training step costs by batch: plain, optimal-transport and weighted flow matching, in turns."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from entrokit.generative.weighted_flow import WeightedConditionalFlowMatcher, sinkhorn_potentials, weighted_flow_loss
from entrokit.report import Chart, Series

from ..entry import Shown
from ..evidence import Finding
from ._weighted_flows import Laws, Matched, Velocity, circle, gaussian, peer

LAWS = Laws(gaussian, circle(4.0, 0.3))
PLAIN, TRANSPORT, WEIGHTED = "I-CFM", "OT-CFM", "W-CFM"
UNTILTED = "W-CFM with potentials"
BATCHES = (64, 256, 1024, 4096)
# That a round of short steps sees at least, so that the clock can tell.
PAIRS = 4096


def step_costs(rounds: int) -> Iterator[Shown]:
    """Whether a step costs what I-CFM's does, and how it grows with the batch."""
    spent = {batch: step_seconds(batch, rounds, max(1, PAIRS // batch)) for batch in BATCHES}
    names = (WEIGHTED, UNTILTED, TRANSPORT)
    ratios = {
        name: {b: [a / p for a, p in zip(of[name], of[PLAIN], strict=True)] for b, of in spent.items()}
        for name in names
    }
    medians = {name: {b: statistics.median(values) for b, values in of.items()} for name, of in ratios.items()}
    raw = {f"{name}, batch {b}": values for name, of in ratios.items() for b, values in of.items()}
    raw |= {f"seconds, {PLAIN}, batch {b}": of[PLAIN] for b, of in spent.items()}
    text = "; ".join(
        f"{name} " + ", ".join(f"{_ratio(values)} at {b}" for b, values in ratios[name].items()) for name in names
    )
    yield Finding(
        "A step costs what I-CFM's does, whatever the batch.",
        "CPU time of a step over I-CFM's of the same round, median: at most 1.25 at each of 64, 256, 1,024 and 4,096",
        text,
        max(medians[WEIGHTED].values()) <= 1.25,
        "paper: the same cost as I-CFM",
        raw,
    )
    yield Finding(
        "OT-CFM's grows with the batch.",
        "the same ratio of OT-CFM: rises from each batch to the next, and is at least 10 at 4,096",
        ", ".join(f"{medians[TRANSPORT][b]:.1f} at {b}" for b in BATCHES),
        all(medians[TRANSPORT][a] < medians[TRANSPORT][b] for a, b in pairwise(BATCHES))
        and medians[TRANSPORT][BATCHES[-1]] >= 10,
        "paper: cubic in the batch",
        {f"batch {b}": ratios[TRANSPORT][b] for b in BATCHES},
    )
    milliseconds = {
        name: {b: [1000 * value for value in of[name]] for b, of in spent.items()} for name in (PLAIN, *names)
    }
    yield Chart(
        "A training step",
        "log2 of the batch (bars: range over rounds)",
        "log10 of milliseconds",
        tuple(_curve(name, of) for name, of in milliseconds.items()),
    )


def _curve(name: str, by_batch: dict[int, list[float]]) -> Series:
    logs = [[math.log10(value) for value in values] for values in by_batch.values()]
    return Series(
        name,
        [math.log2(batch) for batch in by_batch],
        [statistics.median(own) for own in logs],
        low=[min(own) for own in logs],
        high=[max(own) for own in logs],
    )


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


def _ratio(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
