"""Small classifiers of a known world, and what is decided by their utilities read as probabilities in several ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from entrokit.losses.preference import (
    Reliability,
    UtilityToProbability,
    argmax_decision,
    expected_gain,
    mbr_decision,
    reliability,
    sample_decision,
)

CLASSES, INPUTS, HIDDEN = 30, 16, 64
TRAIN, HELD_OUT, TEST = 4000, 1000, 4000
LEARNING_RATE, BATCH, SMOOTHING = 5e-3, 256, 0.1
# Without smoothing: hardly trained, as long as the smoothed network, and far beyond.
CHECKPOINTS = (60, 1500, 5000)


@dataclass(frozen=True)
class Judged:
    """A network's utilities on fresh inputs: float64, ``[N, K]``."""

    held_out: Tensor
    held_out_target: Tensor
    test: Tensor
    target: Tensor
    directions: Tensor


@cache
def networks(seed: int) -> dict[str, Judged]:
    """``smoothed``, and ``60``, ``1500`` and ``5000`` steps without smoothing; from the same data and start."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(CLASSES, INPUTS, generator=generator)
    x = torch.randn(TRAIN + HELD_OUT + TEST, INPUTS, generator=generator)
    y = (x @ directions.mT).argmax(1)
    found = {"smoothed": _judged(_trained(x, y, SMOOTHING, (1500,), seed)[1500], x, y, directions)}
    for steps, model in _trained(x, y, 0.0, CHECKPOINTS, seed).items():
        found[str(steps)] = _judged(model, x, y, directions)
    return found


def _trained(x: Tensor, y: Tensor, smoothing: float, checkpoints: tuple[int, ...], seed: int) -> dict[int, nn.Module]:
    def fresh() -> nn.Module:
        return nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = fresh()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    batches, kept = torch.Generator().manual_seed(seed), {}
    for step in range(1, max(checkpoints) + 1):
        rows = torch.randint(TRAIN, (BATCH,), generator=batches)
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(model(x[rows]), y[rows], label_smoothing=smoothing))
        optimizer.step()
        if step in checkpoints:
            kept[step] = fresh()
            kept[step].load_state_dict(model.state_dict())
    return kept


@torch.no_grad()
def _judged(model: nn.Module, x: Tensor, y: Tensor, directions: Tensor) -> Judged:
    u = model(x[TRAIN:]).double()
    return Judged(u[:HELD_OUT], y[TRAIN : TRAIN + HELD_OUT], u[HELD_OUT:], y[TRAIN + HELD_OUT :], directions.double())


@dataclass(frozen=True)
class Reading:
    """Utilities read as probabilities in one way, on test inputs.

    Attributes:
        tau: of a temperature. changed: rows whose argmax is another than that of the utilities.
        accuracy: of the argmax. nll: nats. sampled: accuracy of one output drawn.
        silent, partial: mean gain of the best decision where a wrong answer costs as much as a right one brings and
            silence nothing, and where an answer is worth the cosine of both classes' directions, at least 0.
        picture: of the argmax.
    """

    tau: float | None
    changed: int
    accuracy: float
    nll: float
    sampled: float
    silent: float
    partial: float
    picture: Reliability


def read(judged: Judged, mapping: UtilityToProbability | None, seed: int) -> Reading:
    """``mapping`` fitted on the held-out inputs; None reads utilities as logits."""
    u, target = judged.test, judged.target
    if mapping is None:
        probs = torch.softmax(u, -1)
    else:
        probs = mapping.fit(judged.held_out, judged.held_out_target).transform(u)
    drawn = sample_decision(probs, torch.Generator().manual_seed(seed))
    unit = judged.directions / judged.directions.norm(dim=1, keepdim=True)
    confidence, decision = probs.max(-1)
    return Reading(
        tau=1.0 if mapping is None else mapping.tau_,
        changed=int((argmax_decision(probs) != argmax_decision(u)).sum()),
        accuracy=float((decision == target).double().mean()),
        nll=float(-probs.gather(-1, target[:, None]).log().mean()),
        sampled=float((drawn == target).double().mean()),
        silent=_gained(probs, target, torch.cat([2.0 * torch.eye(CLASSES) - 1.0, torch.zeros(1, CLASSES)]).double()),
        partial=_gained(probs, target, (unit @ unit.mT).clamp(min=0.0)),
        picture=reliability(confidence, decision == target),
    )


def _gained(probs: Tensor, target: Tensor, gain: Tensor) -> float:
    """Mean gain that the best decisions brought."""
    truth = torch.nn.functional.one_hot(target, CLASSES).double()
    brought = expected_gain(truth, gain)
    return float(brought.gather(-1, mbr_decision(probs, gain)[:, None]).mean())
