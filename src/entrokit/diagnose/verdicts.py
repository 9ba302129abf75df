"""The rules: from facts and thresholds to findings, each with its evidence and what to do.

The verdict of a run is its first finding in the order of `RULES`; the others are told beside it. Causes come before
symptoms: a run whose sampler is not the policy that is trained may well collapse, and that is not what to mend. What is
wrong with the run comes before what is wrong with its log: a metric that cannot be entropy is the verdict only where
nothing else is wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from .facts import Facts
from .finding import Finding
from .remedies import RunWords, against_too_little
from .rewards import solved
from .rules.causes import few_prompts, local_failure
from .rules.courses import collapse, crash, explosion, premature
from .rules.lengths import length_collapse, length_growth, never_ends, repetition, truncation
from .rules.lost import decline
from .rules.numbers import broken_numbers, impossible_entropy
from .rules.rewards import instability, plateau, reward_hacking, reward_imbalance
from .rules.sampling import mismatch
from .rules.signal import flat_from_the_start, no_signal, signal_lost, too_easy
from .rules.supervised import loss_divergence, loss_plateau, overfitting
from .rules.updates import clip_saturation, gradient_spikes, kl_at_one_place, kl_blow_up
from .thresholds import Thresholds
from .words import course_of_entropy

Rule = Callable[[Facts, Thresholds], Finding | None]

RULES: tuple[Rule, ...] = (
    mismatch,
    never_ends,
    truncation,
    explosion,
    local_failure,
    no_signal,
    reward_hacking,
    crash,
    few_prompts,
    length_growth,
    length_collapse,
    repetition,
    clip_saturation,
    collapse,
    kl_blow_up,
    kl_at_one_place,
    gradient_spikes,
    flat_from_the_start,
    signal_lost,
    reward_imbalance,
    instability,
    decline,
    premature,
    plateau,
)
"""In order of precedence, after `broken_numbers`, which comes before all."""

SUPERVISED: tuple[Rule, ...] = (loss_divergence, overfitting, gradient_spikes, loss_plateau)
"""The rules of runs that have a loss and no reward."""


def insufficient(facts: Facts, t: Thresholds) -> Finding | None:
    if facts.doubt is not None and not facts.doubt.usable and facts.reward is not None:
        return None if len(facts.reward) >= t.min_points else _too_little(facts, t, len(facts.reward), "reward")
    points = 0 if facts.entropy is None else len(facts.entropy)
    return None if points >= t.min_points else _too_little(facts, t, points, "entropy")


def _too_little(facts: Facts, t: Thresholds, points: int, what: str) -> Finding:
    has = f"{points} point{'s' if points > 1 else ''} of {what}" if points else f"no {what}"
    r, alone = facts.reward, []
    if what == "entropy" and r is not None and len(r) >= t.min_points:
        alone = [f"reward went from {r.start:.3f} to {r.end:.3f}: only what can be told without entropy was judged"]
    return Finding(
        "insufficient-data",
        "too little was written",
        (f"{has}; at least {t.min_points} are needed", *alone, f"read as: {facts.log.source}"),
        against_too_little(RunWords.of(facts.log), begun=points > 0),
    )


def healthy(facts: Facts, t: Thresholds) -> Finding:
    h, r = facts.entropy, facts.reward
    evidence = [f"entropy went {course_of_entropy(h)}"] if h else []
    if r is not None:
        top = f": solved (scale {facts.scale})" if solved(facts, t) else ""
        evidence.append(f"reward went from {r.start:.3f} to {r.end:.3f}{top}")
    elif facts.log.kind != "supervised":
        evidence.append("no reward was written: only entropy could be judged")
    correlation = facts.course("sampler_correlation")
    if correlation is not None and correlation.end < t.mismatch_correlation:
        evidence.append(
            f"probabilities of rollout engine and trainer correlate by {correlation.end:.3f}, as at the start, "
            "and their gap is small: rounding, as in mixtures of experts"
        )
    for name, what in (("loss", "loss"), ("eval_loss", "evaluation loss")):
        course = facts.course(name)
        if facts.log.kind == "supervised" and course is not None:
            evidence.append(f"{what} went from {course.values[0]:.3g} to {course.end:.3g}")
    return Finding("healthy", "nothing is wrong by the rules", tuple(evidence))


def findings_of(facts: Facts, thresholds: Thresholds) -> list[Finding]:
    """Every rule that fires, in order of precedence; a run of which too little is known, or nothing is wrong, is last.

    A run with rewards but without entropy (rollouts alone) is judged by what rewards and completions tell. What is told
    beside a sound run (prompts that are solved) follows ``healthy``.
    """
    t = thresholds
    broken = _said(broken_numbers(facts, t))
    if facts.log.kind == "supervised":
        loss = facts.course("loss")
        points = 0 if loss is None else len(loss)
        found = broken + [f for rule in SUPERVISED if points >= t.min_points for f in _said(rule(facts, t))]
        if points < t.min_points and not broken:
            return [_too_little(facts, t, points, "loss")]
        return found or [healthy(facts, t)]
    too_little = insufficient(facts, t)
    judged = too_little is None or (facts.reward is not None and len(facts.reward) >= t.min_points)
    found = broken + [f for rule in RULES if judged for f in _said(rule(facts, t))]
    doubt, easy = _said(impossible_entropy(facts, t)), _said(too_easy(facts, t)) if judged else []
    if too_little is not None:
        return [*found, *doubt] if broken else [*found, *doubt, too_little, *easy]
    return [*found, *doubt, *easy] if found else [*doubt, healthy(facts, t), *easy]


def _said(finding: Finding | None) -> list[Finding]:
    return [] if finding is None else [finding]
