"""Rules about whether rewards tell completions apart: never, no longer, or no longer because all are right."""

from __future__ import annotations

import numpy as np

from .. import remedies
from ..facts import Facts
from ..finding import Finding
from ..remedies import RunWords
from ..rewards import easy, solved
from ..thresholds import Thresholds
from ..trend import Trend, noise, onset_of
from ..words import at, nats

# Standard errors of a tenth's mean, and share of the groups, by which the flat ones must have grown.
_SIGMAS, _MORE_FLAT = 4.0, 0.2
# A gain of this share of the scale, beyond noise: whatever the groups tell, it was enough to learn from.
_LEARNT = 0.1


def no_signal(facts: Facts, t: Thresholds) -> Finding | None:
    """Nothing to learn from, from the start on: rewards that are all equal, or that hardly ever leave their floor."""
    r, flat, scale = facts.reward, facts.flat_groups, facts.scale
    enough = r is not None and len(r) >= t.min_points
    constant = enough and r is not None and float(np.ptp(r.values)) <= 1e-9 * max(1.0, abs(r.best))
    always = flat is not None and float(flat.values.min()) >= t.no_signal
    groups, equal = facts.digest.groups, facts.digest.flat_groups
    always = always or (flat is None and groups >= t.min_points and equal >= t.no_signal * groups)
    at_floor = (
        enough
        and r is not None
        and scale is not None
        and scale.known
        and not constant
        and scale.share(max(r.best, r.start)) <= t.reward_floor
    )
    if not constant and not always and not at_floor:
        return None
    evidence = []
    if r is not None and constant:
        evidence.append(f"the mean reward is {r.end:g} at all {len(r)} points")
    if r is not None and at_floor:
        evidence.append(
            f"the reward is {r.start:.2g} at the start and {r.end:.2g} at the end, {r.best:.2g} in its best stretch "
            f"(scale {scale})"
        )
    if flat is not None:
        evidence.append(f"{flat.values.mean():.0%} of the groups have equal rewards, from the first step on")
    elif groups:
        evidence.append(f"{equal} of {groups} groups of completions have equal rewards")
    if facts.entropy is not None:
        evidence.append(f"entropy went from {nats(facts.entropy.start)} to {nats(facts.entropy.end)} nats")
    first = float(r.steps[0]) if r is not None else float(flat.steps[0]) if flat is not None else None
    if constant or always:
        cause, remedy = (
            "all completions of a prompt get the same reward",
            remedies.against_no_signal(RunWords.of(facts.log)),
        )
    else:
        cause, remedy = "the reward hardly ever leaves its floor", remedies.against_no_learning(RunWords.of(facts.log))
    return Finding("no-signal", cause, tuple(evidence), remedy, first)


def flat_from_the_start(facts: Facts, t: Thresholds) -> Finding | None:
    """Most groups flat all along, and the reward low: prompts too hard, or a verifier that finds little right."""
    flat, r = facts.flat_groups, facts.reward
    if flat is None or r is None or len(flat) < t.min_points or no_signal(facts, t) is not None or easy(facts, t):
        return None
    if min(flat.start, flat.end, float(np.median(flat.values))) < t.flat_groups:
        return None
    if facts.scale is not None and r.end - r.start >= max(_LEARNT * facts.scale.span, _SIGMAS * noise(r)):
        return None
    low = facts.scale is not None and facts.scale.known and facts.scale.share(r.end) <= t.hard
    evidence = (
        f"{flat.start:.0%} of the groups have equal rewards at the start and {flat.end:.0%} at the end",
        f"reward went from {r.start:.3f} to {r.end:.3f}" + (f" (scale {facts.scale})" if low else ""),
    )
    cause = "too hard: hardly any answer is right" if low else "most groups tell nothing apart"
    return Finding(
        "no-signal",
        cause,
        evidence,
        remedies.against_no_learning(RunWords.of(facts.log))
        if low
        else remedies.against_no_learning(RunWords.of(facts.log), "flat"),
        float(flat.steps[0]),
    )


def signal_lost(facts: Facts, t: Thresholds) -> Finding | None:
    """Groups became flat, or advantages shrank to nothing, and the prompts are not solved."""
    if solved(facts, t):
        return None
    evidence, onsets = [], []
    flat = None if easy(facts, t) else facts.flat_groups
    if (
        flat is not None
        and len(flat) >= t.min_points
        and flat.start < t.flat_groups <= flat.end
        and _moved(flat, _MORE_FLAT)
    ):
        since = onset_of(flat, (flat.start + flat.end) / 2, above=True)
        evidence.append(f"groups with equal rewards rose from {flat.start:.0%} to {flat.end:.0%}{at(since)}")
        onsets.append(since)
    for name, what in (
        ("advantage.std", "the spread of the advantages"),
        ("reward.group_std", "the spread of rewards within a group"),
    ):
        spread = facts.course(name)
        if spread is None or len(spread) < t.min_points or spread.start <= 1e-6:
            continue
        if spread.end <= t.spread_lost * spread.start and _moved(spread):
            since = onset_of(spread, (spread.start + spread.end) / 2, above=False)
            evidence.append(f"{what} fell from {spread.start:.3g} to {spread.end:.3g}{at(since)}")
            onsets.append(since)
    if not evidence:
        return None
    if facts.reward is not None:
        evidence.append(f"reward was {facts.reward.end:.3f} by then: not solved")
    known = [o for o in onsets if o is not None]
    return Finding(
        "no-signal",
        "the signal was lost: groups tell nothing apart any more",
        tuple(evidence),
        remedies.against_no_learning(RunWords.of(facts.log), "flat"),
        min(known, default=None),
    )


def _moved(course: Trend, least: float = 0.0) -> bool:
    """Whether a course ended elsewhere than it began, beyond what the noise of both ends explains."""
    return abs(course.end - course.start) >= max(least, _SIGMAS * noise(course))


def too_easy(facts: Facts, t: Thresholds) -> Finding | None:
    """Most groups are flat because they are solved: no failure, and yet most of the sampling teaches nothing."""
    flat, r = facts.flat_groups, facts.reward
    if flat is None or r is None or len(flat) < t.min_points or flat.end < t.flat_groups or not easy(facts, t):
        return None
    since = onset_of(flat, t.flat_groups, above=True)
    return Finding(
        "too-easy",
        "the prompts are solved: most groups teach nothing any more",
        (
            f"{flat.end:.0%} of the groups have equal rewards at the end ({flat.start:.0%} at the start){at(since)}",
            f"reward is {r.end:.3f} (scale {facts.scale})",
        ),
        remedies.against_no_learning(RunWords.of(facts.log), "ceiling"),
        since,
    )
