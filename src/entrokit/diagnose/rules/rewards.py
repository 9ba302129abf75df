"""Rules about what the reward pays for: its parts against their sum, and the sum against what it stands for."""

from __future__ import annotations

import re

import numpy as np

from .. import remedies
from ..facts import Facts
from ..finding import Finding
from ..remedies import RunWords
from ..rewards import has_no_room, solved
from ..thresholds import Thresholds
from ..trend import Trend, gain_since, late_gain, noise, onset_of

# Standard errors of a tenth's mean that a fall must exceed.
_SIGMAS = 4.0
# Evaluations below which a held-out score is not judged.
_FEWEST_SCORES = 5
# A part of the reward is at its top from this share of it, once it gained this much of it.
_AT_TOP, _GAINED = 0.9, 0.2
# Parts that pay for the form of an answer: to give one up, or never to learn it, for right answers is no fault.
_FORM = re.compile(
    r"format|xml|tag|style|length|len|penalt|bonus|lang|repeat|repetition|cosine|overlong", re.IGNORECASE
)
# A move that has the first share of itself within a few points is a jump, up to the second it is none; distances that
# differ by the third are even.
_SUDDEN, _SLOW, _EVEN = 0.85, 0.75, 0.15
# Points, as multiples of ``min_points``: of a run of which a standstill of the reward is told, and since a part was
# learnt for others to have moved.
_LONG, _SETTLED = 10, 8


def reward_hacking(facts: Facts, t: Thresholds) -> Finding | None:
    """The sum rises, and a part of it or the score on held-out prompts is lost for good."""
    r, scale = facts.reward, facts.scale
    if r is None or scale is None or len(r) < t.min_points:
        return None
    for name, score in (("the held-out score", facts.held_out), ("accuracy", facts.accuracy)):
        if score is None or len(score) < _FEWEST_SCORES:
            continue
        peak, step = _peak(score)
        lost = peak - score.end
        if (
            lost < t.score_drop * abs(peak)
            or lost < _sigmas(score) * noise(score)
            or gain_since(r, step) <= scale.floor
        ):
            continue
        return Finding(
            "reward-hacking",
            f"the reward rises and {name} falls",
            (
                f"{name} fell from {peak:.3f} at step {step:g} to {score.end:.3f}",
                f"reward gained {gain_since(r, step):.3f} meanwhile, to {r.end:.3f}",
            ),
            remedies.against_reward_hacking(RunWords.of(facts.log), name),
            step,
        )
    for name, part in facts.parts.items():
        if len(part) < t.min_points:
            continue
        peak, step = _peak(part)
        size = max(abs(peak), abs(part.end))
        lost = peak - part.end
        if size <= 1e-9 or lost < t.part_drop * size or lost < _SIGMAS * noise(part):
            continue
        if gain_since(r, step) <= scale.floor or onset_of(part, peak - lost / 2, above=False) is None:
            continue
        if _FORM.search(name) and any(
            not _FORM.search(other) and gain_since(c, step) > _SIGMAS * noise(c) for other, c in facts.parts.items()
        ):
            continue
        others = ", ".join(
            f"{other} from {c.start:.3f} to {c.end:.3f}"
            for other, c in facts.parts.items()
            if c.end > c.start + noise(c)
        )
        return Finding(
            "reward-hacking",
            f"the sum of the rewards rises and {name!r} falls",
            (
                f"{name!r} fell from {peak:.3f} at step {step:g} to {part.end:.3f}",
                f"their sum went from {r.start:.3f} to {r.end:.3f}" + (f"; up went {others}" if others else ""),
            ),
            remedies.against_reward_hacking(RunWords.of(facts.log), repr(name), list(facts.parts)),
            step,
        )
    return None


def reward_imbalance(facts: Facts, t: Thresholds) -> Finding | None:
    """One part of the reward was learnt to its top while another, with room left, has not moved since."""
    if len(facts.parts) < 2 or facts.reward is None:
        return None
    for name, part in facts.parts.items():
        top, rose = max(part.best, 1.0), part.end - part.start
        if len(part) < 3 * t.min_points or part.end < _AT_TOP * top or rose < _GAINED * top:
            continue
        since = onset_of(part, part.start + rose / 4, above=True)
        learnt = onset_of(part, part.start + _AT_TOP * rose, above=True)
        if since is None or learnt is None or rose < _SIGMAS * noise(part):
            continue
        if int((part.steps > learnt).sum()) < _SETTLED * t.min_points:
            continue  # form is learnt first, and answers take their time
        for other, answer in facts.parts.items():
            ceiling = max(1.0, answer.best)
            if other == name or len(answer) < 3 * t.min_points or answer.end > (1.0 - _GAINED) * ceiling:
                continue
            if (_FORM.search(other) and not _FORM.search(name)) or has_no_room(answer):
                continue
            won = gain_since(answer, since)
            if won > t.part_gain * ceiling or won > rose / 4 or answer.end - answer.start > rose:
                continue
            return Finding(
                "reward-imbalance",
                f"{name!r} was learnt, {other!r} was not",
                (
                    f"{name!r} rose from {part.start:.3f} to {part.end:.3f}, near its top, from step {since:g} on",
                    f"{other!r} moved by {won:+.3f} since then, to {answer.end:.3f}",
                ),
                remedies.against_reward_imbalance(RunWords.of(facts.log), repr(name)),
                since,
            )
    return None


def plateau(facts: Facts, t: Thresholds) -> Finding | None:
    """The reward stands still, below its top, although groups still tell answers apart."""
    r, scale, flat = facts.reward, facts.scale, facts.flat_groups
    if r is None or scale is None or len(r) < _LONG * t.min_points or solved(facts, t):
        return None
    if flat is not None and flat.end >= t.flat_groups:
        return None  # no signal: told by its own rule
    gain, error = late_gain(r, 0.5)
    total = max(r.best, r.end) - r.start
    reference = total if total > 5.0 * noise(r) and total > scale.floor else 0.5 * scale.span
    if abs(gain) + 1.64 * error > t.plateau_still * reference or r.end - scale.low < 0.9 * (r.best - scale.low):
        return None
    held = facts.held_out
    if held is not None and len(held) >= _FEWEST_SCORES and gain_since(held, float(held.steps[len(held) // 2])) > 0.1:
        return None
    level = r.end - max(2.0 * noise(r) * r.window**0.5 / max(len(r) // 20, 1) ** 0.5, 0.1 * total)
    since = onset_of(r, level, above=True)
    return Finding(
        "plateau",
        "the reward stands still" if reference == total else "the reward never rose",
        (
            f"reward moved by {gain:+.3f} ± {error:.3f} over the second half of the run, at {r.end:.3f}; "
            f"it began at {r.start:.3f} (scale {scale})",
        ),
        remedies.against_standstill(RunWords.of(facts.log)),
        since,
    )


def instability(facts: Facts, t: Thresholds) -> Finding | None:
    """The reward falls deep and comes back, again and again."""
    r, scale = facts.reward, facts.scale
    if r is None or scale is None or len(r) < 4 * t.min_points:
        return None
    width = max(len(r) // 25, 3)
    smooth = Trend(r.steps, r.values).running(width)
    deep = max(t.swing * scale.span, 6.0 * noise(r) * (r.window / width) ** 0.5)
    falls: list[tuple[int, int]] = []
    top, bottom, down = 0, 0, False
    for i, value in enumerate(smooth):
        if not down:
            top = i if value >= smooth[top] else top
            if smooth[top] - value >= deep:
                down, bottom = True, i
        else:
            bottom = i if value <= smooth[bottom] else bottom
            if value - smooth[bottom] >= deep:
                falls.append((top, bottom))
                down, top = False, i
    if len(falls) < t.swings or _by_the_data(smooth, falls, width):
        return None
    onset = float(r.steps[falls[0][0] + width // 2])
    told = ", ".join(f"{smooth[a]:.3f} to {smooth[b]:.3f}" for a, b in falls[:4])
    return Finding(
        "instability",
        "the reward falls and comes back, again and again",
        (
            f"{len(falls)} falls of more than {deep:.3f}, each made good again: {told}",
            f"the first began at step {onset:g}",
        ),
        remedies.against_instability(RunWords.of(facts.log)),
        onset,
    )


def _sigmas(course: Trend) -> float:
    """Standard errors that a fall must exceed: more where a few points alone tell how large these are."""
    return _SIGMAS * (1.0 + 2.0 / float(len(course) ** 0.5))


def _by_the_data(smooth: np.ndarray, falls: list[tuple[int, int]], width: int) -> bool:
    """Whether the reward is a saw-tooth of even teeth: epochs of data in one order, or the stages of a curriculum.

    Args:
        smooth: the course. falls: indices of their tops and bottoms. width: points that it was smoothed over.
    """
    tops, bottoms = [a for a, _ in falls], [b for _, b in falls]
    last = bottoms[-1] + int(smooth[bottoms[-1] :].argmax())
    down = [_steepest(smooth, a, b, width) for a, b in falls]
    up = [_steepest(smooth, a, b, width) for a, b in zip(bottoms, [*tops[1:], last], strict=True)]
    for sudden, slow in ((down, up), (up, down)):
        apart = np.diff([where for where, _ in sudden])
        even = float(np.ptp(apart)) <= max(_EVEN * float(apart.mean()), 2.0)
        one_sided = np.mean([size for _, size in sudden]) >= _SUDDEN > _SLOW >= np.median([size for _, size in slow])
        if even and one_sided:
            return True
    return False


def _steepest(smooth: np.ndarray, begin: int, end: int, width: int) -> tuple[int, float]:
    """Where a course moves most between two points over twice the width of its mean, and which share of their gap."""
    over = min(2 * width, end - begin)
    moved = np.abs(smooth[begin + over : end + 1] - smooth[begin : end + 1 - over])
    return begin + int(moved.argmax()), float(moved.max()) / max(abs(float(smooth[end] - smooth[begin])), 1e-12)


def _peak(course: Trend) -> tuple[float, float]:
    """The best stretch of a course, and the step in its middle."""
    smooth = course.smooth
    index = int(smooth.argmax())
    return float(smooth[index]), float(course.steps[index + (len(course) - len(smooth)) // 2])
