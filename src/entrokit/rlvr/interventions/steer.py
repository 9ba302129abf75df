"""STEER: damp the tokens whose update is predicted to change entropy the most.

Rethinking Entropy Interventions in RLVR: An Entropy Change Perspective (arXiv 2510.10150). With π the probability of
the sampled token, H the entropy at its position, r the ratio and A the advantage, the predicted change of H is

    theorem:   Ω = -I_clip A r π (1 - π) (log π + H)               (only the sampled logit moves)
    released:  |Ω| = |A/π_old| π (1 - π) |log π + H|               (the official code; it is theorem / π)
    exact:     Ω = -A r (S_a - Σ_j π_j S_j),  S_j = π_j (log π_j + H)   (all logits move)

a token's loss is multiplied by a detached weight

    exp:       λ = exp(-k |Ω|),  k = -ln(min_weight) / max(scale, floor),  clamped to [min_weight, 1]
    linear:    λ falls from max_weight at the smallest |Ω| to min_weight at the largest

where scale is the largest |Ω| of the batch. The denominator of the loss stays.

Departures from the official code: the theorem form with I_clip is the default (one rare token owns the released
form's maximum); the scale spans the generation batch (``scope="micro"`` for parity); it may be a quantile. The theorem
was re-derived and checked by finite differences, not read from the paper. Entropy is that of the current policy; the
official code takes the stale one of the sampling pass.
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
from ..stats import PolicyStats
from ..surrogates import Clip
from ..update import Update
from .entropy_discriminator import expected_discriminator

__all__ = ["Steer", "entropy_change", "steer_weights"]

FORMS = ("theorem", "released", "exact")
MAPPINGS = ("exp", "linear")


def entropy_change(
    stats: PolicyStats,
    old_log_prob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    form: str = "theorem",
    clipped: Tensor | None = None,
) -> Tensor:
    """Predicted first-order change of entropy per unit learning rate, Ω.

    Args:
        stats: current statistics ``[B, T]``; needs ``entropy``, and ``collision`` and ``weighted_surprise`` for the
            exact form.
        old_log_prob, advantages: ``[B, T]``. mask: ``[B, T]`` bool.
        form: ``theorem``, ``released`` (non-negative: the sign is lost) or ``exact``.
        clipped: ``[B, T]`` bool, tokens that the ratio clip silences: Ω = 0 there.

    Returns:
        ``[B, T]``, detached, zeros outside the mask and where the result is not finite.
    """
    with torch.no_grad():
        log_prob, H = stats.logp.detach(), stats.require("entropy", f"steer ({form})").detach()
        pi = log_prob.exp().clamp(1e-8, 1 - 1e-8)
        surprise = log_prob.clamp(math.log(1e-8), math.log1p(-1e-8)) + H
        if form == "released":
            omega = (advantages / old_log_prob.exp().clamp(1e-8, 1.0) * pi * (1 - pi) * surprise).abs()
        elif form == "theorem":
            omega = -advantages * (log_prob - old_log_prob).clamp(-20, 20).exp() * pi * (1 - pi) * surprise
        elif form == "exact":
            C = stats.require("collision", "steer (exact)").detach()
            W = stats.require("weighted_surprise", "steer (exact)").detach()
            ratio = (log_prob - old_log_prob).clamp(-20, 20).exp()
            omega = -advantages * ratio * (pi * surprise - expected_discriminator(H, C, W))
        else:
            raise ValueError(f"steer: unknown form {form!r}; valid names are {list(FORMS)}")
        if clipped is not None:
            omega = torch.where(clipped, 0.0, omega)
        return torch.where(mask & torch.isfinite(omega), omega, 0.0)


def steer_weights(
    omega: Tensor,
    mask: Tensor,
    *,
    min_weight: float = 0.7,
    max_weight: float = 1.2,
    mapping: str = "exp",
    floor: float = 0.02,
    extent: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Detached weight of every token from its predicted entropy change.

    Args:
        omega: ``[B, T]``. mask: ``[B, T]`` bool.
        min_weight: weight of the largest |Ω|, in (0, 1]. max_weight: of the smallest, in the linear mapping only.
        floor: lower bound of the exponential mapping's scale: it turns the method off when every |Ω| is tiny.
        extent: smallest and largest |Ω| of a wider batch, 0-dim; the tensors' own by default.

    Returns:
        ``[B, T]``: in [min_weight, 1] (exp) or [min_weight, max_weight] (linear); zeros outside the mask.
    """
    size = omega.detach().abs()
    low, high = size_extent(size, mask) if extent is None else extent
    if mapping == "exp":
        weight = torch.exp(math.log(min_weight) * size / high.clamp(min=floor)).clamp(min_weight, 1.0)
    elif mapping == "linear":
        flat = high <= low
        slope = (max_weight - min_weight) / torch.where(flat, 1.0, high - low)
        weight = (max_weight - (size - low) * slope).clamp(min_weight, max_weight)
        weight = torch.where(flat, 0.5 * (min_weight + max_weight), weight)
    else:
        raise ValueError(f"steer: unknown mapping {mapping!r}; valid names are {list(MAPPINGS)}")
    return torch.where(mask, weight, 0.0)


def size_extent(
    size: Tensor, mask: Tensor, *, quantile: float = 1.0, context: Context | None = None
) -> tuple[Tensor, Tensor]:
    """Smallest |Ω| and its ``quantile`` (1: the largest) over masked tokens of all ranks, 0-dim; zeros if none."""
    values, _ = (context or Context()).gathered_with_own_part(size[mask])
    if not values.numel():
        return size.new_zeros(()), size.new_zeros(())
    top = values.max() if quantile == 1.0 else masked_quantile(values, quantile)
    return values.min(), top


@dataclass
class Steer(ScopedIntervention):
    """STEER. Knobs: `min_weight` (λ_min), `max_weight` (linear only), `form`, `mapping`, `floor`, `iclip` (I_clip),
    `scale_quantile` (1 is the paper's maximum), `scope` (of the scale; micro is the official code's).
    """

    name: ClassVar[str] = "steer"
    card: ClassVar[Card] = Card(
        "2510.10150",
        examples=(
            "grpo+steer(min_weight=0.3)",
            "dapo+steer(min_weight=0.3, form='exact')",
            "dapo+steer(min_weight=0.3, form='released', mapping='linear', scale_quantile=0.9)",
        ),
        benches=OnBenches(tuned="min_weight=0.1, iclip=False, scale_quantile=0.9"),
        instead={
            "verl": "use form='theorem' (its default) or form='released'",
            "tinker": "use token-group-average or clip-cov, or steer under TRL",
        },
    )
    min_weight: float = 0.7
    max_weight: float = 1.2
    form: str = "theorem"
    mapping: str = "exp"
    floor: float = 0.02
    iclip: bool = True
    scale_quantile: float = 1.0
    scope: str = "generation"

    def __post_init__(self) -> None:
        check_range(self, "min_weight", 0.0, 1.0, above=True)
        check_range(self, "max_weight", self.min_weight)
        check_range(self, "floor", 0.0, above=True)
        check_range(self, "scale_quantile", 0.0, 1.0, above=True)
        check_choice(self, "form", FORMS)
        check_choice(self, "mapping", MAPPINGS)
        check_choice(self, "scope", SCOPES)
        check_bool(self, "iclip")

    @property
    def needs(self) -> frozenset[str]:
        exact = {"collision", "weighted_surprise"} if self.form == "exact" else set()
        return frozenset({"entropy"} | exact)

    def batch_wide(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        behaviour = rollouts.behaviour
        omega = entropy_change(behaviour, behaviour.logp, advantages, rollouts.trained, form=self.form)
        low, high = self._extent(omega, rollouts.trained, context)
        return {"low": low, "high": high}

    def weight(self, update: Update, clip: Clip, prepared: Mapping[str, Tensor]) -> Weighting:
        omega = entropy_change(
            update.current,
            update.behaviour.logp,
            update.advantages,
            update.trained,
            form=self.form,
            clipped=clip.silenced if self.iclip else None,
        )
        if self.scope == "micro":
            extent = self._extent(omega, update.trained, Context())
        else:
            extent = prepared["low"], prepared["high"]
        weight = steer_weights(
            omega,
            update.trained,
            min_weight=self.min_weight,
            max_weight=self.max_weight,
            mapping=self.mapping,
            floor=self.floor,
            extent=extent,
        )
        return Weighting(
            weight=weight, metrics={"weight_mean": update.mean(weight), "entropy_change": update.mean(omega)}
        )

    def _extent(self, omega: Tensor, mask: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        return size_extent(omega.abs(), mask, quantile=self.scale_quantile, context=context)
