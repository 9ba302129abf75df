"""Rules for supervised runs: loss alone, and what an evaluation says of it."""

from __future__ import annotations

import numpy as np

from .. import remedies
from ..facts import Facts
from ..finding import Finding
from ..remedies import RunWords
from ..thresholds import Thresholds
from ..trend import late_gain, noise, onset_of
from ..words import at

_SIGMAS = 5.0
# The lowest of a few noisy evaluations is low by chance: a rise over it must exceed this many of their jumps.
_JUMPS = 2.0
_FEWEST_EVALUATIONS, _MANY_EVALUATIONS, _HANDFUL = 2, 8, 4
_PLAIN = 3.0
_LONG = 10


def loss_divergence(facts: Facts, t: Thresholds) -> Finding | None:
    """The loss rises again, far from its best."""
    loss = facts.course("loss")
    if loss is None or len(loss) < 2 * t.min_points:
        return None
    low = float(loss.smooth.min())
    rise = loss.end - low
    if rise < t.loss_rise * abs(low) or rise < _SIGMAS * noise(loss):
        return None
    if low <= 0 and rise < _SIGMAS * float(loss.part(0.0, 0.5).std()):
        return None  # a loss that swings around 0 has no share to rise by
    since = onset_of(loss, low + rise / 2, above=True)
    return Finding(
        "loss-divergence",
        "the loss rises again",
        (f"loss fell from {float(loss.values[0]):.3g} to {low:.3g} and is {loss.end:.3g} at the end{at(since)}",),
        remedies.against_supervised_divergence(RunWords.of(facts.log)),
        since,
    )


def overfitting(facts: Facts, t: Thresholds) -> Finding | None:
    """The loss on held-out data rises while that on training data falls."""
    loss, held = facts.course("loss"), facts.course("eval_loss")
    if loss is None or held is None or len(held) < _FEWEST_EVALUATIONS or len(loss) < t.min_points:
        return None
    width = 3 if len(held) >= _MANY_EVALUATIONS else 1
    smooth = held.running(width)
    index = int(smooth.argmin())
    low, last = float(smooth[index]), float(held.values[-max(width, 2) :].mean())
    jumps = 1.4826 * float(np.median(np.abs(np.diff(held.part(0.3, 1.0), 2)))) / 6**0.5
    if len(held) < _HANDFUL:
        # So few say nothing of their noise: the rise must be plain.
        last = float(held.values[-1])
        if index == len(held) - 1 or last < low * (1.0 + _PLAIN * t.overfit) or low <= 0:
            return None
    elif index >= len(smooth) - 2 or last < low * (1.0 + t.overfit) or last < low + _JUMPS * jumps or low <= 0:
        return None
    step = float(held.steps[index + width // 2])
    after = loss.values[loss.steps > step]
    around = loss.values[loss.steps <= step][-max(loss.window, 1) :]
    if not len(after) or not len(around) or float(np.mean(after[-loss.window :])) > float(around.mean()):
        return None
    return Finding(
        "overfitting",
        "the training loss falls and the evaluation loss rises",
        (
            f"evaluation loss was lowest at step {step:g} ({low:.3g}) and is {last:.3g} at the end",
            f"training loss went from {float(around.mean()):.3g} to {loss.end:.3g} meanwhile",
        ),
        remedies.against_overfitting(RunWords.of(facts.log)),
        step,
    )


def loss_plateau(facts: Facts, t: Thresholds) -> Finding | None:
    """The loss never fell."""
    loss = facts.course("loss")
    if loss is None or len(loss) < _LONG * t.min_points or loss.start <= 0:
        return None
    gain, error = late_gain(loss, 0.0)
    if abs(gain) + 1.64 * error > 0.05 * loss.start:
        return None
    return Finding(
        "plateau",
        "the loss does not fall",
        (f"loss moved by {gain:+.3g} ± {error:.2g} over the whole run, from {loss.start:.3g}",),
        remedies.against_loss_standstill(RunWords.of(facts.log)),
        float(loss.steps[0]),
    )
