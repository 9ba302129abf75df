"""A reward that goes: whether the policy moved with it, and one that falls without being lost altogether."""

from __future__ import annotations

import numpy as np

from .. import remedies
from ..facts import Facts
from ..finding import Finding
from ..remedies import RunWords
from ..rewards import lost_reward
from ..thresholds import Thresholds
from ..trend import Trend, late_gain, noise, onset_of
from ..words import course_of_entropy
from .causes import local_failure

# What tells that the policy itself moved, how many of these it takes, and by what share of itself a course may move.
_OF_THE_POLICY, _ENOUGH, _CALM = ("entropy", "kl", "grad_norm", "length"), 2, 0.25
# Points to either side of a loss, and how many of them a loss at once may take.
_SIDE, _AT_ONCE = 6, 2
_SIGMAS = 3.0
# Standard errors of a tenth's mean: the best of many stretches is high by chance.
_BEYOND_CHANCE = 8.0


def written(facts: Facts) -> list[str]:
    """Names of the courses that tell whether the policy moved."""
    return [name for name in _OF_THE_POLICY if (c := _course(facts, name)) is not None and len(c) >= 2 * _SIDE]


def calm_beside(facts: Facts, step: float) -> str:
    """What of the policy stayed where it was while the reward was lost at once; nothing if any moved, or too little is
    known: a policy that is broken by its steps takes its entropy, its gradient or its KL along."""
    names, r = written(facts), facts.reward
    if len(names) < _ENOUGH or "entropy" not in names or r is None or not _at_once(r, step):
        return ""
    for name in names:
        course = _course(facts, name)
        assert course is not None
        before, after = course.values[course.steps < step][-_SIDE:], course.values[course.steps >= step][:_SIDE]
        if not len(before) or not len(after):
            return ""
        level = float(np.median(before))
        ends = (float(np.median(after)), course.end) if name == "entropy" else (float(np.median(after)),)
        if any(abs(end - level) > max(_CALM * abs(level), _SIGMAS * noise(course)) for end in ends):
            return ""
    return ", ".join(name.replace("grad_norm", "the gradient's norm") for name in names)


def _at_once(r: Trend, step: float) -> bool:
    """Whether a reward stood where it was until a step or two before it was lost."""
    index = int(np.searchsorted(r.steps, step))
    earlier, after = r.values[max(index - 4 * _SIDE, 0) : max(index - _AT_ONCE, 0)], r.values[index : index + _SIDE]
    if len(earlier) < _SIDE or not len(after):
        return False
    jitter = max(float(np.diff(earlier).std()) / 2**0.5, 1e-12)
    fell = float(earlier[-_SIDE:].mean()) - float(after.mean())
    return fell > 5.0 * jitter and float(np.ptp(after)) <= 6.0 * jitter


def _course(facts: Facts, name: str) -> Trend | None:
    return facts.entropy if name == "entropy" else facts.course(name)


def decline(facts: Facts, t: Thresholds) -> Finding | None:
    """The reward has been falling: much of its best is gone, and it does not come back."""
    r, scale = facts.reward, facts.scale
    if r is None or scale is None or len(r) < 2 * t.min_points:
        return None
    if lost_reward(facts, t)[1] is not None or local_failure(facts, t) is not None or _exploded(facts, t):
        return None  # told already, with its cause
    best = r.best
    drop, height = best - r.end, best - scale.low if scale.known else max(abs(best), abs(r.end))
    if drop < t.decline * height or drop < scale.floor or drop < _BEYOND_CHANCE * noise(r):
        return None
    gain, error = late_gain(r, 0.8)
    if gain > 1.64 * error and gain > 0.1 * drop:
        return None  # it is coming back
    at_best = float(r.steps[min(int(r.smooth.argmax()) + r.window // 2, len(r) - 1)])
    evidence = [f"reward was {best:.3f} at its best, about step {at_best:g}, and is {r.end:.3f} at the end"]
    if facts.entropy is not None:
        evidence.append(f"entropy went {course_of_entropy(facts.entropy)}")
    return Finding(
        "collapse",
        "the reward falls",
        tuple(evidence),
        remedies.against_lost_reward(RunWords.of(facts.log)),
        onset_of(r, best - drop / 2, above=False),
    )


def _exploded(facts: Facts, t: Thresholds) -> bool:
    h = facts.entropy
    return h is not None and h.ratio >= t.explosion_ratio and h.end - h.start >= t.explosion_rise
