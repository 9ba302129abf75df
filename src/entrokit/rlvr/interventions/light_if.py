"""TEA (Light-IF): an entropy bonus whose coefficient is larger for the tokens that are about to lose most entropy.

Light-IF: Endowing LLMs with Generalizable Reasoning via Preview and Self-Checking for Complex Instruction Following
(arXiv 2508.03178). With log-probabilities and advantages centred over the batch, and a softmax over each completion:

    Cov = (A - mean A)(log π - mean log π)       w = clip(α softmax_t(Cov), 0, c)       penalty = - w H

The released trainer never calls it; this follows its stand-alone function. There gradient flows through log π in w;
here a coefficient is a constant (``detach=False`` gives theirs). The paper's other part is
`entrokit.losses.entropy_sft.EntropySFTLoss`.
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
from ..intervention import SCOPES, Penalty, ScopedIntervention
from ..knobs import check_bool, check_choice, check_range
from ..rollouts import Rollouts
from ..update import Update

__all__ = ["TokenEntropyAdaptive", "tea_coefficients"]


def tea_coefficients(
    logp: Tensor,
    adv: Tensor,
    mask: Tensor,
    alpha: float = 10.0,
    cap: float = 5.0,
    detach: bool = True,
    *,
    means: tuple[Tensor, Tensor] | None = None,
    length_scaled: bool = False,
) -> Tensor:
    """Coefficient of every token's entropy, ``[B, T]`` in [0, cap]; zeros outside the mask and in an empty row.

    Args:
        logp, adv: ``[B, T]``. mask: ``[B, T]`` bool. alpha: sum of a row's coefficients before the cap.
        detach: False lets gradient flow through ``logp``.
        means: of log-probabilities and advantages over a wider batch, 0-dim; the tensors' own by default.
        length_scaled: multiplies by the completion's length (what an unused variable of the release may have meant).
    """
    logp, adv = torch.where(mask, logp.detach() if detach else logp, 0.0), torch.where(mask, adv, 0.0)
    logp_mean, adv_mean = tea_means(logp, adv, mask) if means is None else means
    covariance = (adv - adv_mean) * (logp - logp_mean.detach())
    covariance = torch.where(mask, covariance, -math.inf)
    # A row of nothing but -inf has no softmax.
    alive = mask.any(1, keepdim=True)
    share = torch.where(alive, covariance, 0.0).softmax(1)
    weight = alpha * torch.where(mask, share, 0.0)
    if length_scaled:
        weight = weight * mask.sum(1, keepdim=True)
    return weight.clamp(0.0, cap)


def tea_means(logp: Tensor, adv: Tensor, mask: Tensor, context: Context | None = None) -> tuple[Tensor, Tensor]:
    """Means of log-probabilities and advantages over the masked tokens of all ranks, 0-dim, detached."""
    sums = torch.stack([torch.where(mask, x, 0.0).sum() for x in (logp, adv)] + [mask.sum().to(logp.dtype)])
    total_logp, total_adv, count = (context or Context()).reduce(sums.detach())
    return total_logp / count.clamp(min=1), total_adv / count.clamp(min=1)


def tea_entropy_loss(
    logp: Tensor,
    adv: Tensor,
    entropy: Tensor,
    mask: Tensor,
    alpha: float = 10.0,
    cap: float = 5.0,
    detach: bool = True,
) -> Tensor:
    """``-Σ w H / Σ mask``, to add to a policy loss. Shapes as `tea_coefficients`; 0 with a graph if empty."""
    weight = tea_coefficients(logp, adv, mask, alpha, cap, detach)
    return -(weight * torch.where(mask, entropy, 0.0)).sum() / (mask.sum() + 1e-8)


@dataclass
class TokenEntropyAdaptive(ScopedIntervention):
    """TEA. Knobs: `alpha` (α), `cap` (c), `detach`, `length_scaled`, `scope` (of the means; micro is the released
    function's).
    """

    name: ClassVar[str] = "tea"
    card: ClassVar[Card] = Card(
        "2508.03178",
        examples=("grpo+tea(cap=2.0)",),
        benches=OnBenches(tuned="alpha=0.5"),
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    alpha: float = 10.0
    cap: float = 5.0
    detach: bool = True
    length_scaled: bool = False
    scope: str = "generation"

    def __post_init__(self) -> None:
        check_range(self, "alpha", 0.0)
        check_range(self, "cap", 0.0)
        check_bool(self, "detach")
        check_bool(self, "length_scaled")
        check_choice(self, "scope", SCOPES)

    @property
    def separable(self) -> bool:
        # The softmax ties the tokens of a completion.
        return False

    def batch_wide(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        logp, adv = tea_means(rollouts.behaviour.logp, advantages, rollouts.trained, context)
        return {"logp": logp, "adv": adv}

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Penalty:
        means = None if self.scope == "micro" else (prepared["logp"], prepared["adv"])
        weight = tea_coefficients(
            update.current.logp,
            update.advantages,
            update.trained,
            self.alpha,
            self.cap,
            self.detach,
            means=means,
            length_scaled=self.length_scaled,
        )
        return Penalty(-weight * update.current.require("entropy", self.name), aggregation="token-mean")
