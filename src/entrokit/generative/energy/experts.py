"""Diffusion time shared out between models (arXiv 2506.17139): only that of the least noise need be an energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .checks import as_times, check_points, scores_of
from .model import EnergyModel
from .residual import smooth_range

__all__ = ["TimeExperts"]


class TimeExperts(nn.Module):
    """Each time has one expert that answers for it; energies of two experts differ by any number, and are not compared.

    Args:
        experts: modules with ``score(x, t)`` or called so, an `EnergyScore` where energies are wanted. One that has a
            ``time_range`` has it cover the range that it answers for.
        ranges: of times, one an expert, from 0 to 1 without a gap; an expert answers from its ``low``, up to but
            without its ``high``, the last for 1 as well.

    Raises:
        TypeError: experts in no list, or ranges that are no pairs.
        ValueError: not as many ranges as experts, ranges that leave times without an expert or give them two, or an
            expert of less than its range.
    """

    def __init__(self, experts: Sequence[nn.Module], ranges: Sequence[tuple[float, float]]) -> None:
        super().__init__()
        if not isinstance(experts, (Sequence, nn.ModuleList)):
            raise TypeError(f"experts are a list of modules, one a range; they are a {type(experts).__name__}")
        if not all(isinstance(of, Sequence) and len(of) == 2 for of in ranges):
            raise TypeError(f"ranges are pairs (low, high), one an expert; they are {ranges}")
        if not len(experts) or len(experts) != len(ranges):
            raise ValueError(f"a range an expert is expected; there are {len(experts)} experts, {len(ranges)} ranges")
        fits = all(low < high for low, high in ranges) and all(a[1] == b[0] for a, b in pairwise(ranges))
        if not fits or ranges[0][0] != 0 or ranges[-1][1] != 1:
            raise ValueError(f"ranges go from 0 to 1, each beginning where the one before ends; they are {ranges}")
        for number, (expert, (low, high)) in enumerate(zip(experts, ranges, strict=True)):
            begin, end = getattr(expert, "time_range", (low, high))
            if begin > low or end < high:
                raise ValueError(
                    f"expert {number} answers for ({low}, {high}) and its time_range is ({begin}, {end}): make it with "
                    f"time_range=({low}, {high})"
                )
        self.experts = nn.ModuleList(experts)
        self.ranges = tuple((float(low), float(high)) for low, high in ranges)

    def owner(self, t: Tensor) -> Tensor:
        """The expert's number for each of times ``[B]``."""
        borders = torch.tensor([low for low, _ in self.ranges[1:]], dtype=t.dtype, device=t.device)
        return torch.bucketize(t.contiguous(), borders, right=True)

    def score(self, x: Tensor, t: Tensor | float) -> Tensor:
        """``[B, *]``, each row by the expert of its time."""
        times = as_times(t, check_points(x))
        return self._each(x, times, scores_of, x)

    def log_q(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Log-density in nats up to a constant of each time, ``[B]``.

        Raises:
            TypeError: an expert whose time is asked for has no energy.
        """
        times = as_times(t, check_points(x))
        return self._each(x, times, _energies, times)

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The score."""
        return self.score(x, t)

    def smooth_range(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Of the expert of each time: differences in time across a border compare what is not comparable."""
        low, high = torch.empty_like(t), torch.empty_like(t)
        owners = self.owner(t)
        for number, (expert, (begin, end)) in enumerate(zip(self.experts, self.ranges, strict=True)):
            own_low, own_high = smooth_range(expert, t)
            mine = owners == number
            low = torch.where(mine, own_low.clamp(min=begin), low)
            high = torch.where(mine, own_high.clamp(max=end), high)
        return low, high

    def _each(self, x: Tensor, t: Tensor, evaluate: Callable[[Any, Tensor, Tensor], Tensor], empty: Tensor) -> Tensor:
        owners = self.owner(t)
        found, places = [], []
        for number, expert in enumerate(self.experts):
            rows = (owners == number).nonzero().flatten()
            if not len(rows):
                continue
            whole = len(rows) == len(x)
            try:
                found.append(evaluate(expert, x, t) if whole else evaluate(expert, x[rows], t[rows]))
            except (RuntimeError, TypeError, ValueError) as error:
                low, high = self.ranges[number]
                error.add_note(f"in expert {number}, that of times {low:g} to {high:g}; rows are counted among its own")
                raise
            places.append(rows)
        if not found:
            return torch.zeros_like(empty)
        return found[0] if len(found) == 1 else torch.cat(found)[torch.cat(places).argsort()]


def _energies(expert: Any, x: Tensor, t: Tensor) -> Tensor:
    if not isinstance(expert, EnergyModel):
        raise TypeError(
            f"the expert of t = {t[0].item():.4g}, a {type(expert).__name__}, has no energy: log_q(x, t) -> [B]; "
            "make it an EnergyScore, or ask for times of an expert that is one"
        )
    return expert.log_q(x, t)
