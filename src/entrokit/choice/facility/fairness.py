"""Which axioms of fairness an outcome keeps: groups have a say in proportion to their size (arXiv 2111.01566).

With the interval taken as [0, 1], n reports x and an outcome y:

- ``ifs``, individual fair share: nobody is farther than ``1 - 1/n`` from y.
- ``ufs``, unanimous fair share: m agents at one place are no farther than ``1 - m/n``.
- ``pf``, proportional fairness: m agents within a range ρ are no farther than ``1 - m/n + ρ``.
- ``proportional``: where all report an end of the interval, y is the share of those at the upper end.

pf implies ufs, and ufs implies the other two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .mechanisms import Mask
from .reports import Profiles, ReportsLike, outcomes, profiles

AXIOMS = ("ifs", "ufs", "pf", "proportional")


@dataclass(frozen=True)
class FairnessReport:
    """Axioms that outcomes keep: of every profile by itself, but for `violation_rates`, which is over all of them.

    Attributes:
        ifs, ufs, pf, proportional: ``[...]``, a boolean a profile, as the profiles lie; ``report.pf.all()`` is whether
            all keep it.
        slack: by axiom, ``[...]``, a number a profile: how much farther the worst-off agent might be from the outcome,
            in shares of the interval; below 0 the axiom is broken. Infinite where an axiom says nothing, as
            proportionality does of reports inside of the interval.
    """

    ifs: Tensor
    ufs: Tensor
    pf: Tensor
    proportional: Tensor
    slack: Mapping[str, Tensor]

    def violation_rates(self) -> dict[str, float]:
        """Over all profiles: the share that breaks each axiom; of proportionality, among those that it speaks of."""
        spoken = {axiom: self.slack[axiom].isfinite() for axiom in AXIOMS}
        broken = {axiom: (~getattr(self, axiom)).sum() / spoken[axiom].sum().clamp(min=1) for axiom in AXIOMS}
        return {axiom: float(share) for axiom, share in broken.items()}


def fairness_report(
    x: ReportsLike,
    y: ReportsLike | float,
    tol: float | None = None,
    *,
    lo: float = 0.0,
    hi: float = 1.0,
    dim: int = -1,
    mask: Mask = None,
) -> FairnessReport:
    """Which axioms outcomes keep, profile by profile. O(n log n) a profile, no gradient.

    Args:
        x: reports ``[..., n]``. y: an outcome for each profile, ``[...]``, as rules give it; a single number is the
            outcome of a single profile ``[n]``, never of several.
        tol: how far an axiom may be missed, and how near agents are at one place, in shares of the interval. By default
            1e-9 in float64 and 1e-6 in float32.

    Raises:
        ReportError: reports or outcomes that are NaN or outside of the interval. ValueError: shapes that do not fit, no
            interval, a ``tol`` outside of [0, 1).
    """
    given = profiles(x, lo, hi, dim, mask)
    outcome = _unit(outcomes(y, given), given)
    if tol is None:
        tol = 1e-9 if given.reports.dtype == torch.float64 else 1e-6
    if not 0 <= tol < 1:
        raise ValueError(f"fairness_report: tol must lie in [0, 1), got {tol}")
    ordered = _unit(given.ascending(), given).contiguous()
    count = given.count.double()
    distance = (ordered - outcome[..., None]).abs()
    together = torch.searchsorted(ordered, ordered + tol, right=True) - torch.searchsorted(ordered, ordered - tol)
    low, high = _fair_bounds(ordered, count)
    polar = ((ordered <= tol) | (ordered >= 1 - tol) | ordered.isinf()).all(-1)
    at_top = ((ordered >= 1 - tol) & ordered.isfinite()).sum(-1) / count.squeeze(-1)
    slack = {
        "ifs": _least(1 - 1 / count - distance, ordered),
        "ufs": _least(1 - together / count - distance, ordered),
        "pf": torch.minimum(outcome - low, high - outcome),
        "proportional": torch.where(polar, -(outcome - at_top).abs(), math.inf),
    }
    return FairnessReport(**{axiom: slack[axiom] >= -tol for axiom in AXIOMS}, slack=slack)


def fair_interval(
    x: ReportsLike, *, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Mask = None
) -> tuple[Tensor, Tensor]:
    """The outcomes that are proportionally fair: from ``max_i x_(i) - (i-1)/n`` to ``min_i x_(i) + (n-i)/n``.

    Of a group only the agents at its ends can complain, and with the range in the bound each of them but about the side
    of the other: so all of the 2^n groups come to these 2n. The interval holds the uniform phantom and the average.

    Returns:
        Lower and upper ends, ``[...]``, in float64 and in the reports' units.
    """
    given = profiles(x, lo, hi, dim, mask)
    low, high = _fair_bounds(_unit(given.ascending(), given), given.count.double())
    return given.place(low), given.place(high)


def _fair_bounds(ordered: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    before = torch.arange(ordered.shape[-1], device=ordered.device, dtype=torch.float64) / count
    behind = ordered.isinf()
    low = (ordered - before).masked_fill(behind, -math.inf).amax(-1)
    return low, (ordered + 1 - 1 / count - before).amin(-1)


def _unit(values: Tensor, given: Profiles) -> Tensor:
    return (values.detach().double() - given.lo) / (given.hi - given.lo)


def _least(slack: Tensor, ordered: Tensor) -> Tensor:
    return slack.masked_fill(ordered.isinf(), math.inf).amin(-1)
