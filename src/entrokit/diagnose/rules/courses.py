"""Rules that recognise what entropy and reward have done: risen for nothing, fallen apart, spent, stalled."""

from __future__ import annotations

from entrokit.runs.step_account import LIKELY_DOWN, LIKELY_UP, NO_ADVANTAGE, UNLIKELY_DOWN, UNLIKELY_UP

from .. import remedies
from ..facts import Facts, sum_of_quadrants
from ..finding import Finding
from ..levers.reading import number_at
from ..remedies import RunWords
from ..rewards import gained, lost_reward, solved
from ..thresholds import Thresholds
from ..trend import noise
from ..words import course_of_entropy, nats
from .lost import calm_beside, written

# Standard errors of a tenth's mean by which entropy must have risen.
_SIGMAS = 3.0
_WORDS = {
    LIKELY_UP: "likely tokens with positive advantage",
    LIKELY_DOWN: "likely tokens with negative advantage",
    UNLIKELY_UP: "unlikely tokens with positive advantage",
    UNLIKELY_DOWN: "unlikely tokens with negative advantage",
    NO_ADVANTAGE: "tokens with advantage 0",
}


def explosion(facts: Facts, t: Thresholds) -> Finding | None:
    h, r = facts.entropy, facts.reward
    if h is None or h.ratio < t.explosion_ratio or h.end - h.start < t.explosion_rise:
        return None
    if h.end - h.start < _SIGMAS * noise(h) or (gained(facts) and h.ratio < 2 * t.explosion_ratio):
        return None
    times = f" ({h.ratio:.1f} times)" if h.start > 1e-9 else ""
    evidence = [f"entropy rose from {nats(h.start)} to {nats(h.end)} nats{times}"]
    if r is not None:
        evidence.append(f"reward went from {r.start:.3f} to {r.end:.3f}, its best was {r.best:.3f}")
    if "entropy-bonus" in str(facts.log.config.get("recipe", "")):
        evidence.append(f"the recipe pays for entropy: {facts.log.config['recipe']}")
    return Finding(
        "explosion",
        "entropy pays more than the reward",
        tuple(evidence),
        remedies.against_explosion(RunWords.of(facts.log)),
        h.first_step_beyond((h.start + h.end) / 2, above=True),
    )


def crash(facts: Facts, t: Thresholds) -> Finding | None:
    r = facts.reward
    if r is None or len(r) < t.min_points or explosion(facts, t) is not None:
        return None
    best, lost = lost_reward(facts, t)
    if lost is None:
        return None
    evidence = [f"reward fell from {best:.3f} to {r.end:.3f}, at step {lost:g}, and did not come back"]
    if facts.entropy is not None:
        evidence.append(f"entropy went {course_of_entropy(facts.entropy)}")
    rate = number_at(facts.log.config, "learning_rate")
    if rate is not None:
        evidence.append(f"the learning rate was {rate:g}")
    worst = max(facts.accounts, key=lambda a: abs(a.measured - a.predicted), default=None)
    if worst is not None and abs(worst.measured - worst.predicted) > 0.5 * abs(worst.predicted):
        evidence.append(
            f"the step after {worst.step} alone changed entropy by {worst.measured:+.3f} nats where the first order "
            f"says {worst.predicted:+.3f}"
        )
    run, calm = RunWords.of(facts.log), calm_beside(facts, lost)
    if calm:
        evidence.append(f"{calm} did not jump with it: what scores the completions is the first suspect")
    if calm or not written(facts):
        cause = "the reward was lost" + (" at once, and the policy did not jump" if calm else "")
        return Finding("collapse", cause, tuple(evidence), remedies.against_lost_reward(run), lost)
    return Finding(
        "collapse", "the policy fell apart: steps too large", tuple(evidence), remedies.against_crash(run), lost
    )


def collapse(facts: Facts, t: Thresholds) -> Finding | None:
    h = facts.entropy
    if h is None or h.ratio > t.collapse_ratio or solved(facts, t):
        return None
    half = h.first_step_beyond((h.start + h.end) / 2, above=False)
    evidence = [f"entropy fell {course_of_entropy(h)}"]
    if half is not None:
        evidence.append(f"half of that was lost by step {half:g} of {h.steps[-1]:g}")
    if facts.reward is not None:
        evidence.append(f"reward went from {facts.reward.start:.3f} to {facts.reward.end:.3f}")
    return Finding(
        "collapse",
        "entropy was spent",
        (*evidence, *_where_it_went(facts, half)),
        remedies.against_loss(RunWords.of(facts.log), facts.quadrants),
        half,
    )


def premature(facts: Facts, t: Thresholds) -> Finding | None:
    h, r = facts.entropy, facts.reward
    if h is None or r is None or len(r) < 2 * t.min_points or h.ratio > t.plateau_entropy or solved(facts, t):
        return None
    middle, last = r.part(0.4, 0.6), r.part(0.8, 1.0)
    gain, total = float(last.mean() - middle.mean()), float(last.mean() - r.start)
    error = (float(middle.var(ddof=1)) / len(middle) + float(last.var(ddof=1)) / len(last)) ** 0.5
    if gain + 1.64 * error > t.plateau_gain * max(total, 0.0) and gain + 1.64 * error > 0.02 * max(abs(r.best), 1e-12):
        return None
    evidence = [
        f"reward has hardly risen since the middle of the run ({middle.mean():.3f} to {last.mean():.3f}; "
        f"{r.start:.3f} at the start)",
        f"entropy fell {course_of_entropy(h)}",
    ]
    return Finding(
        "premature-convergence",
        "entropy was spent before the reward was found",
        (*evidence, *_where_it_went(facts)),
        remedies.against_plateau(RunWords.of(facts.log), facts.quadrants),
        float(r.steps[int(0.4 * len(r))]),
    )


def _where_it_went(facts: Facts, until: float | None = None) -> list[str]:
    """Which tokens the loss of entropy came from, up to a step where there are accounts before it."""
    early = [a for a in facts.accounts if until is not None and a.step <= until]
    quadrants = sum_of_quadrants(early) if early else facts.quadrants
    losses = {q: -v for q, v in quadrants.items() if v < 0}
    if not losses:
        return []
    total, worst = sum(losses.values()), max(losses, key=lambda q: losses[q])
    when = f" in the first {until:g} steps" if early else ""
    by = "the free-logit estimate on the completions"
    if facts.accounts:
        by = f"the accounts of {len(early or facts.accounts)} steps"
    share, whose = losses[worst] / total, _WORDS.get(worst, worst)
    return [f"{share:.0%} of the tokens' loss of entropy{when} came from {whose} (by {by})"]
