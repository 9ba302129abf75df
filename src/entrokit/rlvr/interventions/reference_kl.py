"""KL penalty to a reference policy, in the loss as GRPO (2402.03300) adds it, or in the reward as RLOO and PPO do.

Estimators of KL(π ‖ π_ref) from the sampled token (Schulman, "Approximating KL divergence"), with
``d = log π_ref - log π``:

    k1 = -d        k2 = d²/2        k3 = exp(d) - d - 1

With ``bias_correction`` the estimate is multiplied by the ratio π/π_old, which makes it unbiased after the first update
(DeepSeek-V3.2; TRL's ``use_bias_correction_kl``).

In the reward (RLOO, arXiv 2402.14740), over a completion's tokens: ``R - β Σ_t (log π_old - log π_ref)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention
from ..knobs import check_bool, check_choice, check_range
from ..rollouts import Rollouts
from ..update import LOG_RATIO_LIMIT, Update

__all__ = ["ReferenceKL", "RewardKL"]

ESTIMATORS = ("k1", "k2", "k3")


def kl_estimate(log_prob: Tensor, reference_log_prob: Tensor, estimator: str = "k3") -> Tensor:
    """Per-token estimate of KL(π ‖ π_ref) in nats, ``[B, T]``, differentiable in ``log_prob``.

    Raises:
        ValueError: unknown estimator.
    """
    d = (reference_log_prob - log_prob).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    if estimator == "k1":
        return -d
    if estimator == "k2":
        return 0.5 * d.square()
    if estimator == "k3":
        return d.exp() - d - 1.0
    raise ValueError(f"reference-kl: unknown estimator {estimator!r}; valid names are {list(ESTIMATORS)}")


@dataclass
class ReferenceKL(Intervention):
    """KL to the reference policy. Knobs: `beta` (coefficient), `estimator`, `bias_correction`."""

    name: ClassVar[str] = "reference-kl"
    card: ClassVar[Card] = Card(
        "2402.03300",
        examples=("dr_grpo+reference-kl(beta=0.1)", "dapo+reference-kl(beta=0.1, estimator='k2')"),
        benches=OnBenches(tuned="beta=0.2", impossible_on={"tabular": "there is no reference policy"}),
    )
    needs_reference: ClassVar[bool] = True
    beta: float = 0.04
    estimator: str = "k3"
    bias_correction: bool = True

    def __post_init__(self) -> None:
        check_range(self, "beta", 0.0, above=True)
        check_choice(self, "estimator", ESTIMATORS)
        check_bool(self, "bias_correction")

    @property
    def separable(self) -> bool:
        return True

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Tensor:
        if update.reference_logp is None:
            raise ValueError("reference-kl: the engine handed over no reference log-probabilities (reference_logp)")
        kl = kl_estimate(update.current.logp, update.reference_logp, self.estimator)
        return self.beta * (kl * update.ratio if self.bias_correction else kl)


@dataclass
class RewardKL(Intervention):
    """KL to the reference policy, taken from the reward. Knob: `beta` (coefficient)."""

    name: ClassVar[str] = "reward-kl"
    card: ClassVar[Card] = Card(
        "2402.14740",
        examples=("rloo_sequence+reward-kl(beta=0.1)",),
        benches=OnBenches(tuned="beta=0.2", impossible_on={"tabular": "there is no reference policy"}),
    )
    needs_reference: ClassVar[bool] = True
    beta: float = 0.05

    def __post_init__(self) -> None:
        check_range(self, "beta", 0.0, above=True)

    @property
    def separable(self) -> bool:
        return True

    def reward(self, rollouts: Rollouts, rewards: Tensor, context: Context) -> Tensor:
        if rollouts.reference_logp is None:
            raise ValueError("reward-kl: the engine handed over no reference log-probabilities (reference_logp)")
        gap = rollouts.behaviour.logp - rollouts.reference_logp
        return rewards - self.beta * torch.where(rollouts.trained, gap, 0.0).sum(1)
