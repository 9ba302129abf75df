"""Adaptive temperature sampling: hotter where the policy is uncertain, cooler where it is sure.

From Uniform to Heterogeneous: Tailoring Policy Optimization to Every Token's Nature (HAPO, arXiv 2509.16591). With
e = log max(H, floor), m its q-quantile over a batch ("nearest"), d = e - m,

    ĥ = d / max d⁺  if d > 0,   d / max d⁻  otherwise,   in [-1, 1]
    T_t = T (1 + tau ĥ)

Departure: the released code divides negative d by a negative number, so that its ĥ is |ĥ| and certain tokens are heated
too; ``legacy_sign=True`` does that. It also hands the scale to its sampler under a wrong keyword, so that as released
the method does not run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entrokit.distributions import entropy

__all__ = ["EntropyScale", "EntropyTemperature", "entropy_scale"]

_SMALLEST_SPREAD = 1e-8
_SAMPLING_FLOOR = 1e-6


@dataclass(frozen=True)
class EntropyScale:
    """Where log-entropies of a batch lie: 0-dim tensors, in log nats.

    Attributes:
        pivot: their q-quantile. above, below: the largest distance from it on either side, at least 1e-8.
    """

    pivot: Tensor
    above: Tensor
    below: Tensor

    def normalise(self, entropy: Tensor, *, floor: float = 1e-8, legacy_sign: bool = False) -> Tensor:
        """ĥ of entropies (nats), same shape, detached: -1 at the lowest, 0 at the pivot, 1 at the highest.

        Entropies outside the batch that the scale was measured on are clamped to [-1, 1].
        """
        d = entropy.detach().clamp(min=floor).log() - self.pivot
        h = torch.where(d > 0, d / self.above, d / self.below).clamp(-1.0, 1.0)
        return h.abs() if legacy_sign else h


def entropy_scale(values: Tensor, *, pivot: float = 0.8, floor: float = 1e-8) -> EntropyScale:
    """The scale of a batch's entropies.

    Args:
        values: ``[N]`` nats. pivot: quantile q in [0, 1], nearest rank (halves go to the even rank).
        floor: entropies below it count as it: one exact 0 would otherwise squeeze all others together.

    An empty batch gives pivot 0 and the smallest spreads.
    """
    if not values.numel():
        zero = values.new_zeros(())
        return EntropyScale(zero, zero + _SMALLEST_SPREAD, zero + _SMALLEST_SPREAD)
    logs = values.detach().clamp(min=floor).log()
    middle = logs.kthvalue(round(pivot * (logs.numel() - 1)) + 1).values
    above, below = (logs.max() - middle), (middle - logs.min())
    return EntropyScale(middle, above.clamp(min=_SMALLEST_SPREAD), below.clamp(min=_SMALLEST_SPREAD))


@dataclass(frozen=True)
class EntropyTemperature:
    """A logits processor of `transformers`; the engine's own temperature, top-p and top-k come after it.

    Attributes:
        scale: of a batch that the policy has sampled before. tau: τ in [0, 1).
    """

    scale: EntropyScale
    tau: float = 0.05
    legacy_sign: bool = False

    def factor(self, logits: Tensor) -> Tensor:
        """``1 + tau ĥ``, ``[..., 1]``, from the entropy of the untempered logits ``[..., V]``."""
        h = self.scale.normalise(entropy(logits, from_logits=True), floor=_SAMPLING_FLOOR, legacy_sign=self.legacy_sign)
        return (1.0 + self.tau * h)[..., None]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores / self.factor(scores)
