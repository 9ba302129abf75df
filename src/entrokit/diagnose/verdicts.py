"""The rules: from facts and thresholds to findings, each with its evidence and what to do.

The verdict of a run is its first finding in the order of `RULES`; the others are told beside it. Causes come before
symptoms: a run whose sampler is not the policy that is trained may well collapse, and that is not what to mend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from entrokit.rlvr import recipe

from . import remedies
from .facts import Course, Facts, Family
from .remedies import Remedy
from .thresholds import Thresholds

VERDICTS = (
    "collapse",
    "premature-convergence",
    "explosion",
    "mismatch",
    "truncation",
    "local-failure",
    "healthy",
    "insufficient-data",
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (or a word that nothing is).

    Attributes:
        verdict: one of `VERDICTS`. cause: in a few words. evidence: sentences with numbers.
        remedies: what fits the cause.
    """

    verdict: str
    cause: str
    evidence: tuple[str, ...]
    remedies: tuple[Remedy, ...] = ()


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


def mismatch(facts: Facts, t: Thresholds) -> Finding | None:
    evidence = []
    if not _changes_sampling(facts):
        surprise, entropy = (
            facts.log.get("sampler_surprise"),
            facts.log.get("trainer_entropy") or facts.log.get("entropy"),
        )
        if surprise is not None and entropy is not None:
            _, own, other = np.intersect1d(entropy.steps, surprise.steps, return_indices=True)
            gap = surprise.values[other] - entropy.values[own]
            gap = gap[len(gap) // 2 :]
            if len(gap) >= t.min_points // 2 and (level := float(entropy.values[own].mean())) > 0:
                sigmas = abs(float(gap.mean())) / max(float(gap.std(ddof=1)) / len(gap) ** 0.5, 1e-12)
                if abs(float(gap.mean())) > t.mismatch_relative * level and sigmas > t.mismatch_sigmas:
                    evidence.append(
                        f"what was sampled has {gap.mean():+.3f} nats of surprise per token over the trained policy's "
                        f"entropy in the second half of the run ({gap.mean() / level:+.0%}, {sigmas:.0f} standard "
                        "errors); drawn from that policy both would be equal"
                    )
        m = facts.digest.mismatch
        if not evidence and abs(m.relative) > t.mismatch_relative and abs(m.sigmas) > t.mismatch_sigmas:
            evidence.append(
                f"over {m.tokens} tokens of completions, surprise differs from entropy by {m.relative:+.0%} "
                f"({abs(m.sigmas):.0f} standard errors)"
            )
    for name, limit, what in (
        ("sampler_logp_gap", t.mismatch_logp, "log-probabilities of rollout engine and trainer differ by {:.3f} nats"),
        ("sampler_kl", t.mismatch_kl, "KL between rollout engine and trainer is {:.3f} nats"),
        ("sampler_prob_gap", t.mismatch_prob, "probabilities of rollout engine and trainer differ by {:.3f}"),
    ):
        series = facts.log.get(name)
        if series is not None and (late := Course(series.steps, series.values).end) > limit:
            evidence.append(what.format(late) + f" late in the run (limit {limit:g})")
    series = facts.log.get("sampler_correlation")
    if series is not None and (late := Course(series.steps, series.values).end) < t.mismatch_correlation:
        evidence.append(f"probabilities of rollout engine and trainer correlate by {late:.3f} only")
    m = facts.digest.mismatch
    if m.logp_tokens and m.logp_gap / m.logp_tokens > t.mismatch_logp:
        evidence.append(f"log-probabilities in the completions differ by {m.logp_gap / m.logp_tokens:.3f} nats a token")
    if not evidence:
        return None
    return Finding(
        "mismatch",
        "what samples is not the policy that is trained",
        tuple(evidence),
        remedies.against_mismatch(facts.log.config),
    )


def truncation(facts: Facts, t: Thresholds) -> Finding | None:
    cut = facts.truncated
    if cut is None or cut.end < t.truncated:
        return None
    began = cut.first_step_beyond(t.truncated, above=True)
    if began is not None and (_rose_before(began, facts, t) or _crashed_before(began, facts, t)):
        return None  # long completions are the consequence, not the cause
    evidence = [f"{cut.end:.0%} of the completions are cut at the length limit late in the run ({cut.start:.0%} early)"]
    if facts.entropy is not None:
        evidence.append(f"entropy went from {facts.entropy.start:.2f} to {facts.entropy.end:.2f} nats meanwhile")
    return Finding(
        "truncation", "the length limit is too short", tuple(evidence), remedies.against_truncation(facts.log.config)
    )


def explosion(facts: Facts, t: Thresholds) -> Finding | None:
    h, r = facts.entropy, facts.reward
    if h is None or h.ratio < t.explosion_ratio or h.end - h.start < t.explosion_rise:
        return None
    gained = r is not None and r.end > r.start + _noise(r) and r.end >= 0.9 * r.best
    if gained and h.ratio < 2 * t.explosion_ratio:
        return None
    evidence = [f"entropy rose from {h.start:.2f} to {h.end:.2f} nats ({h.ratio:.1f} times)"]
    if r is not None:
        evidence.append(f"reward went from {r.start:.3f} to {r.end:.3f}, its best was {r.best:.3f}")
    if "entropy-bonus" in str(facts.log.config.get("recipe", "")):
        evidence.append(f"the recipe pays for entropy: {facts.log.config['recipe']}")
    return Finding(
        "explosion", "entropy pays more than the reward", tuple(evidence), remedies.against_explosion(facts.log.config)
    )


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
        remedies.against_local_failure(family.name),
    )


def few_prompts(facts: Facts, t: Thresholds) -> Finding | None:
    d = facts.digest
    if not d.rows or d.prompts > t.few_prompts or d.appearances < 2 * d.prompts:
        return None
    evidence = [f"{d.prompts} distinct prompts in {d.rows} completions"]
    if facts.reward is not None:
        evidence.append(f"their reward went from {facts.reward.start:.2f} to {facts.reward.end:.2f}")
    if facts.entropy is not None:
        evidence.append(f"entropy went from {facts.entropy.start:.2f} to {facts.entropy.end:.2f} nats")
    return Finding(
        "premature-convergence", "the same prompts again and again", tuple(evidence), remedies.against_few_prompts()
    )


def no_signal(facts: Facts, t: Thresholds) -> Finding | None:
    r, flat = facts.reward, facts.flat_groups
    constant = r is not None and len(r) >= t.min_points and float(np.ptp(r.values)) <= 1e-9 * max(1.0, abs(r.best))
    always = flat is not None and float(flat.values.min()) >= t.no_signal
    if not constant and not always:
        return None
    evidence = []
    if r is not None and constant:
        evidence.append(f"the mean reward is {r.end:g} at all {len(r)} points")
    if flat is not None:
        evidence.append(f"{flat.values.mean():.0%} of the groups have equal rewards, from the first step on")
    if facts.entropy is not None:
        evidence.append(f"entropy went from {facts.entropy.start:.2f} to {facts.entropy.end:.2f} nats")
    return Finding(
        "premature-convergence", "the reward tells nothing apart", tuple(evidence), remedies.against_no_signal()
    )


def crash(facts: Facts, t: Thresholds) -> Finding | None:
    r = facts.reward
    if r is None or len(r) < t.min_points:
        return None
    best, lost = _lost_reward(r, t)
    if lost is None:
        return None
    evidence = [f"reward fell from {best:.3f} to {r.end:.3f}, at step {lost:g}, and did not come back"]
    if facts.entropy is not None:
        evidence.append(f"entropy went from {facts.entropy.start:.2f} to {facts.entropy.end:.2f} nats")
    rate = facts.log.config.get("learning_rate")
    if rate is not None:
        evidence.append(f"the learning rate was {rate:g}")
    if facts.accounts:
        worst = max(facts.accounts, key=lambda a: abs(a.measured))
        evidence.append(
            f"the step after {worst.step} alone changed entropy by {worst.measured:+.3f} nats where the first order "
            f"says {worst.predicted:+.3f}"
        )
    return Finding(
        "collapse", "the policy fell apart: steps too large", tuple(evidence), remedies.against_crash(facts.log.config)
    )


def collapse(facts: Facts, t: Thresholds) -> Finding | None:
    h = facts.entropy
    if h is None or h.ratio > t.collapse_ratio or _solved(facts, t):
        return None
    half = h.first_step_beyond((h.start + h.end) / 2, above=False)
    evidence = [f"entropy fell from {h.start:.2f} to {h.end:.2f} nats ({h.ratio:.0%} of its start)"]
    if half is not None:
        evidence.append(f"half of that was lost by step {half:g} of {h.steps[-1]:g}")
    if facts.reward is not None:
        evidence.append(f"reward went from {facts.reward.start:.3f} to {facts.reward.end:.3f}")
    return Finding(
        "collapse",
        "entropy was spent",
        (*evidence, *_where_it_went(facts)),
        remedies.against_loss(facts.log.config, facts.quadrants),
    )


def plateau(facts: Facts, t: Thresholds) -> Finding | None:
    h, r = facts.entropy, facts.reward
    if h is None or r is None or len(r) < 2 * t.min_points or h.ratio > t.plateau_entropy or _solved(facts, t):
        return None
    middle, last = r.part(0.4, 0.6), r.part(0.8, 1.0)
    gain, total = float(last.mean() - middle.mean()), float(last.mean() - r.start)
    error = (float(middle.var(ddof=1)) / len(middle) + float(last.var(ddof=1)) / len(last)) ** 0.5
    if gain + 1.64 * error > t.plateau_gain * max(total, 0.0) and gain + 1.64 * error > 0.02 * max(abs(r.best), 1e-12):
        return None
    evidence = [
        f"reward has not risen since the middle of the run ({middle.mean():.3f} to {last.mean():.3f}; "
        f"{r.start:.3f} at the start)",
        f"entropy fell from {h.start:.2f} to {h.end:.2f} nats ({h.ratio:.0%} of its start)",
    ]
    return Finding(
        "premature-convergence",
        "entropy was spent before the reward was found",
        (*evidence, *_where_it_went(facts)),
        remedies.against_plateau(facts.log.config),
    )


def healthy(facts: Facts, t: Thresholds) -> Finding | None:
    h, r = facts.entropy, facts.reward
    evidence = [f"entropy went from {h.start:.2f} to {h.end:.2f} nats ({h.ratio:.0%} of its start)"] if h else []
    if r is not None:
        evidence.append(f"reward went from {r.start:.3f} to {r.end:.3f}")
    else:
        evidence.append("no reward was written: only entropy could be judged")
    return Finding("healthy", "nothing is wrong by the rules", tuple(evidence))


RULES: tuple[Rule, ...] = (
    insufficient,
    mismatch,
    truncation,
    explosion,
    local_failure,
    no_signal,
    crash,
    few_prompts,
    collapse,
    plateau,
    healthy,
)


def findings_of(facts: Facts, thresholds: Thresholds) -> list[Finding]:
    """Every rule that fires, in order of precedence; the last resort is that nothing is wrong."""
    found: list[Finding] = []
    for rule in RULES:
        finding = rule(facts, thresholds)
        if finding is None or (rule is healthy and found):
            continue
        found.append(finding)
        if rule is insufficient:
            break
    return found


def _where_it_went(facts: Facts) -> list[str]:
    losses = {q: -v for q, v in facts.quadrants.items() if v < 0}
    if not losses:
        return []
    total = sum(losses.values())
    worst = max(losses, key=lambda q: losses[q])
    by = f"{len(facts.accounts)} accounts of steps" if facts.accounts else "the free-logit estimate on the completions"
    return [f"{losses[worst] / total:.0%} of the tokens' loss of entropy came from {_words(worst)} (by {by})"]


def _words(name: str) -> str:
    kind, _, sign = name.partition(", advantage ")
    return f"{kind} tokens with {'positive' if sign == '> 0' else 'negative'} advantage"


def _solved(facts: Facts, t: Thresholds) -> bool:
    for course in (facts.accuracy, facts.reward):
        if course is not None and course.values.min() >= 0.0 and course.values.max() <= 1.0 + 1e-9:
            return course.end >= t.solved
    return False


def _noise(course: Course) -> float:
    """Standard error of a tenth's mean, from point to point."""
    if len(course) < 3:
        return 0.0
    return float(np.diff(course.values).std() / 2**0.5 / course.window**0.5)


def _lost_reward(r: Course, t: Thresholds) -> tuple[float, float | None]:
    """The best reward, single early points included, and the step at which it was lost for good; None if it was not."""
    best = float(max(r.best, r.values[: r.window].max()))
    if best <= 0 or r.end > t.crash_share * best or best < _noise(r):
        return best, None
    above = np.flatnonzero(r.values > 0.5 * best)
    return best, float(r.steps[min(int(above[-1]) + 1, len(r) - 1)])


def _rose_before(step: float, facts: Facts, t: Thresholds) -> bool:
    h = facts.entropy
    rose = None if h is None else h.first_step_beyond(h.start * (1 + t.explosion_ratio) / 2, above=True)
    return rose is not None and rose < step


def _crashed_before(step: float, facts: Facts, t: Thresholds) -> bool:
    lost = None if facts.reward is None else _lost_reward(facts.reward, t)[1]
    return lost is not None and lost <= step


def _changes_sampling(facts: Facts) -> bool:
    """Whether the recipe itself samples from something else than the policy."""
    try:
        return bool(recipe(str(facts.log.config["recipe"])).decodes)
    except (KeyError, ValueError, TypeError):
        return False


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
        if h.ratio >= t.explosion_ratio and h.end - h.start >= t.explosion_rise and whole.ratio < t.explosion_ratio:
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


_FEWEST_POINTS = 6


def _error(values: np.ndarray, rows: np.ndarray | None) -> float:
    """Standard error of a mean over points: from their spread, and from the number of completions of 0/1 rewards."""
    spread = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    if rows is None:
        return spread
    mean = float(np.average(values, weights=rows))
    counted = (max(mean * (1 - mean), 0.0) / float(rows.sum())) ** 0.5 if 0 <= mean <= 1 else 0.0
    return max(spread, counted)
