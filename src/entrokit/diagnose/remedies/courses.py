"""What to do about the course of entropy, of the sampler, and of updates."""

from __future__ import annotations

from collections.abc import Mapping

from entrokit.runs.step_account import LIKELY_UP, UNLIKELY_DOWN

from ..levers.reading import number_at
from ..logged_recipe import base_of
from .any_run import NEAR_REFERENCE, Remedies, of_rl
from .remedy import Remedy, RunWords, distinct

_BONUS = ("entropy_coef", "entropy_coeff", "actor_rollout_ref.actor.entropy_coeff", "actor.entropy_coef")


@of_rl
def against_loss(run: RunWords, quadrants: Mapping[str, float]) -> Remedies:
    """Against a loss of entropy, by the tokens that it came from."""
    base = base_of(run.config)
    wrong = min(quadrants, key=lambda q: quadrants[q], default=LIKELY_UP) == UNLIKELY_DOWN
    if run.carries_recipes and wrong:
        return (
            Remedy("drops the tokens with negative advantage that cost most entropy", f"{base}+clip-b(mu=1.0)"),
            Remedy("bounds how hard wrong answers push down", "dispo(neg_high=2.0)"),
            Remedy("keeps entropy in the nucleus near where it began", f"{base}+siren"),
        )
    largest = "the tokens of largest covariance"
    held, left_out = f"holds {largest} near the sampling policy", f"leaves out some of {largest}"
    if run.carries_recipes:
        steer = f"{base}+steer(min_weight=0.1, scale_quantile=0.9)"
        return (
            Remedy("weighs down the tokens that change entropy most", steer),
            run.pull("kl_cov", held, f"{base}+kl-cov(ratio=0.01)"),
            run.pull("clip_cov", left_out, f"{base}+clip-cov(ratio=0.01)"),
        )
    rise = ("clip_higher", "lets unlikely tokens rise: clip-higher")
    near, fewer = ("reference_kl", NEAR_REFERENCE), ("fewer_updates", "pushes less far down a batch: one update of it")
    if wrong:
        return run.best([near, fewer, rise], 3)
    return run.best([("kl_cov", held), ("clip_cov", left_out), rise, near, fewer], 3)


@of_rl
def against_plateau(run: RunWords, quadrants: Mapping[str, float]) -> Remedies:
    """Against a loss of entropy before the reward was found, by the tokens that it came from."""
    rise = run.pull("clip_higher", "lets unlikely tokens rise: clip-higher", "dapo")
    others = distinct(rise, *against_loss(run, quadrants))[1:]
    return (*others[:2], rise)


@of_rl
def against_crash(run: RunWords) -> Remedies:
    """Against a policy that fell apart."""
    wide = "clip_high" in str(run.config.get("recipe"))
    return (
        *((run.pull("clip_higher", "close the upper clip to DAPO's", "dapo"),) if wide else ()),
        run.slower("go back to a checkpoint from before, with a tenth of the learning rate"),
        run.pull("reference_kl", NEAR_REFERENCE, f"{base_of(run.config)}+reference-kl(beta=0.05)"),
        run.clipped("clip the gradient's norm harder, and take fewer updates per generation batch"),
    )[:3]


@of_rl
def against_lost_reward(run: RunWords) -> Remedies:
    """Against a reward that goes, where nothing tells that the policy fell apart."""
    return (
        run.pull("log_completions", "score completions from before and after by hand: verifier, sandbox, data"),
        run.slower("if they did get worse: go back to a checkpoint from before, with a tenth of the learning rate"),
        run.pull("reference_kl", NEAR_REFERENCE, f"{base_of(run.config)}+reference-kl(beta=0.05)"),
    )


@of_rl
def against_explosion(run: RunWords) -> Remedies:
    """Against entropy that pays more than the reward."""
    paid = "entropy-bonus" in str(run.config.get("recipe", "")) or any(number_at(run.config, p) for p in _BONUS)
    out = "take the entropy bonus out, or divide its coefficient by ten" if paid else "no entropy bonus"
    first = run.pull("entropy_bonus_off", out, base_of(run.config) if paid else None)
    if not paid and first.write is None:
        first = run.pull("clip_standard", "an upper clip no wider than 0.2")
    target = Remedy("a target instead of a push: entropy is led back to where it began", "grpo+siren")
    return (
        first,
        target if run.carries_recipes else run.slower("a tenth of the learning rate"),
        run.pull("reference_kl", NEAR_REFERENCE, "grpo+reference-kl(beta=0.05)"),
    )


@of_rl
def against_mismatch(run: RunWords) -> Remedies:
    """Against a sampler that is not the policy that is trained."""
    top_p = run.number("top_p", "sample_from_policy")
    own = f" (top_p was {top_p:g})" if top_p is not None and top_p < 1 else ""
    same = f"sample from the policy that is trained: top_p 1, top_k and min_p off, the same temperature{own}"
    return (
        run.pull("sample_from_policy", same),
        run.pull("importance_correction", "weigh by the ratio of both policies"),
        run.pull("higher_precision", "check weight syncing, and the precision of the rollout engine"),
    )


@of_rl
def against_stale_weights(run: RunWords) -> Remedies:
    """Against a gap between sampler and trainer that grows from nothing: the sampler's weights are old."""
    return (
        run.pull("fresh_weights", "hand weights to the sampler more often, and drop rollouts of old ones"),
        run.pull("importance_correction", "weigh by the ratio of both policies"),
        run.slower("let the policy move less between two hand-overs: a tenth of the learning rate"),
    )


@of_rl
def against_precision_gap(run: RunWords) -> Remedies:
    """Against a gap between sampler and trainer that is there from the start, and stays."""
    return (
        run.pull("higher_precision", "compute log-probabilities in the same, finer precision on both sides"),
        run.pull("importance_correction", "weigh by the ratio of both policies"),
        run.pull("sample_from_policy", "and score what was sampled at the temperature of the sampling, without top-p"),
    )


@of_rl
def against_kl_blow_up(run: RunWords) -> Remedies:
    """Against a policy that runs away from its reference."""
    return (
        run.slower("go back to before the rise, with a tenth of the learning rate"),
        run.pull("reference_kl", NEAR_REFERENCE, f"{base_of(run.config)}+reference-kl(beta=0.05)"),
        run.clipped("clip the gradient's norm harder"),
    )


@of_rl
def against_clip_saturation(run: RunWords) -> Remedies:
    """Against a clip that stops a large share of the tokens: the policy moves too far within a batch."""
    return (
        run.pull("fewer_updates", "take one update of a generation batch"),
        run.slower("a tenth of the learning rate"),
        run.pull("clip_standard", "a clip of 0.2 on both sides, if it was narrower"),
    )
