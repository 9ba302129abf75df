"""Turns of an episode: what the policy said between two answers of its environment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .rollouts import Rollouts


@dataclass(frozen=True)
class Turns:
    """The turns of a batch of completions, in order of rows and then of tokens.

    A turn without a trained token is left out.

    Attributes:
        which: ``[B, T]`` int64, the turn that a trained token belongs to, -1 elsewhere.
        trajectory: ``[N]`` int64, the episode that a turn belongs to (a row's index where the engine names none).
        order: ``[N]`` int64, the turn's place in its episode.
    """

    which: Tensor
    trajectory: Tensor
    order: Tensor

    @classmethod
    def of(cls, rollouts: Rollouts) -> Turns:
        """Of `Rollouts.turn` and `Rollouts.trajectory`, or of runs of trained tokens.

        Rows of one trajectory are taken to follow one another in the batch's order: the runs of each go on counting
        where those of the row before ended.
        """
        train = rollouts.trained
        rows = torch.arange(len(train), device=train.device)
        trajectory = rows if rollouts.trajectory is None else rollouts.trajectory
        number = _counted_on(number_runs(train), trajectory) if rollouts.turn is None else rollouts.turn
        number = torch.where(train, number, -1)
        pairs = torch.stack([trajectory[:, None].expand(number.shape)[train], number[train]], 1)
        distinct, index = torch.unique(pairs, dim=0, return_inverse=True)
        which = torch.full_like(number, -1)
        which[train] = index
        return cls(which, distinct[:, 0], distinct[:, 1])

    def __len__(self) -> int:
        return len(self.order)

    @property
    def tokens(self) -> Tensor:
        """Trained tokens of each turn, ``[N]`` float."""
        return self.sum(torch.ones(self.which.shape, device=self.which.device))

    def sum(self, x: Tensor) -> Tensor:
        """Sums of ``x [B, T]`` over each turn's tokens, ``[N]``."""
        inside = self.which >= 0
        return x.new_zeros(len(self)).index_add(0, self.which[inside], x[inside])

    def mean(self, x: Tensor) -> Tensor:
        """Means of ``x [B, T]`` over each turn's tokens, ``[N]``."""
        return self.sum(x) / self.tokens.to(x.dtype)

    def spread(self, values: Tensor) -> Tensor:
        """Each turn's value at its tokens, ``[B, T]``; zeros elsewhere."""
        out = values.new_zeros(self.which.shape)
        inside = self.which >= 0
        out[inside] = values[self.which[inside]]
        return out


def number_runs(mask: Tensor) -> Tensor:
    """Numbers the runs of true entries of each row, ``[B, T]`` int64 from 0 on; -1 where ``mask`` is false."""
    before = torch.nn.functional.pad(mask, (1, 0))[:, :-1]
    number = (mask & ~before).long().cumsum(1) - 1
    return torch.where(mask, number, -1)


def _counted_on(number: Tensor, trajectory: Tensor) -> Tensor:
    """Runs ``[B, T]`` numbered within rows as numbered within trajectories ``[B]``, in order of rows."""
    own = number.max(1).values + 1 if number.shape[1] else torch.zeros_like(trajectory)
    order = torch.argsort(trajectory, stable=True)
    before = own[order].cumsum(0) - own[order]
    _, index = torch.unique(trajectory[order], return_inverse=True)
    started = torch.zeros_like(before).scatter_reduce(0, index, before, "amin", include_self=False)[index]
    earlier = torch.empty_like(before)
    earlier[order] = before - started
    return number + earlier[:, None]


def answered_turns(rollouts: Rollouts) -> Tensor:
    """Turns of each completion that tokens of something else follow, ``[B]`` int64."""
    other = rollouts.real & ~rollouts.trained
    return (rollouts.trained[:, :-1] & other[:, 1:]).sum(1)
