"""Rules that recognise a cause, whatever it has done to entropy so far: sampler, length limit, prompts, reward."""

from __future__ import annotations

import numpy as np

from . import remedies
from .facts import Facts, Family, Trend, lost_reward
from .finding import Finding
from .logged_recipe import changes_sampling
from .thresholds import Thresholds

# Points of a family below which it is not judged.
_FEWEST_POINTS = 6


def mismatch(facts: Facts, t: Thresholds) -> Finding | None:
    surprise = (
        [] if changes_sampling(facts.log.config) else _surprise_gap(facts, t) or _surprise_of_completions(facts, t)
    )
    evidence = (*surprise, *_reported_gaps(facts, t))
    if not evidence:
        return None
    return Finding(
        "mismatch",
        "sampling and training policies differ",
        evidence,
        remedies.against_mismatch(remedies.RunWords.of(facts.log)),
    )


def _surprise_gap(facts: Facts, t: Thresholds) -> list[str]:
    """Drawn from the policy that is trained, tokens are as surprising on average as its entropy says."""
    surprise, entropy = facts.log.get("sampler_surprise"), facts.log.get("trainer_entropy") or facts.log.get("entropy")
    if surprise is None or entropy is None:
        return []
    _, own, other = np.intersect1d(entropy.steps, surprise.steps, return_indices=True)
    late = slice(len(own) // 2, None)
    level, gaps = entropy.values[own][late], (surprise.values[other] - entropy.values[own])[late]
    if len(gaps) < t.min_points // 2 or level.mean() <= 0:
        return []
    gap = float(gaps.mean())
    share, sigmas = gap / float(level.mean()), abs(gap) / max(float(gaps.std(ddof=1)) / len(gaps) ** 0.5, 1e-12)
    if abs(share) <= t.mismatch_relative or sigmas <= t.mismatch_sigmas:
        return []
    return [
        f"what was sampled has {gap:+.3f} nats of surprise per token over the trained policy's entropy in the second "
        f"half of the run ({share:+.0%}, {min(sigmas, 999):.0f} standard errors); drawn from that policy both would be "
        "equal"
    ]


def _surprise_of_completions(facts: Facts, t: Thresholds) -> list[str]:
    m = facts.digest.mismatch
    if abs(m.relative) <= t.mismatch_relative or abs(m.sigmas) <= t.mismatch_sigmas:
        return []
    return [
        f"over {m.tokens} tokens of completions, surprise differs from entropy by {m.relative:+.0%} "
        f"({abs(m.sigmas):.0f} standard errors)"
    ]


def _reported_gaps(facts: Facts, t: Thresholds) -> list[str]:
    """What engines report of how far their log-probabilities and the trainer's lie apart."""
    evidence = []
    for name, limit, what in (
        ("sampler_logp_gap", t.mismatch_logp, "log-probabilities of rollout engine and trainer differ by {:.3f} nats"),
        ("sampler_kl", t.mismatch_kl, "KL between rollout engine and trainer is {:.3f} nats"),
        ("sampler_prob_gap", t.mismatch_prob, "probabilities of rollout engine and trainer differ by {:.3f}"),
    ):
        series = facts.log.get(name)
        if series is not None and (late := Trend.of(series).end) > limit:
            evidence.append(what.format(late) + f" late in the run (limit {limit:g})")
    sampler, trainer = (facts.log.get(name) for name in ("sampler_logp", "trainer_logp"))
    if sampler is not None and trainer is not None:
        _, own, other = np.intersect1d(sampler.steps, trainer.steps, return_indices=True)
        gaps = np.abs(sampler.values[own] - trainer.values[other])[len(own) // 2 :]
        if len(gaps) and gaps.mean() > t.mismatch_logp:
            evidence.append(f"mean log-probabilities of rollout engine and trainer differ by {gaps.mean():.3f} nats")
    series = facts.log.get("sampler_correlation")
    if series is not None and (late := Trend.of(series).end) < t.mismatch_correlation:
        evidence.append(f"probabilities of rollout engine and trainer correlate by {late:.3f} only")
    m = facts.digest.mismatch
    if m.logp_tokens and m.logp_gap / m.logp_tokens > t.mismatch_logp:
        evidence.append(f"log-probabilities in the completions differ by {m.logp_gap / m.logp_tokens:.3f} nats a token")
    return evidence


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
        "truncation",
        "the length limit is too short",
        tuple(evidence),
        remedies.against_truncation(remedies.RunWords.of(facts.log)),
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
        remedies.against_local_failure(remedies.RunWords.of(facts.log), family.name),
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
        "premature-convergence",
        "the same prompts again and again",
        tuple(evidence),
        remedies.against_few_prompts(remedies.RunWords.of(facts.log)),
    )


def no_signal(facts: Facts, t: Thresholds) -> Finding | None:
    r, flat = facts.reward, facts.flat_groups
    constant = r is not None and len(r) >= t.min_points and float(np.ptp(r.values)) <= 1e-9 * max(1.0, abs(r.best))
    always = flat is not None and float(flat.values.min()) >= t.no_signal
    groups, equal = facts.digest.groups, facts.digest.flat_groups
    always = always or (flat is None and groups >= t.min_points and equal >= t.no_signal * groups)
    if not constant and not always:
        return None
    evidence = []
    if r is not None and constant:
        evidence.append(f"the mean reward is {r.end:g} at all {len(r)} points")
    if flat is not None:
        evidence.append(f"{flat.values.mean():.0%} of the groups have equal rewards, from the first step on")
    elif groups:
        evidence.append(f"{equal} of {groups} groups of completions have equal rewards")
    if facts.entropy is not None:
        evidence.append(f"entropy went from {facts.entropy.start:.2f} to {facts.entropy.end:.2f} nats")
    return Finding(
        "premature-convergence",
        "all completions of a prompt get the same reward",
        tuple(evidence),
        remedies.against_no_signal(remedies.RunWords.of(facts.log)),
    )


def _rose_before(step: float, facts: Facts, t: Thresholds) -> bool:
    h = facts.entropy
    rose = None if h is None else h.first_step_beyond(h.start * (1 + t.explosion_ratio) / 2, above=True)
    return rose is not None and rose < step


def _crashed_before(step: float, facts: Facts, t: Thresholds) -> bool:
    lost = None if facts.reward is None else lost_reward(facts.reward, t)[1]
    return lost is not None and lost <= step


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


def _error(values: np.ndarray, rows: np.ndarray | None) -> float:
    """Standard error of a mean over points: from their spread, and from the number of completions of 0/1 rewards."""
    spread = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    if rows is None:
        return spread
    mean = float(np.average(values, weights=rows))
    counted = (max(mean * (1 - mean), 0.0) / float(rows.sum())) ** 0.5 if 0 <= mean <= 1 else 0.0
    return max(spread, counted)
