"""Profiles of reports: what is taken for one, and what is refused by name."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ReportsLike = Tensor | NDArray[Any] | Sequence[Any]
"""A tensor or array keeps its dtype, from float32 up, and its device; whole numbers and lists become float64."""

Mechanism = Callable[[Tensor], Tensor]
"""Takes reports ``[..., n]`` and gives an outcome each, ``[...]``; deterministic."""


class ReportError(ValueError):
    """A report that is NaN, lies outside of the interval, or is missing; the message says which."""


@dataclass(frozen=True)
class Profiles:
    """Checked reports, agents last.

    Attributes:
        reports: ``[..., n]``. present: ``[..., n]``, which of them there are; None for all. lo, hi: the interval.
    """

    reports: Tensor
    present: Tensor | None
    lo: float
    hi: float

    @property
    def size(self) -> int:
        return self.reports.shape[-1]

    @property
    def count(self) -> Tensor:
        """Reports of a profile, ``[..., 1]``, in the reports' dtype."""
        if self.present is None:
            return torch.full((), self.size, dtype=self.reports.dtype, device=self.reports.device)
        return self.present.sum(-1, keepdim=True).to(self.reports.dtype)

    def place(self, share: Tensor) -> Tensor:
        """Where a share of the interval ends, exact at both of its ends."""
        return torch.lerp(torch.full_like(share, self.lo), torch.full_like(share, self.hi), share)

    def filled(self, value: float) -> Tensor:
        """The reports, with ``value`` where there is none."""
        return self.reports if self.present is None else self.reports.masked_fill(~self.present, value)

    def ascending(self) -> Tensor:
        """The reports in order; those that there are not come last, as infinity."""
        x = self.filled(math.inf)
        if x.requires_grad or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
            return x.sort(-1).values
        # NumPy's sort has wide lanes, torch's on a CPU has not: a fifth of the time at 50 agents.
        return torch.from_numpy(np.sort(x.numpy(), axis=-1))


def as_reports(x: ReportsLike) -> Tensor:
    """A tensor of floats.

    Raises:
        ReportError: complex numbers, or what is no array of numbers at all.
    """
    if isinstance(x, Tensor):
        given = x
    else:
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise ReportError(f"reports: rows of different lengths need padding and a mask ({error})") from None
        if array.dtype.kind not in "biuf":
            raise ReportError(f"reports must be real numbers, got an array of dtype {array.dtype}")
        keeps = array.dtype.kind == "f" and array.dtype.itemsize <= 8
        # A copy in C order and in this machine's bytes, for torch takes nothing else.
        given = torch.as_tensor(array.astype(array.dtype.newbyteorder("=") if keeps else np.float64, order="C"))
    if given.is_complex():
        raise ReportError(f"reports must be real numbers, got {given.dtype}")
    if not given.is_floating_point():
        return given.double()
    return given if given.dtype in (torch.float32, torch.float64) else given.float()


def profiles(
    x: ReportsLike, lo: float = 0.0, hi: float = 1.0, dim: int = -1, mask: Tensor | NDArray[Any] | None = None
) -> Profiles:
    """Reports, checked; ``dim`` is that of the agents, ``mask`` has True where there is a report.

    Raises:
        ReportError: see `ReportError`. ValueError: no interval, a mask that does not fit.
    """
    check_interval(lo, hi)
    reports = as_reports(x)
    if reports.ndim == 0:
        raise ReportError("reports: expected [..., n], got a single number")
    reports = reports.movedim(dim, -1)
    if reports.shape[-1] == 0:
        raise ReportError("reports: a profile needs at least one report, got none")
    present = None
    if mask is not None:
        present = torch.as_tensor(mask, device=reports.device)
        if present.dtype != torch.bool:
            raise ValueError(f"mask: expected booleans, True where there is a report, got {present.dtype}")
        present = present.movedim(dim, -1) if present.ndim > 1 else present
        try:
            present = present.expand(reports.shape)
        except RuntimeError:
            raise ValueError(
                f"mask {list(present.shape)} does not fit reports {list(reports.shape)} (agents last)"
            ) from None
        missing = ~present.any(-1)
        if missing.any():
            raise ReportError(f"reports: profile {_first(missing)} has no report under the mask")
    check_inside(reports, lo, hi, "report", present)
    if present is not None:
        # Padding may be NaN, whose gradient no later mask would stop.
        reports = torch.where(present, reports, torch.full_like(reports, lo))
    return Profiles(reports, present, float(lo), float(hi))


def outcomes(y: ReportsLike | float, of: Profiles) -> Tensor:
    """An outcome a profile, ``[...]``, in the profiles' dtype.

    Raises:
        ReportError: NaN or outside of the interval. ValueError: another shape.
    """
    given = as_reports([y])[0] if isinstance(y, (int, float)) else as_reports(y)
    shape = of.reports.shape[:-1]
    if given.shape != shape:
        got = f"got {list(given.shape)}" if given.ndim else "got a single number"
        hint = f"; torch.full({tuple(shape)}, y) is one place for all of them" if not given.ndim else ""
        raise ValueError(
            f"outcomes: reports {list(of.reports.shape)} (agents last) need one outcome a profile, {list(shape)}, "
            f"{got}{hint}"
        )
    check_inside(given, of.lo, of.hi, "outcome")
    return given.to(of.reports)


def apply(mechanism: Mechanism, reports: Tensor) -> Tensor:
    """What a mechanism makes of reports ``[..., n]``.

    Raises:
        TypeError: no function, one of a single profile, or one that gives no tensor. ValueError: another shape than
            ``[...]``, or an outcome that is not finite. Whatever else the mechanism raises.
    """
    if not callable(mechanism):
        raise TypeError(f"mechanism: expected a function of reports [..., n], got {mechanism!r}")
    try:
        # A copy, for a rule that sorts in place must not change what the agents said.
        found = mechanism(reports.clone())
    except Exception as error:
        if not _takes_one_profile(mechanism, reports):
            raise
        name = getattr(mechanism, "__name__", "the function")
        raise TypeError(
            f"mechanism: {name} takes one profile and not a batch of them, {list(reports.shape)} "
            f"({type(error).__name__}: {error}); wrap it: per_profile({name})"
        ) from error
    if not isinstance(found, Tensor):
        raise TypeError(
            f"mechanism: expected a tensor of outcomes, got {type(found).__name__}; "
            "wrap a function of one profile by per_profile"
        )
    if found.shape != reports.shape[:-1]:
        raise ValueError(
            f"mechanism: reports {list(reports.shape)} need outcomes {list(reports.shape[:-1])}, "
            f"got {list(found.shape)}; wrap a function of one profile by per_profile"
        )
    wrong = ~found.isfinite()
    if wrong.any():
        at = tuple(_first(wrong))
        raise ValueError(f"mechanism: its outcome is {float(found[at])} for the reports {reports[at].tolist()}")
    return found.to(reports)


def check_inside(values: Tensor, lo: float, hi: float, what: str, present: Tensor | None = None) -> None:
    """Raises a ReportError for the first value, agents last, that is NaN or outside of ``[lo, hi]``."""
    inside = (values >= lo) & (values <= hi)
    wrong = ~inside if present is None else ~inside & present
    if not wrong.any():
        return
    at = _first(wrong)
    value = float(values[tuple(at)].detach())
    if math.isnan(value):
        raise ReportError(f"{what} {at} is NaN; a profile that lacks a report needs a mask")
    raise ReportError(
        f"{what} {at} is {value:.6g}, outside of [{lo:g}, {hi:g}]: give the interval that everybody may report from as "
        "lo and hi (never the reports' own least and largest), or clamp first"
    )


def whole_number(value: Any, what: str) -> int:
    """An integer of at least 1.

    Raises:
        TypeError: no whole number by its type, as 2.0 is none. ValueError: below 1.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} must be a whole number, got {value!r}")
    number = operator.index(value)
    if number < 1:
        raise ValueError(f"{what} must be at least 1, got {number}")
    return number


def check_interval(lo: float, hi: float) -> None:
    """Raises a ValueError unless ``lo < hi`` are finite."""
    if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
        raise ValueError(f"the interval needs finite lo < hi, got [{lo:g}, {hi:g}]")


def _takes_one_profile(mechanism: Callable[..., Any], reports: Tensor) -> bool:
    """Whether it makes a number of the first profile as an array, as functions of NumPy and `statistics` do."""
    try:
        return isinstance(mechanism(reports.reshape(-1, reports.shape[-1])[0].cpu().numpy()), Real)
    except Exception:
        return False


def _first(wrong: Tensor) -> list[int]:
    return [int(i) for i in wrong.nonzero()[0]]
