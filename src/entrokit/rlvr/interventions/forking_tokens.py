"""Forking tokens: update the policy only where its entropy is high.

Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM Reasoning
(arXiv 2506.01939). With H the entropy of the training policy at each token and τ the (1 - ρ) quantile over the batch,
the objective (Eq. 6) is the mean of the surrogate over the tokens with ``H >= τ``: dropped tokens leave the denominator
as well.

Departures: τ is taken over the generation batch from the behaviour policy's entropies and the *current* entropies are
tested against it (``scope="micro"``: over each micro-batch's current entropies, as the official code). ``rule="topk"``
is the official code's exact count; the paper and TRL use the quantile. TRL keeps the denominator (``normalize="all"``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import SCOPES, ScopedIntervention, Weighting
from ..knobs import check_bool, check_choice, check_range
from ..quantiles import masked_quantile
from ..rollouts import Rollouts
from ..surrogates import Clip
from ..update import Update

__all__ = ["ForkingTokens", "high_entropy_mask"]

RULES = ("quantile", "topk")
NORMALIZERS = ("kept", "all")


def entropy_threshold(entropy: Tensor, mask: Tensor, *, rho: float = 0.2, context: Context | None = None) -> Tensor:
    """The (1 - rho) quantile of the entropies (nats) of masked tokens on all ranks; ``-inf`` where there are none."""
    values, _ = (context or Context()).gathered_with_own_part(entropy.detach()[mask])
    if not values.numel():
        return entropy.new_full((), -math.inf)
    return masked_quantile(values, 1.0 - rho)


def high_entropy_mask(
    entropy: Tensor,
    mask: Tensor,
    *,
    rho: float = 0.2,
    rule: str = "quantile",
    threshold: Tensor | float | None = None,
    invert: bool = False,
) -> Tensor:
    """The masked tokens whose entropy is in the top fraction ``rho``, pooled over the whole tensor.

    Args:
        entropy: ``[B, T]`` nats; NaN is never kept. mask: ``[B, T]`` bool.
        rho: fraction to keep, in (0, 1].
        rule: ``quantile`` keeps ``H >= τ`` (ties all kept); ``topk`` keeps exactly ``max(1, ⌈rho n⌉)``, ties by
            position.
        threshold: τ from elsewhere, instead of the tensor's own quantile.
        invert: the masked tokens that are *not* in the top fraction.

    Returns:
        bool ``[B, T]``.
    """
    entropy = entropy.detach()
    mask = mask & ~torch.isnan(entropy)
    if threshold is None and rule == "topk":
        keep = torch.zeros_like(mask)
        count = int(mask.sum())
        if count:
            # The float product can land a hair above an integer; the official code rounds up by 0.9999.
            order = entropy[mask].sort(descending=True, stable=True).indices
            top = torch.zeros(count, dtype=torch.bool, device=mask.device)
            top[order[: max(1, int(rho * count + 0.9999))]] = True
            keep[mask] = top
    else:
        keep = mask & (entropy >= (entropy_threshold(entropy, mask, rho=rho) if threshold is None else threshold))
    return mask & ~keep if invert else keep


@dataclass
class ForkingTokens(ScopedIntervention):
    """Forking tokens. Knobs: `rho` (ρ), `rule`, `normalize` (kept or all), `invert` (the paper's lowest-80 % ablation),
    `scope` (of τ: generation, step or micro; `topk` counts within the micro-batch).
    """

    name: ClassVar[str] = "forking-tokens"
    card: ClassVar[Card] = Card(
        "2506.01939",
        examples=(
            "dapo+forking-tokens(rho=0.4)",
            "dapo+forking-tokens(rho=0.4, normalize='all')",
            "dapo+forking-tokens(rho=0.5, scope='step')",
        ),
        benches=OnBenches(tuned="rho=0.5"),
        instead={"tinker": "use clip-cov, or this one under TRL or verl: which tokens fork, a surprise does not say"},
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    rho: float = 0.2
    rule: str = "quantile"
    normalize: str = "kept"
    invert: bool = False
    scope: str = "generation"

    def __post_init__(self) -> None:
        check_range(self, "rho", 0.0, 1.0, above=True)
        check_choice(self, "rule", RULES)
        check_choice(self, "normalize", NORMALIZERS)
        check_choice(self, "scope", SCOPES)
        check_bool(self, "invert")
        if self.rule == "topk" and self.scope != "micro":
            raise ValueError(
                "forking-tokens: rule='topk' counts tokens within a micro-batch and has no batch-wide threshold; "
                "add scope='micro', or use rule='quantile'"
            )

    @property
    def separable(self) -> bool:
        # Tokens that leave the denominator change what the others of their row are divided by.
        return super().separable and self.normalize == "all"

    def batch_wide(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        entropy = rollouts.behaviour.require("entropy", self.name)
        return {"threshold": entropy_threshold(entropy, rollouts.trained, rho=self.rho, context=context)}

    def weight(self, update: Update, clip: Clip, prepared: Mapping[str, Tensor]) -> Weighting:
        entropy = update.current.require("entropy", self.name)
        keep = high_entropy_mask(
            entropy,
            update.trained,
            rho=self.rho,
            rule=self.rule,
            threshold=None if self.scope == "micro" else prepared["threshold"],
            invert=self.invert,
        )
        metrics = {"kept_fraction": update.mean(keep.float())}
        if self.normalize == "all":
            return Weighting(weight=keep.to(entropy.dtype), metrics=metrics)
        return Weighting(keep=keep, metrics=metrics)
