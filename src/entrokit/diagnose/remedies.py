"""Remedies by cause, as recipe strings built on the run's own base, and as settings where no recipe helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from entrokit.runs.step_account import LIKELY_UP, UNLIKELY_DOWN

from .logged_recipe import base_of


@dataclass(frozen=True)
class Remedy:
    """What to do.

    ``recipe``: a string for `EntropyGRPOTrainer` or `entrokit train`; None where a setting is meant. ``write``: what to
    paste into the run's own configuration or command; None where there is no such option.
    """

    text: str
    recipe: str | None = None
    write: str | None = None

    def __str__(self) -> str:
        return f"{self.recipe}: {self.text}" if self.recipe else self.text


def against_loss(config: Mapping[str, Any], quadrants: Mapping[str, float]) -> tuple[Remedy, ...]:
    """Against a loss of entropy, by the tokens that it came from."""
    base = base_of(config)
    losing = min(quadrants, key=lambda q: quadrants[q], default=LIKELY_UP)
    if losing == UNLIKELY_DOWN:
        return (
            Remedy("drops the tokens with negative advantage that cost most entropy", f"{base}+clip-b(mu=1.0)"),
            Remedy("bounds how hard wrong answers push down", "dispo(neg_high=2.0)"),
            Remedy("keeps entropy in the nucleus near where it began", f"{base}+siren"),
        )
    return (
        Remedy("weighs down the tokens that change entropy most", f"{base}+steer(min_weight=0.1, scale_quantile=0.9)"),
        Remedy("holds the tokens of largest covariance near the sampling policy", f"{base}+kl-cov(ratio=0.01)"),
        Remedy("leaves out some of the tokens of largest covariance", f"{base}+clip-cov(ratio=0.01)"),
    )


def against_crash(config: Mapping[str, Any]) -> tuple[Remedy, ...]:
    base = base_of(config)
    rate = config.get("learning_rate")
    lower = f" (it was {rate:g}; try {rate / 10:g})" if isinstance(rate, (int, float)) and rate > 0 else ""
    clip = (Remedy("close the upper clip to DAPO's", "dapo"),) if "clip_high" in str(config.get("recipe")) else ()
    return (
        *clip,
        Remedy(f"go back to a checkpoint from before, with a tenth of the learning rate{lower}"),
        Remedy("holds the policy near a reference", f"{base}+reference-kl(beta=0.05)"),
        Remedy("clip the gradient's norm harder, and take fewer updates per generation batch"),
    )[:3]


def against_explosion(config: Mapping[str, Any]) -> tuple[Remedy, ...]:
    chosen = str(config.get("recipe", ""))
    if "entropy-bonus" in chosen:
        first = Remedy("take the entropy bonus out, or divide `coef` by ten", base_of(config))
    else:
        first = Remedy("no entropy bonus, and an upper clip no wider than 0.28", "dapo")
    return (
        first,
        Remedy("a target instead of a push: entropy is led back to where it began", "grpo+siren"),
        Remedy("holds the policy near a reference", "grpo+reference-kl(beta=0.05)"),
    )


def against_truncation(config: Mapping[str, Any]) -> tuple[Remedy, ...]:
    limit = config.get("max_completion_length")
    raised = f" (it was {limit})" if limit else ""
    return (
        Remedy(f"raise max_completion_length until fewer than a tenth are cut{raised}"),
        Remedy("leave cut completions out of the loss: TRL's mask_truncated_completions=True"),
        Remedy("rewards right answers less, the more uncertain their thinking was", f"{base_of(config)}+pear"),
    )


def against_mismatch(config: Mapping[str, Any]) -> tuple[Remedy, ...]:
    top_p = config.get("top_p")
    own = f" (top_p was {top_p:g})" if isinstance(top_p, (int, float)) and top_p < 1 else ""
    return (
        Remedy(f"sample from the policy that is trained: top_p=1, top_k off, min_p off, the same temperature{own}"),
        Remedy("weigh by the ratio of both policies: vllm_importance_sampling_correction=True, rollout_is in verl"),
        Remedy("check weight syncing and precision of the rollout engine"),
    )


def against_no_signal() -> tuple[Remedy, ...]:
    return (
        Remedy("score some completions by hand: the reward function gives every completion of a prompt the same"),
        Remedy("choose prompts that are sometimes right: `entrokit train --select highest-variance` probes for them"),
    )


def against_few_prompts() -> tuple[Remedy, ...]:
    return (
        Remedy("train on more distinct prompts, and look for duplicates in the data set"),
        Remedy("measure on held-out prompts: the training reward says nothing any more"),
    )


def against_plateau(config: Mapping[str, Any], quadrants: Mapping[str, float]) -> tuple[Remedy, ...]:
    """Against a loss of entropy before the reward was found, by the tokens that it came from."""
    return (*against_loss(config, quadrants)[:2], Remedy("lets unlikely tokens rise: clip-higher", "dapo"))


def against_local_failure(family: str) -> tuple[Remedy, ...]:
    return (
        Remedy(f"look at completions of {family!r}: its verifier or environment is the first suspect"),
        Remedy("leave the family out until it is mended, then resume from before it broke"),
    )
