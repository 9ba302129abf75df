"""The rules: from facts and thresholds to findings, each with its evidence and what to do.

The verdict of a run is its first finding in the order of `RULES`; the others are told beside it. Causes come before
symptoms: a run whose sampler is not the policy that is trained may well collapse, and that is not what to mend.
"""

from __future__ import annotations

from collections.abc import Callable

from .facts import Facts
from .finding import Finding
from .remedies import Remedy
from .rules_of_causes import few_prompts, local_failure, mismatch, no_signal, truncation
from .rules_of_courses import collapse, crash, explosion, plateau
from .thresholds import Thresholds

Rule = Callable[[Facts, Thresholds], Finding | None]


def insufficient(facts: Facts, t: Thresholds) -> Finding | None:
    points = 0 if facts.entropy is None else len(facts.entropy)
    if points >= t.min_points:
        return None
    has = f"{points} points of entropy" if facts.entropy is not None else "no entropy"
    return Finding(
        "insufficient-data",
        "too little was written",
        (f"{has}; at least {t.min_points} are needed", f"read as: {facts.log.source}"),
        (Remedy("log entropy and reward at every step: a CSV with step,reward,entropy is enough"),),
    )


def healthy(facts: Facts, t: Thresholds) -> Finding:
    h, r = facts.entropy, facts.reward
    evidence = [f"entropy went from {h.start:.2f} to {h.end:.2f} nats ({h.ratio:.0%} of its start)"] if h else []
    if r is not None:
        evidence.append(f"reward went from {r.start:.3f} to {r.end:.3f}")
    else:
        evidence.append("no reward was written: only entropy could be judged")
    return Finding("healthy", "nothing is wrong by the rules", tuple(evidence))


RULES: tuple[Rule, ...] = (
    mismatch,
    truncation,
    explosion,
    local_failure,
    no_signal,
    crash,
    few_prompts,
    collapse,
    plateau,
)
"""In order of precedence."""


def findings_of(facts: Facts, thresholds: Thresholds) -> list[Finding]:
    """Every rule that fires, in order of precedence; a run of which too little is known, or nothing is wrong, is last.

    A run with rewards but without entropy (rollouts alone) is judged by what rewards and completions tell.
    """
    too_little = insufficient(facts, thresholds)
    judged = too_little is None or (facts.reward is not None and len(facts.reward) >= thresholds.min_points)
    found = [finding for rule in RULES if judged and (finding := rule(facts, thresholds)) is not None]
    if too_little is not None:
        return [*found, too_little]
    return found or [healthy(facts, thresholds)]
