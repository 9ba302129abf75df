"""Rules that recognise a cause in the prompts: one family that went wrong alone, and the same few again and again."""

from __future__ import annotations

import numpy as np

from .. import remedies
from ..facts import Facts, Family
from ..finding import Finding
from ..remedies import RunWords
from ..thresholds import Thresholds
from ..trend import noise
from ..words import nats

# Points of a family below which it is not judged.
_FEWEST_POINTS = 6
# How much more a rise must be where a few points alone tell the noise.
_FEW = 3.0


def local_failure(facts: Facts, t: Thresholds) -> Finding | None:
    failed = [(f, said) for f in facts.families if (said := _failure(f, facts, t)) is not None]
    names = {f.name for f, _ in failed}
    others = [f for f in facts.families if f.name not in names]
    if not failed or not others or 2 * sum(map(_holds, others)) < len(facts.families):
        return None  # they fell together
    family, _ = failed[0]
    evidence = [said for _, said in failed]
    if facts.reward is not None:
        evidence.append(f"the mean over all prompts went from {facts.reward.start:.3f} to {facts.reward.end:.3f}")
    return Finding(
        "local-failure",
        f"{family.name!r} went wrong alone",
        tuple(evidence),
        remedies.against_local_failure(RunWords.of(facts.log), family.name),
    )


def few_prompts(facts: Facts, t: Thresholds) -> Finding | None:
    d = facts.digest
    if not d.rows or d.prompts > t.few_prompts or d.appearances < 2 * d.prompts:
        return None
    evidence = [f"{d.prompts} distinct prompts in {d.rows} completions"]
    if facts.reward is not None:
        evidence.append(f"their reward went from {facts.reward.start:.2f} to {facts.reward.end:.2f}")
    if facts.entropy is not None:
        evidence.append(f"entropy went from {nats(facts.entropy.start)} to {nats(facts.entropy.end)} nats")
    return Finding(
        "premature-convergence",
        "the same prompts again and again",
        tuple(evidence),
        remedies.against_few_prompts(RunWords.of(facts.log)),
    )


def _failure(family: Family, facts: Facts, t: Thresholds) -> str | None:
    r, h, whole = family.reward, family.entropy, facts.entropy
    if r is not None and len(r) >= _FEWEST_POINTS:
        third = max(1, len(r) // 3)
        values, rows = r.values, family.rows
        weights = np.ones(len(values)) if rows is None else rows
        thirds = [slice(i * third, (i + 1) * third if i < 2 else len(values)) for i in range(3)]
        means = [float(np.average(values[s], weights=weights[s])) for s in thirds]
        errors = [_error(values[s], None if rows is None else rows[s]) for s in thirds]
        best = int(np.argmax(means[:2]))
        drop, error = means[best] - means[2], (errors[best] ** 2 + errors[2] ** 2) ** 0.5
        if drop > max(t.family_drop, 0.5 * means[best]) and drop > t.family_sigmas * error:
            return f"reward of {family.name!r} fell from {means[best]:.3f} to {means[2]:.3f}"
    if h is not None and whole is not None and len(h) >= _FEWEST_POINTS:
        if h.ratio <= t.collapse_ratio < t.collapse_ratio * 1.5 < whole.ratio:
            return f"entropy of {family.name!r} fell to {h.ratio:.0%} of its start, that of all to {whole.ratio:.0%}"
        rise = max(t.explosion_rise, t.family_sigmas * (1.0 + _FEW / len(h) ** 0.5) * noise(h))
        if h.ratio >= t.explosion_ratio and h.end - h.start >= rise and whole.ratio < t.explosion_ratio:
            return f"entropy of {family.name!r} rose {h.ratio:.1f} times, that of all {whole.ratio:.1f} times"
    return None


def _holds(family: Family) -> bool:
    """Whether a family's last third has most of the reward of the better of its first two."""
    r = family.reward
    if r is None or len(r) < _FEWEST_POINTS:
        return True
    third = len(r) // 3
    return float(r.values[2 * third :].mean()) >= 0.7 * max(
        float(r.values[:third].mean()), float(r.values[third : 2 * third].mean())
    )


def _error(values: np.ndarray, rows: np.ndarray | None) -> float:
    """Standard error of a mean over points: from their spread, and from the number of completions of 0/1 rewards."""
    spread = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    if rows is None:
        return spread
    mean = float(np.average(values, weights=rows))
    counted = (max(mean * (1 - mean), 0.0) / float(rows.sum())) ** 0.5 if 0 <= mean <= 1 else 0.0
    return max(spread, counted)
