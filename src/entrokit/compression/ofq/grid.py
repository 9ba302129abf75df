"""A weight's place in a grid of 2^b levels, and which input is refused before it is looked for.

Codes are integers k from -n to n - 1, n = 2^(b - 1). A place z is where a weight lies among them: its code is z
rounded, half to even, and the 2^b - 1 thresholds are i + 1/2, i from -n to n - 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check_bits(what: str, bits: int) -> None:
    """Raises: ValueError: bits that are no integer from 2 to 8."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
        raise ValueError(
            f"{what}: bits are an integer from 2 to 8, got {bits!r}; one bit has no level to round to, "
            "and codes of more than 8 are no bytes"
        )


def check_weight(what: str, weight: Tensor, dim: int = 0) -> int:
    """Refuses what is no weight; gives ``dim`` counted from the first.

    Raises:
        ValueError: fewer than two dimensions, an empty weight, one on the meta device, or a dim that it does not have.
        TypeError: no tensor of real floats of 16, 32 or 64 bits.
    """
    if not isinstance(weight, Tensor):
        raise TypeError(f"{what}: expected a tensor of weights, got {type(weight).__name__}")
    if weight.dtype not in _FLOATS:
        raise TypeError(
            f"{what}: expected real floating point weights of 16, 32 or 64 bits, got {weight.dtype}; a weight that is "
            "quantised already has to be dequantised first"
        )
    if weight.ndim < 2 or not weight.numel():
        raise ValueError(
            f"{what}: expected weights [out, in, ...], not empty, got shape {list(weight.shape)}; biases, norms and "
            "other vectors stay in floating point"
        )
    if weight.is_meta:
        raise ValueError(f"{what}: the weight is on the meta device and has no values; load it first")
    if isinstance(dim, bool) or not isinstance(dim, int) or not -weight.ndim <= dim < weight.ndim:
        raise ValueError(f"{what}: dim must be one of the {weight.ndim} dimensions of the weight, got {dim!r}")
    return dim % weight.ndim


def check_boundary_range(what: str, boundary_range: float) -> None:
    """Raises: ValueError: no number, below 0, NaN or infinite."""
    number = isinstance(boundary_range, int | float) and not isinstance(boundary_range, bool)
    if not number or not 0 <= boundary_range < float("inf"):
        raise ValueError(
            f"{what}: boundary_range is in quantisation steps, finite and at least 0; got {boundary_range!r}"
        )


def check_finite_rows(what: str, size: Tensor, weight: Tensor) -> None:
    """``size``: of every row, not finite where one of its weights is not; nothing is asked while torch compiles.

    Raises:
        ValueError: says how many weights are NaN or inf, or that their sum overflows.
    """
    if torch.compiler.is_compiling() or bool(torch.isfinite(size).all()):
        return
    bad = int((~torch.isfinite(weight)).sum())
    if bad:
        raise ValueError(f"{what}: {bad} of {weight.numel()} weights are NaN or inf; training has diverged before")
    raise ValueError(f"{what}: the weights of a row are so large that their sum overflows {size.dtype}; rescale them")


def working(weight: Tensor) -> Tensor:
    """Detached, and in float32 where it is half precision: 1 - 1e-6 is 1 there, and a place between levels is lost."""
    weight = weight.detach()
    return weight.float() if weight.dtype.itemsize < 4 else weight


def in_precision(what: str, levels: Tensor, dtype: torch.dtype) -> Tensor:
    """Levels in the precision of the weights; nothing is asked of float32 and float64, nor while torch compiles.

    Raises:
        ValueError: a level that half precision has not, as 1.5 times the largest float16.
    """
    found = levels.to(dtype)
    if dtype.itemsize < 4 and not torch.compiler.is_compiling() and not bool(torch.isfinite(found).all()):
        bad = int((~torch.isfinite(found)).sum())
        raise ValueError(
            f"{what}: {bad} of {found.numel()} weights get levels up to {float(levels.detach().abs().max()):.6g}, and "
            f"{dtype} ends at {torch.finfo(dtype).max:.6g}; rescale the weights, or keep them in float32"
        )
    return found


def distance_to_threshold(place: Tensor, bits: int) -> Tensor:
    """|z - nearest threshold|, in steps: at most 1/2 between two thresholds, at most 1 outside of all."""
    n = 1 << bits - 1
    return (place - (place.floor().clamp(-n, n - 2) + 0.5)).abs()
