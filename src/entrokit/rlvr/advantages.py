"""Advantage estimators: what a completion is worth beside the others.

Rewards are one number a completion. A completion whose reward is NaN could not be scored: it counts in no baseline and
gets advantage 0. Functions take a whole generation batch; see the sheet's sources: GRPO (arXiv 2402.03300), Dr.GRPO
(2503.20783), RLOO (2402.14740), REINFORCE++ (2501.03262).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .context import Context
from .groups import group_least, group_sum
from .knobs import check_range
from .rollouts import Rollouts


def grpo_advantages(reward: Tensor, group: Tensor, *, std_eps: float = 1e-6) -> Tensor:
    """GRPO: ``(R - mean) / (std + std_eps)`` within the group, std with Bessel's correction.

    Args:
        reward: ``[B]`` float. group: ``[B]`` int.

    Returns:
        ``[B]``. All rewards of a group equal: 0. A group of one: its raw reward (mean 0, std 1), as verl does.
    """
    mean, std, count = _group_moments(reward, group)
    alone = count == 1
    normalised = (reward - mean) / (std + std_eps)
    return torch.where(alone, reward, normalised).nan_to_num(nan=0.0)


def dr_grpo_advantages(reward: Tensor, group: Tensor) -> Tensor:
    """Dr.GRPO: ``R - mean`` within the group. A group of one: its raw reward. Shapes as `grpo_advantages`."""
    mean, _, count = _group_moments(reward, group)
    return torch.where(count == 1, reward, reward - mean).nan_to_num(nan=0.0)


def rloo_advantages(reward: Tensor, group: Tensor) -> Tensor:
    """RLOO: ``(R - mean) · G/(G-1)``, the reward minus the mean of the others. Shapes as `grpo_advantages`.

    A group of one has no others: advantage 0, and a warning.
    """
    mean, _, count = _group_moments(reward, group)
    if bool((count == 1).any()):
        warnings.warn("rloo: a group of one completion has no baseline; its advantage is 0", stacklevel=2)
    return ((reward - mean) * count / (count - 1).clamp(min=1)).nan_to_num(nan=0.0)


def reinforce_plus_plus_advantages(
    reward: Tensor, train: Tensor, *, gamma: float = 1.0, context: Context | None = None
) -> Tensor:
    """REINFORCE++: return to go of a reward at the last trained token, whitened over all trained tokens.

    Args:
        reward: ``[B]`` float. train: ``[B, T]`` bool. gamma: discount a token, in (0, 1].
        context: its ``reduce`` makes the whitening span all ranks.

    Returns:
        ``[B, T]``, zeros outside ``train``.
    """
    to_go = train.flip(-1).cumsum(-1).flip(-1) - 1
    scored = train & ~torch.isnan(reward)[:, None]
    returns = reward.nan_to_num(nan=0.0)[:, None] * gamma ** to_go.clamp(min=0)
    return _whiten(returns, scored, context or Context())


def reinforce_plus_plus_baseline_advantages(
    reward: Tensor, group: Tensor, train: Tensor, *, context: Context | None = None
) -> Tensor:
    """REINFORCE++-baseline: ``R - mean`` within the group, whitened over all trained tokens. Returns ``[B, T]``.

    Groups may be split over ranks: the context's collectives bring them together.
    """
    context = context or Context()
    rewards, own = context.everywhere(reward)
    mean, _, _ = _group_moments(rewards, context.gather(group))
    return reinforce_plus_plus_advantages(reward - mean[own], train, context=context)


def _group_moments(reward: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, corrected std and count of the scored completions of each row's group, each ``[B]``."""
    scored = ~torch.isnan(reward)
    least = group_least(reward, group)
    above = torch.where(scored, reward - least, 0.0)
    count = group_sum(scored.to(reward.dtype), group)
    mean = group_sum(above, group) / count.clamp(min=1)
    deviation = torch.where(scored, above - mean, 0.0)
    variance = group_sum(deviation.square(), group) / (count - 1).clamp(min=1)
    return least + mean, variance.sqrt(), count


def _whiten(x: Tensor, mask: Tensor, context: Context) -> Tensor:
    """``(x - mean) / sqrt(var + 1e-8)`` over masked entries of all ranks, unbiased variance; zeros elsewhere."""
    x = torch.where(mask, x, 0.0)
    total, count = context.reduce(torch.stack([x.sum(), mask.sum().to(x.dtype)]))
    mean = total / count.clamp(min=1)
    centred = torch.where(mask, x - mean, 0.0)
    variance = context.reduce(centred.square().sum()) / (count - 1).clamp(min=1)
    whitened: Tensor = centred / (variance + 1e-8).sqrt()
    return whitened


class AdvantageEstimator(Protocol):
    """Stage `advantage`: ``[B, T]`` advantages of this rank's rows; baselines may span all ranks."""

    name: ClassVar[str]

    def __call__(self, rollouts: Rollouts, context: Context) -> Tensor: ...


class _GroupEstimator:
    """An estimator whose advantages follow from the rewards of a group alone, over all ranks."""

    def __call__(self, rollouts: Rollouts, context: Context) -> Tensor:
        reward, own = context.everywhere(rollouts.reward)
        values = self._values(reward, context.gather(rollouts.group))[own]
        return torch.where(rollouts.train, values[:, None], 0.0)

    def _values(self, reward: Tensor, group: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class GRPOAdvantage(_GroupEstimator):
    """`grpo_advantages` as a stage."""

    name: ClassVar[str] = "group mean and std"
    std_eps: float = 1e-6

    def __post_init__(self) -> None:
        check_range(self, "std_eps", 0.0, open_low=True)

    def _values(self, reward: Tensor, group: Tensor) -> Tensor:
        return grpo_advantages(reward, group, std_eps=self.std_eps)


@dataclass(frozen=True)
class DrGRPOAdvantage(_GroupEstimator):
    """`dr_grpo_advantages` as a stage."""

    name: ClassVar[str] = "group mean"

    def _values(self, reward: Tensor, group: Tensor) -> Tensor:
        return dr_grpo_advantages(reward, group)


@dataclass(frozen=True)
class RLOOAdvantage(_GroupEstimator):
    """`rloo_advantages` as a stage."""

    name: ClassVar[str] = "leave one out"

    def _values(self, reward: Tensor, group: Tensor) -> Tensor:
        return rloo_advantages(reward, group)


@dataclass(frozen=True)
class ReinforcePlusPlusAdvantage:
    """`reinforce_plus_plus_advantages` as a stage."""

    name: ClassVar[str] = "return to go, whitened"
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "gamma", 0.0, 1.0, open_low=True)

    def __call__(self, rollouts: Rollouts, context: Context) -> Tensor:
        return reinforce_plus_plus_advantages(rollouts.reward, rollouts.train, gamma=self.gamma, context=context)


@dataclass(frozen=True)
class ReinforcePlusPlusBaselineAdvantage:
    """`reinforce_plus_plus_baseline_advantages` as a stage."""

    name: ClassVar[str] = "group mean, whitened"

    def __call__(self, rollouts: Rollouts, context: Context) -> Tensor:
        return reinforce_plus_plus_baseline_advantages(rollouts.reward, rollouts.group, rollouts.train, context=context)
