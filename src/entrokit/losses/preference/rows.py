"""What every function here asks of its utilities, targets and probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..given import floats, integers

# Probabilities that a softmax in half precision rounded still sum to 1 within this.
_SUM_TOLERANCE = 1e-2


def row_at(index: Sequence[int]) -> str:
    """A row by its index among those before the last dimension; a single row has none."""
    return f"row {list(index)}" if index else "the row"


def check_utilities(what: str, u: Tensor) -> Tensor:
    """Utilities ``[..., K]`` in float32 at least.

    Raises:
        TypeError: no floats. ValueError: no candidates, NaN, +inf, or a row of -inf alone; names the first row.
    """
    u = floats(u, f"{what}: utilities")
    if u.dim() < 1 or u.shape[-1] == 0:
        raise ValueError(f"{what}: utilities {list(u.shape)} hold no candidates; the last dimension is theirs")
    # A row's maximum is finite exactly when it holds no NaN, no +inf and one finite utility at least.
    broken = ~torch.isfinite(u.detach().amax(-1))
    if bool(broken.any()):
        first = broken.nonzero()[0].tolist()
        raise ValueError(
            f"{what}: {int(broken.sum())} of {broken.numel()} rows hold NaN, +inf or nothing but -inf, first "
            f"{row_at(first)}; "
            "-inf forbids a candidate, and every row needs one that is allowed"
        )
    return u


def check_target(what: str, u: Tensor, target: Tensor, *, allowed: bool = True) -> Tensor:
    """Indices ``[..., 1]`` of the observed outputs, on the utilities' device.

    Raises:
        TypeError: no integers. ValueError: another shape than the rows', an index outside of them, no rows; and, where
            the outputs must be ``allowed``, one whose utility is -inf.
    """
    target = integers(target, f"{what}: target")
    if target.shape != u.shape[:-1]:
        raise ValueError(
            f"{what}: target must hold one index a row, shape {list(u.shape[:-1])}, got {list(target.shape)}"
        )
    if target.numel() == 0:
        raise ValueError(f"{what}: there are no rows")
    outside = (target < 0) | (target >= u.shape[-1])
    if bool(outside.any()):
        first = outside.nonzero()[0].tolist()
        raise ValueError(
            f"{what}: target {int(target[tuple(first)])} of {row_at(first)} lies outside of the {u.shape[-1]} "
            "candidates; leave out rows whose observed output is not among them"
        )
    index = target.to(u.device).unsqueeze(-1)
    if allowed:
        forbidden = u.detach().gather(-1, index).squeeze(-1) == -torch.inf
        if bool(forbidden.any()):
            raise ValueError(
                f"{what}: the observed output of {row_at(forbidden.nonzero()[0].tolist())} has utility -inf: it has "
                "probability 0 under every map, and its likelihood no logarithm; allow it, or leave the row out"
            )
    return index


def check_probabilities(what: str, probs: Tensor) -> Tensor:
    """Probabilities ``[..., K]`` in float32 at least.

    Raises:
        TypeError: no floats. ValueError: no candidates, negative or not finite, or a row that does not sum to 1.
    """
    probs = floats(probs, f"{what}: probabilities")
    if probs.dim() < 1 or probs.shape[-1] == 0:
        raise ValueError(f"{what}: probabilities {list(probs.shape)} hold no candidates; the last dimension is theirs")
    wrong = ~((probs >= 0).all(-1) & ((probs.sum(-1) - 1.0).abs() <= _SUM_TOLERANCE))
    if bool(wrong.any()):
        first = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"{what}: {row_at(first)} is no distribution: its probabilities must be at least 0 and sum to 1, "
            f"got a sum of {float(probs[tuple(first)].sum()):.4g}; utilities become some by UtilityToProbability"
        )
    return probs


def look_like_probabilities(u: Tensor) -> bool:
    """Whether every row ``[N, K]`` is one of probabilities, to the rounding of their dtype."""
    tolerance = u.shape[-1] * max(torch.finfo(u.dtype).eps, 1e-6)
    return bool((u >= 0).all()) and bool(((u.sum(-1) - 1.0).abs() <= min(tolerance, _SUM_TOLERANCE)).all())
