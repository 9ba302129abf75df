"""What a sample is worth beside the others of its prompt, bounded."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from entrokit.groups import as_float, group_moments

from ..checks import check_numbers, check_tensors

__all__ = ["group_advantages"]


def group_advantages(
    rewards: Tensor,
    groups: Tensor | None = None,
    *,
    global_std: bool = False,
    eps: float = 1e-4,
    clip: float = 5.0,
    max_abs: float = 1.0,
) -> Tensor:
    """``(R - mean of the group) / (std + eps)``, held to ``±clip`` and scaled to ``±max_abs``.

    The std divides by the count, as in AWM's code, not by one less, as GRPO's in `entrokit.rlvr`. A group of one, and a
    group whose rewards are equal, get exactly 0.

    Args:
        rewards: ``[N]``, any finite numbers; NaN is a sample that could not be scored: it counts nowhere and gets 0.
        groups: ``[N]`` int, the prompt of each sample; None where all have the same.
        global_std: the std of all rewards (around their own mean) in the place of the group's, as in published runs.
        eps: keeps small stds from making large advantages; above 0.
        clip, max_abs: above 0; published runs have 5 and 1, so that one std is worth 0.2.

    Returns:
        ``[N]``, of the rewards' dtype (torch's default float for whole numbers), in ``[-max_abs, max_abs]``.

    Raises:
        TypeError: rewards or groups that are no tensor, a knob that is no number.
        ValueError: shapes that differ, an infinite reward, rewards whose squares overflow, a knob that is not above 0.

    Source: Advantage Weighted Matching (arXiv 2509.25050), released code.
    """
    check_numbers(eps=eps, clip=clip, max_abs=max_abs)
    for name, value in (("eps", eps), ("clip", clip), ("max_abs", max_abs)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be finite and above 0; it is {value}")
    check_tensors(rewards=rewards)
    if rewards.ndim != 1:
        raise ValueError(f"rewards are one number a sample, [N]; their shape is {list(rewards.shape)}")
    if groups is None:
        groups = torch.zeros(rewards.shape, dtype=torch.long, device=rewards.device)
    check_tensors(groups=groups)
    if groups.shape != rewards.shape:
        raise ValueError(f"groups {list(groups.shape)} must name one prompt for each of rewards {list(rewards.shape)}")
    if groups.is_floating_point():
        raise ValueError(f"groups are whole numbers; their dtype is {groups.dtype}")
    rewards = as_float(rewards.detach())
    if bool(rewards.isinf().any()):
        raise ValueError(f"reward {int(rewards.isinf().nonzero()[0, 0])} is infinite: a group has no mean with it")
    of_group = group_moments(rewards, groups, ddof=0)
    std = group_moments(rewards, torch.zeros_like(groups), ddof=0).std if global_std else of_group.std
    if not bool((torch.isfinite(std) & torch.isfinite(of_group.centred)).all()):
        raise ValueError(
            f"rewards as large as {float(rewards.nan_to_num().abs().max()):g} overflow their variance: scale them down"
        )
    advantage = (of_group.centred / (std + eps)).clamp(-clip, clip) * (max_abs / clip)
    return advantage.to(rewards.dtype)
