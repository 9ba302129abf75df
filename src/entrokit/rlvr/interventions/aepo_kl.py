"""AEPO's KL penalty: by how hard the prompt is, and looser where the policy is uncertain for a stretch.

ARES (arXiv 2510.08457). Per token, with the low-variance estimator k3 of KL(π ‖ π_ref), held to 10:

    paper:     loss = β κ_d ρ_t k3,  ρ_t = ρ inside windows of high entropy and 1 elsewhere;
               κ_d ← clip(κ_d (1 + a (KL / δ - 1)), κ_min, κ_max), KL over tokens outside the windows
    official:  loss = β κ_d k3,  ln κ_d ← ln κ_d + 0.05 clip(e, ±0.2) every 100th step, e: running mean of KL / δ - 1

The paper gives neither β, ρ, δ nor a; β = 0.01, ρ = 0.67 and δ = 0.01 stand in the code, a = 0.1 is ours. The official
controller averages each sequence's mean; this one averages tokens, which is what an engine can add up over ranks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention, Weighting
from ..knobs import check_choice, check_range
from ..rollouts import Rollouts
from ..surrogates import Clip
from ..update import Update
from ..windows import hwe_mask
from .aepo_reward import BUCKETS, VARIANTS, buckets_of_rows
from .reference_kl import kl_estimate

__all__ = ["AEPOKL"]

_MOST = 10.0
_NAMES = ("easy", "medium", "hard")
_LIMITS = (1e-4, 100.0)
# The official controller's constants.
_KL_DECAY, _ERROR_DECAY, _DEAD, _EVERY, _RATE, _LARGEST = 0.97, 0.97, 0.02, 100, 0.05, 0.2


def kl_weights(hwe: Tensor, bucket: Tensor, beta_by_bucket: Tensor, rho: float = 0.67) -> Tensor:
    """β of every token, ``[B, T]``: its bucket's, times ``rho`` where ``hwe [B, T]`` (bool) holds.

    Args:
        bucket: ``[B]`` int, 0 easy, 1 medium, 2 hard. beta_by_bucket: ``[3]``.
    """
    return beta_by_bucket[bucket][:, None] * torch.where(hwe, rho, 1.0)


def proportional(kappa: float, kl: float, delta: float, gain: float = 0.1) -> float:
    """The paper's controller: κ after a KL was seen; within 1e-4 to 100."""
    return min(max(kappa * (1.0 + gain * (kl / delta - 1.0)), _LIMITS[0]), _LIMITS[1])


@dataclass
class BucketController:
    """The official controller of one bucket: κ, the running mean of its KL, and of its error; and the calls so far."""

    kappa: float = 1.0
    kl: float | None = None
    error: float = 0.0
    calls: int = 0

    def update(self, kl: float, delta: float) -> None:
        """After an optimiser step with a mean KL of ``kl`` (nats)."""
        self.calls += 1
        self.kl = kl if self.kl is None else _KL_DECAY * self.kl + (1.0 - _KL_DECAY) * kl
        error = self.kl / delta - 1.0
        if self.calls % _EVERY or abs(error) < _DEAD:
            return
        self.error = _ERROR_DECAY * self.error + (1.0 - _ERROR_DECAY) * error
        moved = math.log(self.kappa) + _RATE * min(max(self.error, -_LARGEST), _LARGEST)
        self.kappa = min(max(math.exp(moved), _LIMITS[0]), _LIMITS[1])


@dataclass
class AEPOKL(Intervention):
    """AEPO's KL. Knobs: `beta`, `variant`, `rho`, `target` (δ, nats), `gain` (a), `window` (w), `quantile`."""

    name: ClassVar[str] = "aepo-kl"
    card: ClassVar[Card] = Card(
        "2510.08457",
        examples=(
            "dapo+aepo-kl(beta=0.1, window=2, quantile=0.5)",
            "grpo+aepo-kl(beta=0.1, variant='paper', window=2, quantile=0.5)",
        ),
        benches=OnBenches(tuned="beta=0.2, window=2", impossible_on={"tabular": "there is no reference policy"}),
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    needs_reference: ClassVar[bool] = True
    beta: float = 0.01
    variant: str = "official"
    rho: float = 0.67
    target: float = 0.01
    gain: float = 0.1
    window: int = 4
    quantile: float = 0.95
    controllers: list[BucketController] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        check_range(self, "beta", 0.0, above=True)
        check_choice(self, "variant", VARIANTS)
        check_range(self, "rho", 0.0, 1.0)
        check_range(self, "target", 0.0, above=True)
        check_range(self, "gain", 0.0)
        check_range(self, "window", 1)
        check_range(self, "quantile", 0.0, 1.0)
        self.controllers = [BucketController() for _ in range(BUCKETS)]

    @property
    def separable(self) -> bool:
        return True

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        H = rollouts.behaviour.require("entropy", self.name)
        paper = self.variant == "paper"
        windows = hwe_mask(
            H, rollouts.trained, self.window, self.quantile, align="start" if paper else "following", context=context
        )
        bucket = buckets_of_rows(rollouts, context, self.name)
        betas = self.beta * H.new_tensor([c.kappa for c in self.controllers])
        weight = kl_weights(windows.mask, bucket, betas, self.rho if paper else 1.0)
        return {"weight": weight, "bucket": bucket, "windows": windows.mask}

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Tensor:
        return prepared["weight"] * self._kl(update)

    def weight(self, update: Update, clip: Clip, prepared: Mapping[str, Tensor]) -> Weighting:
        kl = self._kl(update).detach()
        counted = ~prepared["windows"] if self.variant == "paper" else torch.ones_like(update.trained)
        metrics: dict[str, Tensor] = {}
        for d, name in enumerate(_NAMES):
            inside = (counted & (prepared["bucket"] == d)[:, None]).float()
            metrics |= {f"kl/{name}": update.mean(kl * inside), f"share/{name}": update.mean(inside)}
        return Weighting(metrics=metrics)

    def _kl(self, update: Update) -> Tensor:
        if update.reference_logp is None:
            raise ValueError("aepo-kl: the engine handed over no reference log-probabilities (reference_logp)")
        return kl_estimate(update.current.logp, update.reference_logp).clamp(-_MOST, _MOST)

    def observe(self, metrics: Mapping[str, float], context: Context) -> None:
        for controller, name in zip(self.controllers, _NAMES, strict=True):
            share = metrics[f"{self.name}/share/{name}"]
            if share <= 0.0:
                continue
            kl = metrics[f"{self.name}/kl/{name}"] / share
            if self.variant == "official":
                controller.update(kl, self.target)
            else:
                controller.kappa = proportional(controller.kappa, kl, self.target, self.gain)

    def state_dict(self) -> dict[str, Any]:
        return {"controllers": [vars(c).copy() for c in self.controllers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.controllers = [BucketController(**c) for c in state["controllers"]]


def variance_increase(n: int, kappa: float, kl_variance: float, covariance: float) -> float:
    """By how much a KL penalty inside the reward raises the variance of group-centred advantages.

    ``(1 - 1/n)(κ² Var[K] - 2 κ Cov[S, K])`` for n independent completions (the paper's lemma); why this KL is a loss.
    """
    return (1.0 - 1.0 / n) * (kappa**2 * kl_variance - 2.0 * kappa * covariance)
