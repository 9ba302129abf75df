"""One step of any optimiser, measured in units of its Taylor radius, and shortened where it is too long."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .inputs import Call, draw
from .radii import worst_spread
from .slopes import Parameters, length_of
from .spread import bare, logit_spread

# Of the parameters before a step and its update, by name: Δ(update) of the rows that were looked at ``[m]``, the worst
# position of each, and how many rows there are.
Spreads = Callable[[Parameters, Parameters], tuple[Tensor, int]]


@dataclass(frozen=True)
class StepRadius:
    """A step in units of its radius.

    Attributes:
        r: ``‖p‖ / ρ`` of the step p that the optimiser proposed, over the rows that were looked at. Infinite where the
            update, or the slopes of a logit, are NaN or infinite.
        scale: what the step was multiplied by; ``scale * r`` is the step that was taken.
        norm: ``‖p‖``, before that.
        rows: samples that were looked at, of how many (``of``).
        beyond: expected share of the rows not looked at whose own r is larger, ``1 / (rows + 1)``; 0 if all were.
        shortfall: how much smaller r would on average have been with half of the rows, as a share of r: about what
            twice as many would add. 0 if all rows were looked at, NaN for one alone.
    """

    r: float
    scale: float
    norm: float
    rows: int
    of: int
    beyond: float
    shortfall: float

    @property
    def radius(self) -> float:
        """ρ, the distance along the step's direction; infinite where no logit moves."""
        return self.norm / self.r if self.r else math.inf


class StepMeter:
    """`begin` before an optimiser's step, `end` after it: a step is its parameters' difference, whatever took it.

    Holds a copy of the parameters in between, and one of their update while it is looked at.

    Args:
        target_r: the largest r that is let through; infinite only measures. exactly: every step gets r = target_r.
        reduction: over rows, see `worst_spread`.

    Raises:
        ValueError: a target not above 0, or exactly an infinite one.
    """

    def __init__(self, target_r: float = 1.0, *, exactly: bool = False, reduction: str | float = "max") -> None:
        if not target_r > 0:
            raise ValueError(f"target_r: must be above 0, got {target_r}")
        if exactly and math.isinf(target_r):
            raise ValueError("target_r: exactly this r needs a finite one")
        worst_spread(torch.zeros(1), reduction)
        self.target_r, self.exactly, self.reduction = float(target_r), exactly, reduction
        self._before: list[tuple[str, Tensor, Tensor]] | None = None

    @torch.no_grad()
    def begin(self, model: nn.Module, parameters: Sequence[Tensor]) -> None:
        """Copies what is about to move; parameters that are not the model's are shortened too, and not looked at.

        Raises:
            ValueError: none of them is the model's.
        """
        names = {id(p): name for name, p in bare(model).named_parameters()}
        if not any(id(p) in names for p in parameters):
            raise ValueError(
                "RadiusClip: none of the optimiser's parameters is one of the model's; give the same model"
            )
        self._before = [(names.get(id(p), ""), p, p.detach().clone()) for p in parameters if p.requires_grad]

    @torch.no_grad()
    def put_back(self) -> None:
        """Forgets the step since `begin`, of which the parameters keep nothing."""
        for _, p, old in self._before or ():
            p.copy_(old)
        self._before = None

    @torch.no_grad()
    def end(self, spreads: Spreads) -> StepRadius:
        """Measures the step since `begin`, and shortens it in place.

        Raises:
            FloatingPointError: an update, or slopes of logits, that are not finite, and a finite target; an infinite
                one tells of them by an infinite r. Whatever is raised, also by ``spreads``, the parameters are put
                back to where they were.
        """
        assert self._before is not None
        try:
            found = self._measured(self._before, spreads)
        except BaseException:
            self.put_back()
            raise
        self._before = None
        return found

    def _measured(self, before: list[tuple[str, Tensor, Tensor]], spreads: Spreads) -> StepRadius:
        updates = [p.detach() - old for _, p, old in before]
        broken = [i for i, update in enumerate(updates) if not bool(torch.isfinite(update).all())]
        norm = length_of({str(i): update for i, update in enumerate(updates)})
        own = {name: (old, update) for (name, _, old), update in zip(before, updates, strict=True) if name}
        values, of = torch.zeros(0), 0
        if norm and not broken:
            values, of = spreads({n: old for n, (old, _) in own.items()}, {n: u for n, (_, u) in own.items()})
        finite = not broken and bool(torch.isfinite(values).all())
        # What is broken on one rank is told to all, none of which may wait for it.
        r = _over_ranks(worst_spread(values, self.reduction) if finite else math.inf, updates) / math.pi
        if math.isinf(r):
            if math.isinf(self.target_r):
                return StepRadius(r, 1.0, norm, len(values), of, math.nan, math.nan)
            what = (
                f"the update of {before[broken[0]][0] or f'parameter {broken[0]}'} is"
                if broken
                else "the logits' slopes are"
            )
            raise FloatingPointError(f"RadiusClip: {what} NaN or infinite; parameters were put back")
        scale = self.target_r / r if r > self.target_r or (self.exactly and r) else 1.0
        if scale != 1.0:
            for (_, p, old), update in zip(before, updates, strict=True):
                p.copy_(old.add(update, alpha=scale))
        return StepRadius(r, scale, norm, len(values), of, *sample_error(values, of))


def sample_error(values: Tensor, of: int) -> tuple[float, float]:
    """`StepRadius.beyond` and `StepRadius.shortfall` of a maximum over ``values [m]`` drawn from ``of`` by lot.

    The mean of the largest over all halves of the sample is exact: the j-th largest of m is that of a half of h with
    probability ``C(m - j, h - 1) / C(m, h)``.
    """
    m = len(values)
    if m >= of or not m:
        return 0.0, 0.0
    beyond, half = 1.0 / (m + 1), m // 2
    if not half:
        return beyond, math.nan
    ordered = values.detach().double().flatten().sort(descending=True).values.tolist()
    share, mean = half / m, 0.0
    for j, value in enumerate(ordered[: m - half + 1], start=1):
        mean += share * value
        share *= (m - j - half + 1) / max(1, m - j)
    return beyond, 1.0 - mean / ordered[0] if ordered[0] else 0.0


def step_spreads(
    model: nn.Module,
    calls: Sequence[Call],
    most: int | None,
    *,
    method: str,
    class_dim: int | None,
    generator: torch.Generator,
) -> Spreads:
    """`Spreads` of a model on what it was called with: at most so many rows of all calls, drawn by lot."""

    def spreads(before: Parameters, update: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        drawn, of = draw(list(calls), most, generator)
        parts = [logit_spread(model, before, call, update, method=method, class_dim=class_dim) for call in drawn]
        rows = [part.flatten(1).amax(1) if part.dim() > 1 and part.numel() else part.flatten() for part in parts]
        return (torch.cat(rows) if rows else torch.zeros(0)), of

    return spreads


def _over_ranks(worst: float, updates: Sequence[Tensor]) -> float:
    """The largest over the processes of a group, which must all shorten a step alike."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return worst
    shared = torch.tensor(worst, device=updates[0].device, dtype=torch.float32)
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
    return float(shared)
