"""Advantage estimators: what a completion is worth beside the others.

Rewards are one number a completion. A completion whose reward is NaN could not be scored: it counts in no baseline and
gets advantage 0. Functions take a whole generation batch; the estimators are those of GRPO (arXiv 2402.03300), Dr.GRPO
(2503.20783), RLOO (2402.14740), REINFORCE++ (2501.03262).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from entrokit.groups import GroupMoments, as_float, group_moments, widest

from .context import Context
from .knobs import check_range
from .rollouts import Rollouts


def grpo_advantages(reward: Tensor, group: Tensor, *, std_eps: float = 1e-6) -> Tensor:
    """GRPO: ``(R - mean) / (std + std_eps)`` within the group, std with Bessel's correction.

    Args:
        reward: ``[B]`` float. group: ``[B]`` int.

    Returns:
        ``[B]``. All rewards of a group equal: 0. A group of one: its raw reward (mean 0, std 1), as verl does.
    """
    reward = as_float(reward)
    of_group = group_moments(reward, group)
    normalised = of_group.centred / (of_group.std + std_eps)
    return _raw_if_alone(reward, of_group, normalised)


def dr_grpo_advantages(reward: Tensor, group: Tensor) -> Tensor:
    """Dr.GRPO: ``R - mean`` within the group. A group of one: its raw reward. Shapes as `grpo_advantages`."""
    reward = as_float(reward)
    of_group = group_moments(reward, group)
    return _raw_if_alone(reward, of_group, of_group.centred)


def rloo_advantages(reward: Tensor, group: Tensor) -> Tensor:
    """RLOO: ``(R - mean) · G/(G-1)``, the reward minus the mean of the others. Shapes as `grpo_advantages`.

    A group of one has no others: advantage 0, and a warning.
    """
    reward = as_float(reward)
    of_group = group_moments(reward, group)
    if bool((of_group.count == 1).any()):
        warnings.warn("rloo: a group of one completion has no baseline; its advantage is 0", stacklevel=2)
    return (of_group.centred * of_group.count / (of_group.count - 1).clamp(min=1)).to(reward.dtype)


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
    reward = as_float(reward)
    to_go = train.flip(-1).cumsum(-1).flip(-1) - 1
    scored = train & ~torch.isnan(reward)[:, None]
    returns = reward.nan_to_num(nan=0.0)[:, None] * gamma ** to_go.clamp(min=0)
    return _whiten(returns, scored, context or Context())


def reinforce_plus_plus_baseline_advantages(
    reward: Tensor, group: Tensor, train: Tensor, *, context: Context | None = None
) -> Tensor:
    """REINFORCE++-baseline: ``R - mean`` within the group, whitened over all trained tokens. Returns ``[B, T]``.

    A group of one keeps its raw reward (mean 0) and is whitened with the others, as verl does. Groups may be split over
    ranks: the context's collectives bring them together.
    """
    context, reward = context or Context(), as_float(reward)
    rewards, own = context.gathered_with_own_part(reward)
    of_group = group_moments(rewards, context.gather(group))
    alone = (of_group.count == 1) & ~torch.isnan(rewards)
    centred = torch.where(alone, rewards, of_group.centred.to(rewards.dtype))[own]
    return reinforce_plus_plus_advantages(centred.masked_fill(torch.isnan(reward), torch.nan), train, context=context)


def _raw_if_alone(reward: Tensor, of_group: GroupMoments, advantage: Tensor) -> Tensor:
    """``advantage``, but the raw reward in a group of one; 0 where the reward is NaN."""
    return torch.where(of_group.count == 1, reward, advantage.to(reward.dtype)).nan_to_num(nan=0.0)


def _whiten(x: Tensor, mask: Tensor, context: Context) -> Tensor:
    """``(x - mean) / sqrt(var + 1e-8)`` over masked entries of all ranks, unbiased variance; zeros elsewhere.

    Exact zeros where all masked entries are equal, whose deviations would be rounding over the square root of 1e-8.
    """
    wide = torch.where(mask, x, 0.0).to(widest(x))
    total, count = context.reduce(torch.stack([wide.sum(), mask.sum().to(wide.dtype)]))
    mean = total / count.clamp(min=1)
    inside = wide[mask]
    extremes = torch.stack([inside.min(), inside.max()]) if len(inside) else wide.new_tensor([torch.inf, -torch.inf])
    of_ranks = context.gather(extremes[None])
    if bool(of_ranks[:, 0].min() >= of_ranks[:, 1].max()):
        return torch.zeros_like(x)
    centred = torch.where(mask, wide - mean, 0.0)
    variance = context.reduce(centred.square().sum()) / (count - 1).clamp(min=1)
    whitened: Tensor = (centred / (variance + 1e-8).sqrt()).to(x.dtype)
    return whitened


class AdvantageEstimator(Protocol):
    """Stage `advantage`: ``[B, T]`` advantages of this rank's rows; baselines may span all ranks."""

    name: ClassVar[str]

    def __call__(self, rollouts: Rollouts, context: Context) -> Tensor: ...


class _GroupEstimator:
    """An estimator whose advantages follow from the rewards of a group alone, over all ranks."""

    def __call__(self, rollouts: Rollouts, context: Context) -> Tensor:
        reward, own = context.gathered_with_own_part(rollouts.reward)
        values = self._values(reward, context.gather(rollouts.group))[own]
        return torch.where(rollouts.trained, values[:, None], 0.0)

    def _values(self, reward: Tensor, group: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class GRPOAdvantage(_GroupEstimator):
    """`grpo_advantages` as a stage."""

    name: ClassVar[str] = "group mean and std"
    std_eps: float = 1e-6

    def __post_init__(self) -> None:
        check_range(self, "std_eps", 0.0, above=True)

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
        check_range(self, "gamma", 0.0, 1.0, above=True)

    def __call__(self, rollouts: Rollouts, context: Context) -> Tensor:
        return reinforce_plus_plus_advantages(rollouts.reward, rollouts.trained, gamma=self.gamma, context=context)


@dataclass(frozen=True)
class ReinforcePlusPlusBaselineAdvantage:
    """`reinforce_plus_plus_baseline_advantages` as a stage."""

    name: ClassVar[str] = "group mean, whitened"

    def __call__(self, rollouts: Rollouts, context: Context) -> Tensor:
        return reinforce_plus_plus_baseline_advantages(
            rollouts.reward, rollouts.group, rollouts.trained, context=context
        )


@dataclass(frozen=True)
class GivenAdvantages:
    """Advantages that somebody else has computed, in the place of a base's: ``values [B, T]``."""

    name: ClassVar[str] = "given"
    values: Tensor | None = None

    def __call__(self, rollouts: Rollouts, context: Context) -> Tensor:
        if self.values is None:
            raise ValueError("this recipe takes advantages that its engine computes, and none were given")
        return self.values
