"""When a run's numbers stopped being numbers: which metric turned first, and what moved just before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from entrokit.runs import Series, TrainingLog
from entrokit.runs.series import Broken

# Metrics that are numbers at every step of a sound run. NaN is legitimate in all others: the length of those that ended
# where none did, a family that was not drawn, spreads and extremes of a single value, a part of the reward that does
# not apply, scores of evaluations that were not due, a correlation of constants.
_ALWAYS = (
    *("loss", "grad_norm", "entropy", "trainer_entropy", "kl", "update_kl", "reward", "value_loss", "ratio"),
    *("sampler_logp_gap", "sampler_prob_gap", "sampler_kl", "sampler_logp", "trainer_logp"),
)
# These two have no step at which they are not defined: that they break and come back counts as well.
_UPDATE = ("loss", "grad_norm")
_OFTEN = 3
# What is looked at for a spike before the break: points, and how far beyond the median.
_JUST_BEFORE, _SPIKE = 5, 5.0
_SPIKING = ("grad_norm", "kl", "update_kl", "loss", "ratio.max")


@dataclass(frozen=True)
class Turned:
    """The metrics that broke, and how it began.

    Attributes:
        metrics: by entrokit's name, in order of their first broken step. step: the first of them.
        for_good: whether numbers stayed away; False where they break and come back.
        spikes: sentences on what moved just before.
    """

    metrics: Mapping[str, Broken]
    step: float
    for_good: bool
    spikes: tuple[str, ...]

    @property
    def first(self) -> tuple[str, ...]:
        """The metrics that broke first, several where they did at one step."""
        return tuple(name for name, b in self.metrics.items() if b.first_step == self.step)


def turned(log: TrainingLog) -> Turned | None:
    """Whether the run broke; None where all is finite, or where what is not is legitimate or was recovered from."""
    last_update = log.get("grad_norm")
    sound = -np.inf if last_update is None else float(last_update.steps[-1])
    lost = {
        n: b
        for n in _ALWAYS
        if (b := _lost(log.series.get(n), n)) is not None and (b.count > 1 or n in _UPDATE or b.first_step > sound)
    }
    shaky = {n: b for n in _UPDATE if (b := _shaky(log.series.get(n))) is not None}
    found = lost or shaky
    if not found:
        return None
    ordered = dict(sorted(found.items(), key=lambda item: item[1].first_step))
    step = min(b.first_step for b in ordered.values())
    return Turned(ordered, step, bool(lost), tuple(_spikes(log, step)))


def before(log: TrainingLog, step: float) -> TrainingLog:
    """The run up to a step, that step left out."""
    return replace(log, series={name: _cut(s, step) for name, s in log.series.items()})


def remarks(log: TrainingLog, run: Turned | None) -> list[str]:
    """What is not finite and breaks no run: columns without any number, and points that were recovered from."""
    told = set() if run is None else set(run.metrics)
    found = []
    for name, s in log.series.items():
        if s.broken is None or name in told:
            continue
        what = s.broken.kind
        if not len(s):
            found.append(f"{name} is {what} at all {s.broken.count} points: it is not computed")
        elif name in _ALWAYS:
            again = ", and numbers came again" if s.broken.recovered else ""
            found.append(f"{name} is {what} at {s.broken.count} of its points (step {s.broken.first_step:g}{again})")
    return found


def _lost(series: Series | None, name: str) -> Broken | None:
    """What broke and did not come back; a metric that never was a number counts for the update's own only."""
    if series is None or (b := series.broken) is None or b.recovered:
        return None
    if not len(series):
        return b if name in _UPDATE else None
    between = int((series.steps > b.first_step).sum())
    if between > b.count // 2:
        return None  # written in turn with numbers: a metric that is not due at every step
    return b if b.count > 1 or b.kind == "nan" else None


def _shaky(series: Series | None) -> Broken | None:
    """Breaks that were recovered from, several of them; those before any number are fp16's search for its scale."""
    if series is None or (b := series.broken) is None or b.last_finite is None:
        return None
    between = int((series.steps > b.first_step).sum())
    rare = b.count <= max(between, 1) / 2
    return b if b.count >= _OFTEN and rare else None


def _spikes(log: TrainingLog, step: float) -> list[str]:
    found = []
    for name in _SPIKING:
        series = log.get(name)
        if series is None:
            continue
        known = series.steps < step
        steps, values = series.steps[known], np.abs(series.values[known])
        if len(values) <= _JUST_BEFORE:
            continue
        usual, late = float(np.median(values)), values[-_JUST_BEFORE:]
        peak = int(late.argmax())
        if usual > 0 and late[peak] >= _SPIKE * usual:
            at = float(steps[len(steps) - _JUST_BEFORE + peak])
            found.append(
                f"{name} was {late[peak]:.3g} at step {at:g}, just before ({late[peak] / usual:.0f} times usual)"
            )
    return found


def _cut(series: Series, step: float) -> Series:
    keep = series.steps < step
    return replace(series, steps=series.steps[keep], values=series.values[keep])
