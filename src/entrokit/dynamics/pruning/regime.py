"""Three regimes of pruning, and which way to turn the temperature of dense training.

A Three-regime Model of Network Pruning (arXiv 2305.18383). I: copies retrained from one pruned network lie behind a
barrier. II-A: they are connected and answer differently. II-B: they are connected and answer alike. Temperature is
what makes dense training noisier or shorter: fewer epochs, smaller batches, a larger learning rate. The paper's text
was not available: both thresholds are ours. A barrier of 0.1 agrees with the line of its figure on 94 % of the cells;
similarity is judged within a density, since CKA along the figure's other line rises with density.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Regime = Literal["I", "II-A", "II-B"]
Grid = np.ndarray[Any, np.dtype[np.float64]]
_ADVICE = {"I": 1, "II-A": -1, "II-B": 0}


def classify_regime(
    lmc: float, cka: float, tau_c: float = 0.1, tau_s: float = 0.005, cka_reference: float | None = None
) -> Regime:
    """The regime of a pruned and retrained network.

    Args:
        lmc: mean over pairs of retrained copies, in units of error (`linear_mode_connectivity`). cka: their mean CKA;
            not looked at in regime I.
        tau_c: a barrier higher than this is one. tau_s: copies are alike from ``cka_reference`` − tau_s on.
        cka_reference: the largest CKA over all temperatures at this density; None: 1. For an absolute threshold c say
            ``cka_reference=c, tau_s=0``.

    Raises:
        ValueError: a number that is asked for and is not finite, or a negative threshold.
    """
    if not (tau_c >= 0 and tau_s >= 0):
        raise ValueError(f"classify_regime: thresholds are at least 0, got tau_c={tau_c}, tau_s={tau_s}")
    if not math.isfinite(lmc):
        raise ValueError(f"classify_regime: lmc is {lmc}; networks that learnt nothing are in no regime")
    if lmc < -tau_c:
        return "I"
    reference = 1.0 if cka_reference is None else cka_reference
    if not (math.isfinite(cka) and math.isfinite(reference)):
        raise ValueError(
            f"classify_regime: needs a finite cka and reference where lmc >= -tau_c, got {cka}, {reference}"
        )
    return "II-B" if cka >= reference - tau_s else "II-A"


def advise_temperature(regime: Regime) -> int:
    """Which way to turn the temperature of dense training: +1 raise (I), −1 lower (II-A), 0 keep (II-B).

    Raises:
        ValueError: no regime.
    """
    if regime not in _ADVICE:
        raise ValueError(f"advise_temperature: a regime is one of {', '.join(_ADVICE)}, got {regime!r}")
    return _ADVICE[regime]


@dataclass(frozen=True, eq=False)
class RegimeDiagram:
    """Regimes over temperature and density.

    Density is the share of weights that stay. The paper's axis calls it load, which elsewhere is data for each
    parameter and falls with density; it is named for what it is here.

    Attributes:
        temps: of the rows, in the order of the grid; whatever stands for temperature, e.g. epochs. densities: of the
            columns, in (0, 1]. lmc: ``[rows, columns]``. cka: likewise, or None where it was not measured; NaN in
            either where a cell has no number.
        tau_c, tau_s: of `classify_regime`; the reference is the largest CKA of the column.

    Raises:
        ValueError: shapes that do not fit, an empty grid, values that are inf, densities outside of (0, 1].
    """

    temps: Sequence[float]
    densities: Sequence[float]
    lmc: Grid
    cka: Grid | None = None
    tau_c: float = 0.1
    tau_s: float = 0.005

    def __post_init__(self) -> None:
        shape = (len(self.temps), len(self.densities))
        for name in ("lmc", "cka"):
            if (given := getattr(self, name)) is None:
                continue
            grid = np.asarray(given, dtype=np.float64)
            if grid.shape != shape or not grid.size or np.isinf(grid).any():
                raise ValueError(f"RegimeDiagram: {name} is a finite grid {shape}, got shape {grid.shape}")
            object.__setattr__(self, name, grid)
        if not all(0 < density <= 1 for density in self.densities):
            raise ValueError(f"RegimeDiagram: densities are shares in (0, 1], got {list(self.densities)}")

    def labels(self) -> list[list[str]]:
        """A regime for every cell. ``"II"``: connected, CKA not known; ``""``: LMC not known."""
        cka = np.full_like(self.lmc, np.nan) if self.cka is None else self.cka
        best = np.where(np.isnan(cka), -np.inf, cka).max(0)
        return [
            [self._label(*cell) for cell in zip(lmc.tolist(), own.tolist(), best.tolist(), strict=True)]
            for lmc, own in zip(self.lmc, cka, strict=True)
        ]

    def advice(self) -> list[list[int]]:
        """`advise_temperature` for every cell; 0 where similarity or connectivity is not known."""
        return [[_ADVICE.get(label, 0) for label in row] for row in self.labels()]

    def _label(self, lmc: float, cka: float, best: float) -> str:
        if math.isnan(lmc):
            return ""
        if lmc >= -self.tau_c and math.isnan(cka):
            return "II"
        return classify_regime(lmc, cka, self.tau_c, self.tau_s, best)
