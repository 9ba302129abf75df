"""What one agent gains by another report while the others keep theirs: a search that asks nothing of the rule."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .reports import Mechanism, apply

# Reports tried at a time, in elements of all profiles together.
_CHUNK = 2**22
_GRID, _CLOSER = 17, 4
_ROUNDS_OF_REPORTS = 4


class Gains(NamedTuple):
    """The best other report that was found of every profile, each ``[...]``.

    Attributes:
        gain: how much nearer the outcome comes to the agent, in the reports' units; 0 where nothing pays. agent: whose.
            report: what it says instead.
    """

    gain: Tensor
    agent: Tensor
    report: Tensor


def best_deviations(mechanism: Mechanism, places: Tensor, reports: Tensor, lo: float, hi: float) -> Gains:
    """Of agents who are at ``places [B, n]`` and say ``reports [B, n]``, both in float64: the one that gains most.

    Every agent tries both ends, all reports and its own place, the outcome, its place mirrored at the outcome, and an
    even grid, then looks ever closer around the best.
    """
    rows, n = places.shape
    if not rows:
        none = places.new_zeros(0)
        return Gains(none, none.long(), none)
    at_once = max(1, _CHUNK // (n**2 * (n + _GRID + 4)))
    pairs = zip(torch.split(places, at_once), torch.split(reports, at_once), strict=True)
    parts = [_gains(mechanism, place, report, lo, hi) for place, report in pairs]
    return Gains(*(torch.cat(own) for own in zip(*parts, strict=True)))


def _gains(mechanism: Mechanism, places: Tensor, reports: Tensor, lo: float, hi: float) -> Gains:
    rows, n = places.shape
    present = apply(mechanism, reports)
    before = (places - present[:, None]).abs()

    def distances(tried: Tensor) -> Tensor:
        """Of every agent to the outcome when it alone reports ``tried [B, n, C]``, each ``[B, n, C]``."""
        parts, every = [], torch.arange(n, device=places.device)
        for agents in torch.split(every, max(1, _CHUNK // (rows * n * tried.shape[-1]))):
            said = reports[:, None, None, :].expand(rows, len(agents), tried.shape[-1], n).clone()
            said[:, every[: len(agents)], :, agents] = tried[:, agents].transpose(0, 1)
            parts.append(apply(mechanism, said.reshape(-1, n)).reshape(rows, len(agents), -1))
        return (places[..., None] - torch.cat(parts, 1)).abs()

    grid = torch.linspace(lo, hi, _GRID, dtype=places.dtype, device=places.device).expand(rows, n, _GRID)
    others = reports[:, None, :].expand(rows, n, n)
    outcome, own = present[:, None, None].expand(rows, n, 1), places[..., None]
    tried = torch.cat([grid, others, own, outcome, 2 * outcome - own, 2 * own - outcome], -1).clamp(lo, hi)
    width = (hi - lo) / (_GRID - 1)
    best, report = before.clone(), reports.clone()
    for _ in range(_ROUNDS_OF_REPORTS):
        after, index = distances(tried).min(-1)
        better = after < best
        best = torch.where(better, after, best)
        report = torch.where(better, tried.gather(-1, index[..., None]).squeeze(-1), report)
        around = torch.linspace(-width, width, 2 * _CLOSER + 1, dtype=places.dtype, device=places.device)
        tried = (report[..., None] + around).clamp(lo, hi)
        width /= _CLOSER
    gain, agent = (before - best).max(-1)
    return Gains(gain, agent, report.gather(-1, agent[:, None]).squeeze(-1))
