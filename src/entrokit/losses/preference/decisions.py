"""Decisions that need probabilities: sampling, and the largest expected gain. Both change with the map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..given import check_tensor
from .rows import check_probabilities, row_at


def sample_decision(probs: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One candidate a row, drawn by its probabilities, ``[...]`` int64.

    Args:
        probs: ``[..., K]``. generator: on their device.

    Raises:
        TypeError: no floats. ValueError: no candidates, or a row that is no distribution.
    """
    probs = check_probabilities("sample_decision", probs)
    drawn = torch.multinomial(probs.detach().reshape(-1, probs.shape[-1]), 1, generator=generator)
    return drawn.view(probs.shape[:-1])


def expected_gain(probs: Tensor, gain: Tensor) -> Tensor:
    """``Σ_k P(k) G(d, k)`` of every decision d, ``[..., D]``, in the gain's unit; differentiable in ``probs``.

    Args:
        probs: ``[..., K]``. gain: ``[D, K]``, or ``[..., D, K]`` with one matrix a row: what decision d brings where k
            is true. A decision need be no candidate: a row of constants is what abstaining brings.

    Raises:
        TypeError: no floats. ValueError: a row of ``probs`` that is no distribution; a gain of another shape, or with
            NaN or infinities.
    """
    return _expected("expected_gain", probs, gain)


def _expected(what: str, probs: Tensor, gain: Tensor) -> Tensor:
    probs = check_probabilities(what, probs)
    gain = _checked_gain(what, gain, probs.shape[-1])
    dtype = torch.promote_types(probs.dtype, gain.dtype)
    sizes = zip(reversed(probs.shape[:-1]), reversed(gain.shape[:-2]), strict=False)
    if not all(a == b or 1 in (a, b) for a, b in sizes):
        raise ValueError(
            f"{what}: gains {list(gain.shape)} do not fit probabilities {list(probs.shape)}: give one [D, K] "
            "matrix, or one for each row"
        )
    # Autocast would multiply in half precision, and tie or turn decisions.
    with torch.autocast(probs.device.type, enabled=False):
        return (gain.to(probs.device, dtype) @ probs.to(dtype).unsqueeze(-1)).squeeze(-1)


def mbr_decision(probs: Tensor, gain: Tensor, *, allowed: Tensor | None = None) -> Tensor:
    """The decision of largest expected gain (minimum Bayes risk), ``[...]`` int64; of equal ones the lowest index.

    With the identity as gain it is the argmax.

    Args:
        probs, gain: as of `expected_gain`. allowed: ``[..., D]`` bool, decisions that may be taken; all by default.
            A candidate of probability 0 may be the best decision otherwise, which padding must not be.

    Raises:
        TypeError, ValueError: as `expected_gain`; and ValueError for ``allowed`` of another shape, or a row of it that
            allows nothing.
    """
    scores = _expected("mbr_decision", probs, gain)
    if allowed is not None:
        check_tensor(allowed, "mbr_decision: allowed", "a bool tensor")
        if allowed.dtype != torch.bool or allowed.shape not in (scores.shape, scores.shape[-1:]):
            raise ValueError(
                f"mbr_decision: allowed must be bool of shape {list(scores.shape)}, got {allowed.dtype} of "
                f"{list(allowed.shape)}"
            )
        none = ~allowed.any(-1)
        if bool(none.any()):
            raise ValueError(f"mbr_decision: {row_at(none.nonzero()[0].tolist())} allows no decision")
        scores = scores.masked_fill(~allowed.to(scores.device), -torch.inf)
    return scores.argmax(-1)


def gain_matrix(outputs: Sequence[Any], gain: Callable[[Any, Any], float] | Tensor) -> Tensor:
    """The gain of deciding each output where another is true, ``[K, K]`` float64.

    Args:
        outputs: K candidates, say texts. gain: asked as ``gain(decided, true)``, K² times; or a matrix, which is
            checked.

    Raises:
        ValueError: no outputs; a matrix of another shape; NaN or an infinite gain, with the outputs that have it.
        TypeError: a gain that is no number; outputs that are no list, as where the two are swapped.
    """
    if callable(outputs) or not hasattr(outputs, "__len__"):
        raise TypeError(
            f"gain_matrix: outputs must be a list of candidates, got {type(outputs).__name__}; they come first, "
            "gain_matrix(outputs, gain)"
        )
    count = len(outputs)
    if not count:
        raise ValueError("gain_matrix: there are no candidates to decide between")
    if isinstance(gain, Tensor):
        if gain.shape != (count, count):
            raise ValueError(
                f"gain_matrix: {count} candidates need gains of shape {[count] * 2}, got {list(gain.shape)}"
            )
        return _checked_gain("gain_matrix", gain, count).double()
    if not callable(gain):
        check_tensor(gain, "gain_matrix: the gain", "a function of two outputs or a tensor")
    matrix = torch.tensor(
        [[_number(gain, decided, true) for true in outputs] for decided in outputs], dtype=torch.float64
    )
    broken = (~torch.isfinite(matrix)).nonzero()
    if len(broken):
        d, k = broken[0].tolist()
        raise ValueError(
            f"gain_matrix: the gain of {outputs[d]!r:.60} where {outputs[k]!r:.60} is true is {float(matrix[d, k])}; "
            "gains must be finite"
        )
    return matrix


def _number(gain: Callable[[Any, Any], float], decided: Any, true: Any) -> float:
    value = gain(decided, true)
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"gain_matrix: the gain of {decided!r:.60} where {true!r:.60} is true is {value!r:.60}, no number"
        ) from error


def _checked_gain(what: str, gain: Tensor, candidates: int) -> Tensor:
    gain = check_tensor(gain, f"{what}: the gain", "a tensor of real numbers")
    if gain.is_complex():
        raise TypeError(f"{what}: the gain must be a tensor of real numbers, got {gain.dtype}")
    if gain.dim() < 2 or gain.shape[-1] != candidates or gain.shape[-2] == 0:
        raise ValueError(
            f"{what}: expected a gain matrix [D, {candidates}], a row for each decision and a column for each "
            f"candidate, got {list(gain.shape)}"
        )
    if not bool(torch.isfinite(gain).all()):
        first = (~torch.isfinite(gain)).nonzero()[0].tolist()
        raise ValueError(f"{what}: the gain at {first} is {float(gain[tuple(first)])}; gains must be finite")
    # Whole numbers are exact in float64 alone.
    return gain.float() if gain.is_floating_point() and gain.dtype != torch.float64 else gain.double()
