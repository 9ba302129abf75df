"""Rules about the update itself: how far from the reference it has gone, how large its steps are, what is clipped."""

from __future__ import annotations

import numpy as np

from .. import remedies
from ..facts import Facts
from ..finding import Finding
from ..remedies import RunWords
from ..thresholds import Thresholds
from ..trend import Trend, onset_of
from ..words import at, number

# A divergence that still accelerates: its end against its middle; a line would double.
_ACCELERATES = 3.0
# From this multiple of the limit on it has blown up whatever its course.
_FAR = 4.0
# A median of fewer points than twice this, of a divergence that is estimated from a batch, is off by half of itself.
_FEWEST_AROUND = 4
# KL by position: this many times a bucket's fair share is too much of it.
_PLACES, _FAIR = "kl.position/", 3.0
# Spikes are looked for after this share of a run (a warm-up's first steps are large), beyond this many robust standard
# deviations of the logarithm, and they are few.
_WARM_UP, _ROBUST_SIGMAS, _MOST_SPIKES = 0.05, 6.0, 0.2


def kl_blow_up(facts: Facts, t: Thresholds) -> Finding | None:
    """The policy leaves its reference ever faster. Medians: single steps of an estimator may be far off."""
    kl = facts.course("kl")
    if kl is None or len(kl) < 2 * t.min_points:
        return None
    early = max(float(np.median(kl.part(0.0, 0.25))), float(np.median(kl.part(0.0, 0.1))), 1e-6)
    half = max(len(kl) // 20, _FEWEST_AROUND)
    middle = float(np.median(kl.values[len(kl) // 2 - half : len(kl) // 2 + half]))
    late = float(np.median(kl.values[-2 * half :]))
    if late < t.kl_blow_up or late < t.kl_growth * early:
        return None
    if late < _ACCELERATES * middle and late < _FAR * t.kl_blow_up:
        return None
    since = onset_of(kl, max(t.kl_blow_up, early), above=True)
    evidence = [
        f"KL to the reference went from {early:.2g} early to {middle:.2g} in the middle and {late:.2g} nats late"
    ]
    if since is not None:
        evidence.append(f"it is above {t.kl_blow_up:g} nats from step {since:g} on")
    if facts.reward is not None:
        evidence.append(f"reward went from {facts.reward.start:.3f} to {facts.reward.end:.3f}")
    return Finding(
        "kl-blow-up",
        "the policy runs away from its reference",
        tuple(evidence),
        remedies.against_kl_blow_up(RunWords.of(facts.log)),
        since,
    )


def kl_at_one_place(facts: Facts, t: Thresholds) -> Finding | None:
    """Most of the KL comes to lie in one stretch of the positions: the start or the end of completions drifts alone."""
    names = sorted(n for n in facts.log.series if n.startswith(_PLACES))
    places = {n.removeprefix(_PLACES): c for n in names if (c := facts.course(n)) is not None}
    if len(places) < 3 or any(len(c) < 2 * t.min_points for c in places.values()):
        return None
    early, late = (sum(getattr(c, when) for c in places.values()) for when in ("start", "end"))
    where, worst = max(places.items(), key=lambda item: item[1].end)
    if late <= 0 or early <= 0 or worst.start <= 0 or worst.end < _FAIR * late / len(places):
        return None
    if worst.end < t.kl_growth * worst.start or worst.end / late < 2.0 * worst.start / early:
        return None
    since = onset_of(worst, (worst.start + worst.end) / 2, above=True)
    return Finding(
        "kl-blow-up",
        "one stretch of the positions leaves the reference alone",
        (
            f"KL at position bucket {where} went from {worst.start:.2g} to {worst.end:.2g} nats{at(since)}; "
            f"it holds {worst.end / late:.0%} of all buckets' KL ({worst.start / early:.0%} at the start)",
        ),
        remedies.against_kl_blow_up(RunWords.of(facts.log)),
        since,
    )


def gradient_spikes(facts: Facts, t: Thresholds) -> Finding | None:
    """Single steps, or the last ones, with a gradient many times the usual."""
    norm = facts.course("grad_norm")
    if norm is None or len(norm) < 2 * t.min_points:
        return None
    warm = int(_WARM_UP * len(norm))
    steps, values = norm.steps[warm:], norm.values[warm:]
    positive = values > 0
    if positive.sum() < 2 * t.min_points:
        return None
    steps, values = steps[positive], values[positive]
    grown = _grown(Trend(steps, values), facts, t)
    if grown is not None:
        return grown
    logs = np.log(values)
    usual = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - usual))), 1e-3)
    spikes = (logs - usual >= np.log(t.spike_ratio)) & (logs - usual >= _ROBUST_SIGMAS * spread)
    count = int(spikes.sum())
    if count < t.spikes or count > _MOST_SPIKES * len(values):
        return None
    first, largest = float(steps[spikes][0]), int(np.where(spikes, values, 0).argmax())
    return Finding(
        "gradient-spikes",
        "single steps have a gradient many times the usual",
        (
            f"{count} of {len(values)} steps have a gradient norm of {t.spike_ratio:g} times the median "
            f"({number(float(np.exp(usual)))}) or more, the first at step {first:g}",
            f"the largest is {number(float(values[largest]))} at step {steps[largest]:g}",
        ),
        remedies.against_gradient_spikes(RunWords.of(facts.log)),
        first,
    )


def clip_saturation(facts: Facts, t: Thresholds) -> Finding | None:
    """Much of what is sampled is clipped, and so teaches nothing."""
    share = facts.course("clip_share")
    if share is None:
        low, high = facts.course("clip_share.low"), facts.course("clip_share.high")
        if low is None or high is None or len(low) != len(high):
            return None
        share = Trend(low.steps, low.values + high.values)
    if len(share) < 2 * t.min_points or share.end < t.clip_share:
        return None
    if share.end < 1.5 * share.start and share.start >= t.clip_share / 2:
        return None  # as it always was: a narrow clip, not updates that went too far
    since = onset_of(share, (share.start + share.end) / 2, above=True)
    evidence = [f"the share of clipped tokens rose from {share.start:.0%} to {share.end:.0%}{at(since)}"]
    sides = [(side, c) for side in ("low", "high") if (c := facts.course(f"clip_share.{side}")) is not None]
    if sides:
        evidence.append(", ".join(f"{c.end:.0%} at the {side} side" for side, c in sides))
    return Finding(
        "clip-saturation",
        "most of an update is clipped away",
        tuple(evidence),
        remedies.against_clip_saturation(RunWords.of(facts.log)),
        since,
    )


def _grown(norm: Trend, facts: Facts, t: Thresholds) -> Finding | None:
    """A gradient that has grown for good."""
    usual = float(np.median(norm.part(0.0, 0.5)))
    late = float(np.median(norm.part(0.9, 1.0)))
    if late < t.spike_ratio * usual:
        return None
    since = onset_of(norm, (usual * late) ** 0.5, above=True)
    return Finding(
        "gradient-spikes",
        "the gradient has grown many times over",
        (
            f"the gradient's norm is {number(late)} late in the run, {number(usual)} in its first half "
            f"({late / usual:.0f} times)",
        ),
        remedies.against_gradient_spikes(RunWords.of(facts.log)),
        since,
    )
