"""Surrogate losses per token, to be minimised. Inputs and names follow verl's and TRL's policy losses.

Every function takes ``log_prob``, ``old_log_prob`` and ``advantages`` of shape ``[B, T]`` and returns ``[B, T]``; the
ratio is ``r = exp(log_prob - old_log_prob)``. The log-ratio is clamped to ±20 so that one stray token cannot overflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .knobs import check_range
from .update import LOG_RATIO_LIMIT, Update


def policy_gradient_loss(log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor) -> Tensor:
    """The unclipped importance-weighted policy gradient: ``-A r``."""
    return -advantages * _ratio(log_prob, old_log_prob)


def ppo_clip_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = 3.0,
) -> Tensor:
    """PPO: ``max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))``, and for ``A < 0`` no more than ``-A dual_clip``.

    Sources: PPO (arXiv 1707.06347), dual clip (1912.09729), clip-higher (DAPO, 2503.14476).
    """
    return clipped_loss(_ratio(log_prob, old_log_prob), advantages, clip_low, clip_high, dual_clip)


def cispo_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    *,
    clip_low: float | None = None,
    clip_high: float = 4.0,
) -> Tensor:
    """CISPO (arXiv 2506.13585): ``-sg(clip(r, 1 - clip_low, 1 + clip_high)) A log_prob``.

    Every token keeps a gradient, of bounded weight. ``clip_low=None`` leaves the lower side open.
    """
    lower = 0.0 if clip_low is None else 1.0 - clip_low
    weight = _ratio(log_prob, old_log_prob).clamp(lower, 1.0 + clip_high).detach()
    return -weight * advantages * log_prob


def gspo_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
) -> Tensor:
    """GSPO (arXiv 2507.18071): PPO's clip on the length-normalised ratio of the whole completion.

    ``s = exp(mean_t (log_prob - old_log_prob))``; in token form ``s_t = sg(s) exp(log_prob_t - sg(log_prob_t))``, whose
    gradient reaches each token. ``mask``: ``[B, T]`` bool.
    """
    s = _sequence_ratio(log_prob, old_log_prob, mask).detach()
    return clipped_loss(s * (log_prob - log_prob.detach()).exp(), advantages, clip_low, clip_high, None)


def _ratio(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    return (log_prob - old_log_prob).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def _sequence_ratio(log_prob: Tensor, old_log_prob: Tensor, mask: Tensor) -> Tensor:
    """``[B, 1]``; 1 for a row without tokens."""
    log_ratio = torch.where(mask, log_prob - old_log_prob, 0.0)
    mean = log_ratio.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    return mean.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def clipped_loss(
    ratio: Tensor, advantages: Tensor, clip_low: float | Tensor, clip_high: float | Tensor, dual_clip: float | None
) -> Tensor:
    """PPO's loss from ratios ``[B, T]``; see `ppo_clip_loss`. Bounds may differ from token to token."""
    lower, upper = (
        torch.as_tensor(x, dtype=ratio.dtype, device=ratio.device) for x in (1.0 - clip_low, 1.0 + clip_high)
    )
    loss = torch.max(-advantages * ratio, -advantages * ratio.clamp(lower, upper))
    if dual_clip is None:
        return loss
    return torch.where(advantages < 0, torch.min(-advantages * dual_clip, loss), loss)


def outside(ratio: Tensor, advantages: Tensor, clip_low: float | Tensor, clip_high: float | Tensor) -> Tensor:
    """Where the clip has taken the gradient away: the update already went further than it may."""
    return ((advantages > 0) & (ratio > 1.0 + clip_high)) | ((advantages < 0) & (ratio < 1.0 - clip_low))


@dataclass(frozen=True)
class Clip:
    """What a surrogate's clip does to the tokens of an update.

    Attributes:
        silenced: ``[B, T]`` bool, tokens whose gradient it has taken away.
        low, high: the ratio of a token is held in ``[1 - low, 1 + high]``, numbers or ``[B, T]``; None where the
            surrogate does not bound each token's own ratio.
        metrics: 0-dim tensors, logged under the surrogate's name.
    """

    silenced: Tensor
    low: float | Tensor | None = None
    high: float | Tensor | None = None
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


class Surrogate(Protocol):
    """Stage `surrogate`: the loss of each token, and what its clip does.

    ``separable``: both depend on the current statistics of no other token.
    """

    name: ClassVar[str]

    @property
    def separable(self) -> bool: ...

    def loss(self, update: Update) -> Tensor: ...

    def clip(self, update: Update) -> Clip: ...


@dataclass(frozen=True)
class PolicyGradient:
    """`policy_gradient_loss` as a stage."""

    name: ClassVar[str] = "policy gradient, no clip"
    separable: ClassVar[bool] = True

    def loss(self, update: Update) -> Tensor:
        return policy_gradient_loss(update.current.logp, update.behaviour.logp, update.advantages)

    def clip(self, update: Update) -> Clip:
        return Clip(torch.zeros_like(update.trained))


@dataclass(frozen=True)
class PPOClip:
    """`ppo_clip_loss` as a stage."""

    name: ClassVar[str] = "PPO clip"
    separable: ClassVar[bool] = True
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0

    def __post_init__(self) -> None:
        check_range(self, "clip_low", 0.0, 1.0)
        check_range(self, "clip_high", 0.0)
        check_range(self, "dual_clip", 1.0, above=True, optional=True)

    def loss(self, update: Update) -> Tensor:
        return clipped_loss(update.ratio, update.advantages, self.clip_low, self.clip_high, self.dual_clip)

    def clip(self, update: Update) -> Clip:
        silenced = outside(update.ratio, update.advantages, self.clip_low, self.clip_high)
        return Clip(silenced, self.clip_low, self.clip_high)


@dataclass(frozen=True)
class CISPO:
    """`cispo_loss` as a stage. Its clip bounds weights and silences no token."""

    name: ClassVar[str] = "CISPO"
    separable: ClassVar[bool] = True
    clip_low: float | None = None
    clip_high: float = 4.0

    def __post_init__(self) -> None:
        check_range(self, "clip_low", 0.0, 1.0, optional=True)
        check_range(self, "clip_high", 0.0)

    def loss(self, update: Update) -> Tensor:
        return cispo_loss(
            update.current.logp,
            update.behaviour.logp,
            update.advantages,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
        )

    def clip(self, update: Update) -> Clip:
        return Clip(torch.zeros_like(update.trained))


@dataclass(frozen=True)
class GSPO:
    """`gspo_loss` as a stage."""

    name: ClassVar[str] = "GSPO"
    separable: ClassVar[bool] = False
    clip_low: float = 3e-4
    clip_high: float = 4e-4

    def __post_init__(self) -> None:
        check_range(self, "clip_low", 0.0, 1.0)
        check_range(self, "clip_high", 0.0)

    def loss(self, update: Update) -> Tensor:
        return gspo_loss(
            update.current.logp,
            update.behaviour.logp,
            update.advantages,
            update.trained,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
        )

    def clip(self, update: Update) -> Clip:
        s = _sequence_ratio(update.current.logp, update.behaviour.logp, update.trained)
        return Clip(outside(s, update.advantages, self.clip_low, self.clip_high))


@dataclass(frozen=True)
class SequenceClip:
    """PPO's clip on the ratio of the whole completion, ``s = Π_t r_t``, as TRL's `RLOOTrainer` takes it.

    ``max(-A s, -A clip(s, 1 - clip_low, 1 + clip_high))`` a completion, spread over its tokens: their sum is that loss,
    and each token's gradient is that of its own ``log π``.
    """

    name: ClassVar[str] = "sequence clip"
    separable: ClassVar[bool] = False
    clip_low: float = 0.2
    clip_high: float = 0.2

    def __post_init__(self) -> None:
        check_range(self, "clip_low", 0.0, 1.0)
        check_range(self, "clip_high", 0.0)

    def loss(self, update: Update) -> Tensor:
        s = _whole_ratio(update).detach()
        logp = update.current.logp
        loss = clipped_loss(
            s * (logp - logp.detach()).exp(), update.advantages, self.clip_low, self.clip_high, dual_clip=None
        )
        # Each token's slope belongs to the sum over tokens, its value to one completion.
        return loss - loss.detach() + loss.detach() / update.trained.sum(-1, keepdim=True).clamp(min=1)

    def clip(self, update: Update) -> Clip:
        return Clip(outside(_whole_ratio(update), update.advantages, self.clip_low, self.clip_high))


def _whole_ratio(update: Update) -> Tensor:
    """``[B, 1]``; 1 for a row without tokens."""
    log_ratio = torch.where(update.trained, update.current.logp - update.behaviour.logp, 0.0)
    return log_ratio.sum(-1, keepdim=True).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
