"""Rules about the completions' length: cut off, endless from the start, growing for nothing, shrunk to nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .. import remedies
from ..facts import Facts
from ..finding import Finding
from ..remedies import RunWords
from ..rewards import lost_reward
from ..thresholds import Thresholds
from ..trend import Trend, gain_since, noise, onset_of
from ..words import at, course_of_entropy, number

# The reward is the sum of its parts where they agree to this share of the scale.
_SUM = 0.05
_SIGMAS = 4.0
# Gains of this many floors are next to nothing for answers that have become several times as long.
_LITTLE = 3.0
# However noisy a run: from this share of the scale on, nobody says that nothing was gained.
_A_GAIN = 0.1
_FEWEST_SCORES = 6
# A loss of reward from before a length shrank, as a share of the scale, from which on it was no gain.
_REPEATS_FROM = 2.0


def never_ends(facts: Facts, t: Thresholds) -> Finding | None:
    """From the first step on nothing ends by itself: no limit is too short for that."""
    cut, ended = facts.truncated, facts.course("terminated_length")
    if cut is None or len(cut) < 3:
        return None
    all_cut = min(cut.start, cut.end, float(np.median(cut.values))) >= t.never_ends
    none_ended = ended is not None and len(ended) >= 3 and float(ended.values.max()) < 1.0 and cut.start >= t.truncated
    if not all_cut and not none_ended:
        return None
    evidence = [
        f"{cut.start:.0%} of the completions are cut at the length limit at the start, {cut.end:.0%} at the end"
    ]
    if none_ended:
        evidence.append("the mean length of completions that end by themselves is 0: none does")
    length = facts.course("length")
    if length is not None:
        evidence.append(f"they have {number(length.start)} tokens at the start and {number(length.end)} at the end")
    return Finding(
        "truncation",
        "no completion ends by itself: a stop token or the chat template",
        tuple(evidence),
        remedies.against_length_from_the_start(RunWords.of(facts.log)),
        float(cut.steps[0]),
    )


def truncation(facts: Facts, t: Thresholds) -> Finding | None:
    cut = facts.truncated
    if cut is None or cut.end < t.truncated or never_ends(facts, t) is not None:
        return None
    began = cut.first_step_beyond(t.truncated, above=True)
    if began is not None and (_rose_before(began, facts, t) or _crashed_before(began, facts, t)):
        return None  # long completions are the consequence, not the cause
    evidence = [f"{cut.end:.0%} of the completions are cut at the length limit late in the run ({cut.start:.0%} early)"]
    length = facts.course("length")
    if length is not None and length.end > length.start:
        evidence.append(f"their length went from {number(length.start)} to {number(length.end)} tokens")
    if facts.entropy is not None:
        evidence.append(f"entropy went {course_of_entropy(facts.entropy)} meanwhile")
    return Finding(
        "truncation",
        "the length limit is too short",
        tuple(evidence),
        remedies.against_truncation(RunWords.of(facts.log)),
        began,
    )


def length_growth(facts: Facts, t: Thresholds) -> Finding | None:
    """Completions grow and either nothing is gained by it, or only the training reward is."""
    length, r, scale = facts.course("length"), facts.reward, facts.scale
    if length is None or r is None or scale is None or len(length) < 2 * t.min_points or length.start <= 0:
        return None
    base = min(length.start, float(np.median(length.part(0.0, 0.5))))
    if length.end < t.length_growth * base:
        return None
    since = onset_of(length, base + (length.end - base) / 4, above=True)
    if since is None:
        return None
    paid = gain_since(r, since)
    grew = f"completions grew from {number(base)} to {number(length.end)} tokens, from step {since:g} on"
    floor = max(scale.floor, _SIGMAS * noise(r))
    worth = _worth(facts, since)
    if worth is not None and paid > floor and not worth.keeps_up(paid, r.end - paid - scale.low, t.length_worth):
        return Finding(
            "length-growth",
            "the reward pays for length",
            (grew, f"reward gained {paid:.3f} since then, {worth.what} {worth.gain:+.3f}"),
            remedies.against_length_growth(RunWords.of(facts.log)),
            since,
        )
    little = min(_LITTLE * floor, max(_LITTLE * t.reward_floor, _A_GAIN) * scale.span)
    unpaid = paid <= little and r.end - r.start <= little and (worth is None or worth.gain <= max(little, worth.noise))
    if unpaid and length.end >= t.length_waste * base:
        return Finding(
            "length-growth",
            "completions grow, and nothing is gained",
            (grew, f"reward went from {r.start:.3f} to {r.end:.3f}"),
            remedies.against_length_growth(RunWords.of(facts.log)),
            since,
        )
    return None


def length_collapse(facts: Facts, t: Thresholds) -> Finding | None:
    """Completions shrink to nearly nothing, and the reward does not gain by it."""
    length, r, scale = facts.course("length"), facts.reward, facts.scale
    if length is None or r is None or scale is None or len(length) < t.min_points:
        return None
    best = length.best
    if best <= 0 or length.end > t.length_collapse * best:
        return None
    since = onset_of(length, (best + length.end) / 2, above=False)
    if since is None:
        return None
    right = facts.accuracy or facts.held_out or r
    if gain_since(right, since) > max(scale.floor, _SIGMAS * noise(right)):
        return None
    return Finding(
        "length-collapse",
        "answers have shrunk to nearly nothing",
        (
            f"completions went from {number(best)} to {number(length.end)} tokens, half of that by step {since:g}",
            f"reward moved by {gain_since(r, since):+.3f} since then, to {r.end:.3f}",
        ),
        remedies.against_length_collapse(RunWords.of(facts.log)),
        since,
    )


def repetition(facts: Facts, t: Thresholds) -> Finding | None:
    share = facts.course("repetition")
    if share is None or len(share) < t.min_points or share.end < t.repetition:
        return None
    if share.end < _REPEATS_FROM * share.start:
        return None  # as it was: the prompts' own kind
    since = onset_of(share, (share.start + share.end) / 2, above=True)
    return Finding(
        "repetition",
        "completions repeat themselves",
        (f"repeated text rose from {share.start:.0%} to {share.end:.0%}{at(since)}",),
        remedies.against_repetition(RunWords.of(facts.log)),
        since,
    )


@dataclass(frozen=True)
class _Worth:
    """What answers have gained by another measure than the reward: in its own units, where it was, and its noise."""

    what: str
    gain: float
    before: float
    noise: float

    def keeps_up(self, paid: float, before: float, share: float) -> bool:
        """Whether it gains enough of what the reward does, within its noise; a harder test set gains less in units."""
        most = self.gain + self.noise / 2
        own = most / self.before if self.before > 0 else math.inf if self.gain > self.noise else 0.0
        return most >= share * paid or own >= share * paid / max(before, 1e-9)


def _worth(facts: Facts, since: float) -> _Worth | None:
    for what, course in (
        ("the held-out score", facts.held_out),
        ("accuracy", facts.accuracy),
        ("the sum of its parts", _sum_of_parts(facts, since)),
    ):
        if course is not None and len(course) >= _FEWEST_SCORES:
            gain = gain_since(course, since)
            return _Worth(what, gain, course.end - gain, _SIGMAS * noise(course))
    return None


def _sum_of_parts(facts: Facts, until: float) -> Trend | None:
    """The parts' sum, where it was the reward up to a step."""
    r, scale = facts.reward, facts.scale
    if r is None or scale is None or not facts.parts or any(len(p) != len(r) for p in facts.parts.values()):
        return None
    values = np.sum([p.values for p in facts.parts.values()], axis=0)
    early = r.steps <= until
    if not early.any() or float(np.median(np.abs(values - r.values)[early])) > _SUM * scale.span:
        return None
    return Trend(r.steps, values)


def _rose_before(step: float, facts: Facts, t: Thresholds) -> bool:
    h = facts.entropy
    rose = None if h is None else h.first_step_beyond(h.start * (1 + t.explosion_ratio) / 2, above=True)
    return rose is not None and rose < step


def _crashed_before(step: float, facts: Facts, t: Thresholds) -> bool:
    lost = None if facts.reward is None else lost_reward(facts, t)[1]
    return lost is not None and lost <= step
