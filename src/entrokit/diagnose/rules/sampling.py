"""Rules about the two policies of a run: the one that samples, and the one that is trained."""

from __future__ import annotations

import numpy as np

from .. import remedies
from ..facts import Facts
from ..finding import Finding
from ..logged_recipe import changes_sampling
from ..remedies import RunWords
from ..thresholds import Thresholds
from ..trend import Trend, correlation, noise, onset_of

_GAPS = (
    ("sampler_logp_gap", "mismatch_logp", "log-probabilities of rollout engine and trainer differ by {} nats"),
    ("sampler_kl", "mismatch_kl", "KL between rollout engine and trainer is {} nats"),
    ("sampler_prob_gap", "mismatch_prob", "probabilities of rollout engine and trainer differ by {}"),
)
# A gap grows steadily where it follows the steps to this rank correlation; below this share of its limit it is nothing.
_STEADILY, _NOTHING = 0.9, 0.1
_FEWEST = 20


def mismatch(facts: Facts, t: Thresholds) -> Finding | None:
    surprise = (
        [] if changes_sampling(facts.log.config) else _surprise_gap(facts, t) or _surprise_of_completions(facts, t)
    )
    reported = _reported_gaps(facts, t)
    growing, onset = _growing(facts, t)
    if growing:
        return Finding(
            "mismatch",
            "the gap between sampler and trainer grows: stale weights",
            (*growing, *surprise),
            remedies.against_stale_weights(RunWords.of(facts.log)),
            onset,
        )
    evidence = (*surprise, *reported)
    if not evidence:
        return None
    return Finding(
        "mismatch",
        "sampling and training policies differ",
        evidence,
        remedies.against_mismatch(RunWords.of(facts.log)),
        _first_beyond(facts, t),
    )


def _growing(facts: Facts, t: Thresholds) -> tuple[list[str], float | None]:
    """Gaps that begin at nothing and grow with the steps; one of precision alone is there from the start."""
    said: list[str] = []
    onsets: list[float] = []
    for name, limit, what in _GAPS:
        gap = facts.course(name)
        if gap is None or len(gap) < _FEWEST:
            continue
        early, late = max(gap.start, 1e-12), gap.end
        if late < t.gap_growth * early or late < _NOTHING * getattr(t, limit) or late - gap.start < 5.0 * noise(gap):
            continue
        ranks = np.argsort(np.argsort(gap.smooth))
        if correlation(ranks, np.arange(len(ranks))) < _STEADILY:
            continue
        since = onset_of(gap, gap.start + (late - gap.start) / 4, above=True)
        said.append(f"{what.format(f'{late:.3g}')} late in the run, {gap.start:.3g} at the start, and ever more")
        onsets += [] if since is None else [since]
    return said, min(onsets, default=None)


def _first_beyond(facts: Facts, t: Thresholds) -> float | None:
    """The step from which on a gap stays above its limit."""
    found = [
        step
        for name, limit, _ in _GAPS
        if (gap := facts.course(name)) is not None
        and gap.end > getattr(t, limit)
        and (step := onset_of(gap, getattr(t, limit), above=True)) is not None
    ]
    return min(found, default=None)


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
    evidence: list[str] = []
    known = False
    for name, field, what in _GAPS:
        series, limit = facts.log.get(name), float(getattr(t, field))
        known = known or series is not None
        if series is not None and (late := Trend.of(series).end) > limit:
            evidence.append(what.format(f"{late:.3f}") + f" late in the run (limit {limit:g})")
    sampler, trainer = (facts.log.get(name) for name in ("sampler_logp", "trainer_logp"))
    if sampler is not None and trainer is not None:
        _, own, other = np.intersect1d(sampler.steps, trainer.steps, return_indices=True)
        gaps = np.abs(sampler.values[own] - trainer.values[other])[len(own) // 2 :]
        if len(gaps) and gaps.mean() > t.mismatch_logp:
            evidence.append(f"mean log-probabilities of rollout engine and trainer differ by {gaps.mean():.3f} nats")
    agreement = facts.course("sampler_correlation")
    if agreement is not None and agreement.end < t.mismatch_correlation:
        # A mixture of experts correlates less all along; where a gap was written and is small, that alone is none.
        fell = agreement.start - agreement.end > 1.0 - t.mismatch_correlation
        if evidence or fell or not known:
            evidence.append(f"probabilities of rollout engine and trainer correlate by {agreement.end:.3f} only")
    m = facts.digest.mismatch
    if m.logp_tokens and m.logp_gap / m.logp_tokens > t.mismatch_logp:
        evidence.append(f"log-probabilities in the completions differ by {m.logp_gap / m.logp_tokens:.3f} nats a token")
    return evidence
