"""Remedies by cause: our recipes on the run's own base where its engine carries them, and what its engine is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Concatenate, Literal, ParamSpec

from entrokit.runs.step_account import LIKELY_UP, UNLIKELY_DOWN

from .levers.reading import number_at
from .logged_recipe import base_of
from .remedies_of_any_run import (
    Remedies,
    against_broken_numbers,
    against_gradient_spikes,
    against_impossible_entropy,
    against_overfitting,
    against_supervised_divergence,
    against_too_little,
)
from .remedy import Remedy, RunWords, distinct

__all__ = [
    "Remedies",
    "Remedy",
    "RunWords",
    "against_broken_numbers",
    "against_clip_saturation",
    "against_crash",
    "against_explosion",
    "against_few_prompts",
    "against_gradient_spikes",
    "against_impossible_entropy",
    "against_kl_blow_up",
    "against_length_from_the_start",
    "against_length_growth",
    "against_local_failure",
    "against_loss",
    "against_mismatch",
    "against_no_learning",
    "against_no_signal",
    "against_overfitting",
    "against_plateau",
    "against_precision_gap",
    "against_reward_hacking",
    "against_stale_weights",
    "against_supervised_divergence",
    "against_too_little",
    "against_truncation",
]

_P = ParamSpec("_P")
_Function = Callable[Concatenate[RunWords, _P], Remedies]

_NEAR_REFERENCE = "holds the policy near a reference"
_BONUS = ("entropy_coef", "entropy_coeff", "actor_rollout_ref.actor.entropy_coeff", "actor.entropy_coef")


def _of_rl(against: _Function[_P]) -> _Function[_P]:
    """A supervised run has neither rewards nor a sampler: it gets what is done about a loss that diverges."""

    @wraps(against)
    def of_any(run: RunWords, /, *args: _P.args, **kwargs: _P.kwargs) -> Remedies:
        return against_supervised_divergence(run) if run.supervised else against(run, *args, **kwargs)

    return of_any


@_of_rl
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
    near, fewer = ("reference_kl", _NEAR_REFERENCE), ("fewer_updates", "pushes less far down a batch: one update of it")
    if wrong:
        return run.best([near, fewer, rise], 3)
    return run.best([("kl_cov", held), ("clip_cov", left_out), rise, near, fewer], 3)


@_of_rl
def against_plateau(run: RunWords, quadrants: Mapping[str, float]) -> Remedies:
    """Against a loss of entropy before the reward was found, by the tokens that it came from."""
    rise = run.pull("clip_higher", "lets unlikely tokens rise: clip-higher", "dapo")
    others = distinct(rise, *against_loss(run, quadrants))[1:]
    return (*others[:2], rise)


@_of_rl
def against_crash(run: RunWords) -> Remedies:
    """Against a policy that fell apart."""
    wide = "clip_high" in str(run.config.get("recipe"))
    return (
        *((run.pull("clip_higher", "close the upper clip to DAPO's", "dapo"),) if wide else ()),
        run.slower("go back to a checkpoint from before, with a tenth of the learning rate"),
        run.pull("reference_kl", _NEAR_REFERENCE, f"{base_of(run.config)}+reference-kl(beta=0.05)"),
        run.clipped("clip the gradient's norm harder, and take fewer updates per generation batch"),
    )[:3]


@_of_rl
def against_explosion(run: RunWords) -> Remedies:
    """Against entropy that pays more than the reward."""
    paid = "entropy-bonus" in str(run.config.get("recipe", "")) or any(number_at(run.config, p) for p in _BONUS)
    if paid:
        out = "take the entropy bonus out, or divide its coefficient by ten"
        first = run.pull("entropy_bonus_off", out, base_of(run.config))
    else:
        first = run.pull("clip_higher", "no entropy bonus, and an upper clip no wider than 0.28", "dapo")
    target = Remedy("a target instead of a push: entropy is led back to where it began", "grpo+siren")
    return (
        first,
        target if run.carries_recipes else run.slower("a tenth of the learning rate"),
        run.pull("reference_kl", _NEAR_REFERENCE, "grpo+reference-kl(beta=0.05)"),
    )


@_of_rl
def against_truncation(run: RunWords) -> Remedies:
    """Against a length limit that is too short."""
    longer = run.doubled("raise_length_limit", "raise the length limit until fewer than a tenth are cut")
    masked = ("mask_truncated", "leave cut completions out of the loss")
    if run.carries_recipes:
        pear = f"{base_of(run.config)}+pear"
        doubt = Remedy("rewards right answers less, the more uncertain their thinking was", pear)
        return (longer, run.pull(*masked), doubt)
    penalty = ("overlong_penalty", "take a little reward from completions that come near the limit")
    return (longer, *run.best([masked, penalty], 2))


@_of_rl
def against_length_from_the_start(run: RunWords) -> Remedies:
    """Against completions that are all cut from the first step on: they do not know how to end."""
    return (
        run.pull("stop_token", "name the token that ends a turn in the chat template: often it is not the model's own"),
        run.pull(
            "log_completions", "read some completions: if they go on after the answer, they do not know how to end"
        ),
        run.doubled("raise_length_limit", "if they are cut in the middle of thinking, raise the length limit"),
    )


@_of_rl
def against_length_growth(run: RunWords) -> Remedies:
    """Against completions that grow without being better."""
    return (
        run.pull("overlong_penalty", "take a little reward from completions that come near the limit"),
        run.pull("token_mean_loss", "weigh tokens alike, so that long wrong answers are not cheap", "dapo"),
        run.pull("log_completions", "read the longest completions: repetition is for the reward function to see"),
    )


@_of_rl
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


@_of_rl
def against_stale_weights(run: RunWords) -> Remedies:
    """Against a gap between sampler and trainer that grows from nothing: the sampler's weights are old."""
    return (
        run.pull("fresh_weights", "hand weights to the sampler more often, and drop rollouts of old ones"),
        run.pull("importance_correction", "weigh by the ratio of both policies"),
        run.slower("let the policy move less between two hand-overs: a tenth of the learning rate"),
    )


@_of_rl
def against_precision_gap(run: RunWords) -> Remedies:
    """Against a gap between sampler and trainer that is there from the start, and stays."""
    return (
        run.pull("higher_precision", "compute log-probabilities in the same, finer precision on both sides"),
        run.pull("importance_correction", "weigh by the ratio of both policies"),
        run.pull("sample_from_policy", "and score what was sampled at the temperature of the sampling, without top-p"),
    )


@_of_rl
def against_no_signal(run: RunWords) -> Remedies:
    """Against rewards that are the same for all completions of a prompt."""
    probe = ": `entrokit train --select highest-variance` probes for them" if run.engine in (None, "entrokit") else ""
    return (
        Remedy("score some completions by hand: the reward function gives every completion of a prompt the same"),
        run.pull("curriculum", f"choose prompts that are sometimes right{probe}"),
    )


@_of_rl
def against_no_learning(run: RunWords, where: Literal["floor", "ceiling", "flat"] = "floor") -> Remedies:
    """Against a run with next to nothing to learn from.

    Args:
        where: the reward is at its floor (too hard), at its ceiling (too easy), or nearly all groups are flat.
    """
    more = run.doubled("more_completions", "more completions a prompt: a rare success is then found")
    drop = run.pull("dynamic_sampling", "drop groups whose rewards are all equal, and sample others instead")
    if where == "floor":
        easier = run.pull("curriculum", "easier prompts first: such that some completions are right")
        return (easier, more, Remedy("train on worked answers (SFT) first, until some completions are right"))
    if where == "ceiling":
        return (run.pull("curriculum", "harder prompts: leave out those that are always right"), drop)
    hand = Remedy("score some completions by hand: does the reward function tell right from wrong?")
    return (drop, more, hand)


def against_few_prompts(run: RunWords) -> Remedies:
    """Against the same prompts again and again."""
    return (
        Remedy("train on more distinct prompts, and look for duplicates in the data set"),
        Remedy("measure on held-out prompts: the training reward says nothing any more"),
    )


@_of_rl
def against_local_failure(run: RunWords, family: str) -> Remedies:
    """Against one kind of prompts that went wrong alone."""
    look = f"look at completions of {family!r}: its verifier or environment is the first suspect"
    return (
        run.pull("log_completions", look),
        run.pull("keep_out_family", "leave the family out until it is mended, then resume from before it broke"),
    )


@_of_rl
def against_reward_hacking(run: RunWords, part: str | None = None) -> Remedies:
    """Against a reward that rises while what it stands for does not; ``part``: which of its parts falls meanwhile."""
    which = f": {part!r} falls, so the others are earned without it" if part is not None else ""
    near = f"{base_of(run.config)}+reference-kl(beta=0.05)"
    return (
        run.pull("log_completions", f"read completions from both ends of the run{which}"),
        run.pull("reward_weights", "weigh the parts anew, or pay the others only where the answer is right"),
        run.pull("reference_kl", f"from before the turn on, {_NEAR_REFERENCE}", near),
    )


@_of_rl
def against_kl_blow_up(run: RunWords) -> Remedies:
    """Against a policy that runs away from its reference."""
    return (
        run.slower("go back to before the rise, with a tenth of the learning rate"),
        run.pull("reference_kl", _NEAR_REFERENCE, f"{base_of(run.config)}+reference-kl(beta=0.05)"),
        run.clipped("clip the gradient's norm harder"),
    )


@_of_rl
def against_clip_saturation(run: RunWords) -> Remedies:
    """Against a clip that stops a large share of the tokens: the policy moves too far within a batch."""
    return (
        run.pull("fewer_updates", "take one update of a generation batch"),
        run.slower("a tenth of the learning rate"),
        run.pull("clip_standard", "a clip of 0.2 on both sides, if it was narrower"),
    )
