"""Quantisers of weights, as parametrisations: what a layer multiplies by is a function of the weight that is trained.

One family, so that methods can be held side by side: StatsQ, LSQ, and a plain straight-through estimator.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import statsq
from .grid import (
    check_bits,
    check_boundary_range,
    check_finite_rows,
    check_weight,
    distance_to_threshold,
    in_precision,
    working,
)
from .learned_step import FLOOR, first_step, learned_step_quantize
from .recognised import Recognised


class WeightQuantizer(Recognised):
    """Weights ``[out, in, ...]`` on levels Q = Δ (k + ``offset``), of codes k and a step Δ for every row.

    A subclass says by `grid` what the step is and where weights lie; k is that place rounded, half to even. What is no
    weight is refused as by `stats_scale`, and so are levels that its precision has not (float16 near its end).

    Attributes:
        bits: 2 to 8. offset: of the levels from integers, 1/2 or 0.
        boundary_range: if set, and in training, only weights within so many steps of a threshold get a gradient.
            `ConfidenceGuidedAnnealing` sets it for products of weights.

    Raises:
        ValueError: bits outside 2 to 8.
    """

    offset: float = 0.5

    def __init__(self, bits: int) -> None:
        super().__init__()
        check_bits(type(self).__name__, bits)
        self.bits = bits
        self._recognise(bits)
        self.boundary_range: float | None = None

    def grid(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Δ of every row ``[out, 1, ...]``, and z, where every weight lies between codes, clipped at their ends.

        Both detached; in float32, or in float64 for such weights.
        """
        raise NotImplementedError

    def codes(self, weight: Tensor) -> Tensor:
        """k, int8 from -2^(bits - 1) to 2^(bits - 1) - 1."""
        return self.grid(weight)[1].round().to(torch.int8)

    def distance(self, weight: Tensor) -> Tensor:
        """How far every weight is from its nearest threshold, in steps, 0 to 1."""
        return distance_to_threshold(self.grid(weight)[1], self.bits)

    def forward(self, weight: Tensor) -> Tensor:
        """Q, in the shape and precision of ``weight``; dQ/dW = 1."""
        step, place = self.grid(weight)
        quantized = in_precision(type(self).__name__, step * (place.round() + self.offset), weight.dtype)
        return statsq.straight_through(weight, quantized, self._mask(place) if self._masks else None)

    @property
    def _masks(self) -> bool:
        return self.boundary_range is not None and self.training

    def _mask(self, place: Tensor) -> Tensor:
        assert self.boundary_range is not None
        check_boundary_range(type(self).__name__, self.boundary_range)
        return distance_to_threshold(place, self.bits) <= self.boundary_range

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class StatsQuantizer(WeightQuantizer):
    """StatsQ, see `stats_quantize`: Δ = 2 mean|W| / 2^(bits - 1)."""

    def grid(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = statsq.stats_scale(weight)
        return scale / (1 << self.bits - 1), statsq.place(working(weight), scale, self.bits)


class MaxQuantizer(WeightQuantizer):
    """The plain straight-through estimator: StatsQ's levels, but spread over a row's range, Δ = max|W| / 2^(bits - 1).

    Nothing is clipped, so that dQ/dW = 1 is all that there is to it. A row of zeros gives zeros.
    """

    def grid(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = _row_maximum("MaxQuantizer", weight)
        return scale / (1 << self.bits - 1), statsq.place(working(weight), scale, self.bits)


class LearnedStepQuantizer(WeightQuantizer):
    """LSQ, see `learned_step_quantize`: Δ is a parameter ``step``, ``[out, 1, ...]``, and 0 is a level.

    Args:
        bits: 2 to 8. weight: whose rows the steps start from.

    Raises:
        ValueError: bits outside 2 to 8. ValueError, TypeError: a weight that `stats_scale` refuses. Its methods:
            ValueError for a weight of another shape than the steps are for, or steps that became NaN or inf.
    """

    offset = 0.0

    def __init__(self, bits: int, weight: Tensor) -> None:
        super().__init__(bits)
        _row_maximum("LearnedStepQuantizer", weight)
        self.step = nn.Parameter(first_step(weight, list(range(1, weight.ndim)), (1 << bits - 1) - 1))

    def grid(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        self._check(weight)
        values, n = working(weight), 1 << self.bits - 1
        step = working(self.step).clamp_min(FLOOR).to(values.dtype)
        return step, (values / step).clamp(-n, n - 1)

    def forward(self, weight: Tensor) -> Tensor:
        """Q, with LSQ's gradients; a boundary range counts for ``weight`` alone, not for the steps."""
        self._check(weight)
        n, step = 1 << self.bits - 1, self.step.to(working(weight).dtype)
        if self._masks:
            weight = torch.where(self._mask(self.grid(weight)[1]), weight, weight.detach())
        quantized = learned_step_quantize(weight.to(step.dtype), step, -n, n - 1)
        return in_precision("LearnedStepQuantizer", quantized, weight.dtype)

    def _check(self, weight: Tensor) -> None:
        _row_maximum("LearnedStepQuantizer", weight)
        rows = (len(weight), *(1 for _ in weight.shape[1:]))
        if self.step.shape != rows:
            raise ValueError(
                f"LearnedStepQuantizer: steps of shape {list(self.step.shape)} are for other weights; those of shape "
                f"{list(weight.shape)} need {list(rows)}"
            )
        if not torch.compiler.is_compiling() and not bool(torch.isfinite(self.step).all()):
            bad = int((~torch.isfinite(self.step)).sum())
            raise ValueError(
                f"LearnedStepQuantizer: {bad} of {len(weight)} steps are NaN or inf; training has diverged before"
            )


def _row_maximum(what: str, weight: Tensor) -> Tensor:
    """max|W| of every row, ``[out, 1, ...]``, once the weight is one and finite."""
    check_weight(what, weight)
    values = working(weight)
    maximum = values.abs().amax(list(range(1, weight.ndim)), keepdim=True)
    check_finite_rows(what, maximum, values)
    return maximum


METHODS: dict[str, Callable[[int, Tensor], WeightQuantizer]] = {
    "statsq": lambda bits, weight: StatsQuantizer(bits),
    "lsq": LearnedStepQuantizer,
    "ste": lambda bits, weight: MaxQuantizer(bits),
}
