"""What is asked of a school before anything is measured: shapes, numbers, the box, headings."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = Tensor | NDArray[Any]
Still = Literal["error", "zero"]

# Below it a length is none, as in the released code.
TINY = 1e-10


def checked_vectors(name: str, given: Array) -> Tensor:
    """Vectors ``(..., N, 3)`` as floating-point numbers, those of integers in float64.

    Raises:
        ValueError: another shape, no agent, or numbers that are not finite; names the first of these.
    """
    if not isinstance(given, Tensor):
        given = np.asarray(given)  # a list's floats are float32 to torch, and float64 to NumPy
        if given.dtype.kind in "iuf":
            # Torch takes neither views that run backwards nor the other byte order.
            given = np.ascontiguousarray(given, given.dtype.newbyteorder("="))
    vectors = torch.as_tensor(given)
    if vectors.dim() < 2 or vectors.shape[-1] != 3:
        raise ValueError(f"{name}: (..., agents, 3), got {tuple(vectors.shape)}")
    if vectors.numel() == 0:
        raise ValueError(f"{name}: no agent, or no frame: {tuple(vectors.shape)}")
    if vectors.is_complex() or vectors.dtype == torch.bool:
        raise ValueError(f"{name}: real numbers, got {vectors.dtype}")
    if not vectors.is_floating_point():
        vectors = vectors.double()
    broken = ~vectors.detach().isfinite().all(-1)
    if broken.any():
        raise ValueError(
            f"{name}: {int(broken.sum())} vectors are not finite, the first is that of {whose(broken)}; leave out the "
            "frames or the agents that lack one (`load_tracks` does, with gaps='frames' or gaps='agents')"
        )
    return vectors


def checked_box(box: float) -> float:
    """The side of the cube.

    Raises:
        ValueError: it is not a finite number above 0.
    """
    if isinstance(box, bool) or not isinstance(box, int | float | np.number):
        raise ValueError(f"box: the side of a cube, one number in the unit of the positions, got {box!r}")
    if not (math.isfinite(box) and box > 0):
        raise ValueError(f"box: the side of a cube, above 0, got {box!r}")
    return float(box)


def checked_inside(positions: Tensor, box: float) -> Tensor:
    """The positions, in the closed cube; its far walls are where their dtype, or float32, puts ``box``.

    Raises:
        ValueError: a position outside; names the first, and how far positions reach.
    """
    # Wrapped in float32, a position may be the float32 next to the box, above it.
    wall = box * (1 + max(torch.finfo(positions.dtype).eps, torch.finfo(torch.float32).eps) / 2)
    outside = ((positions < 0) | (positions.double() > wall)).any(-1)
    if outside.any():
        low, high = float(positions.min()), float(positions.max())
        raise ValueError(
            f"positions: {int(outside.sum())} of {outside.numel()} lie outside of the box [0, {box:g}], the first is "
            f"that of {whose(outside)}; they reach from {low:g} to {high:g}. Give the box in the unit of the "
            "positions, shift its corner to 0, or wrap a periodic one: positions % box"
        )
    return positions


def directions(velocities: Array, *, still: Still = "error") -> Tensor:
    """Headings: velocities by their lengths, ``(..., N, 3)``.

    Args:
        still: what an agent slower than 1e-10 has: an ``error``, or ``zero``, the released code's zero vector, which
            counts as a heading in the plane z = 0 where headings are binned.

    Raises:
        ValueError: velocities that are none, or an agent without a heading; names the first.
    """
    given = checked_vectors("velocities", velocities)
    if still not in ("error", "zero"):
        raise ValueError(f"still: 'error' or 'zero', got {still!r}")
    speed = given.norm(dim=-1, keepdim=True)
    fast = speed.detach().isinf().squeeze(-1)
    if fast.any():
        raise ValueError(
            f"velocities: {int(fast.sum())} are longer than {given.dtype} holds, the first is that of {whose(fast)}; "
            "scale them, headings do not depend on it"
        )
    slow = (speed < TINY).squeeze(-1)
    if still == "error" and slow.any():
        raise ValueError(
            f"velocities: {int(slow.sum())} of {slow.numel()} have no speed and so no heading, the first is that of "
            f"{whose(slow)}; leave these agents out, or give still='zero', which takes them as the released code does"
        )
    return given / torch.where(speed < TINY, 1.0, speed)


def whose(mask: Tensor) -> str:
    """The first of a mask ``(..., N)``, in words."""
    *leading, agent = (int(i) for i in mask.nonzero()[0])
    if not leading:
        return f"agent {agent}"
    return f"agent {agent} in frame {leading[0] if len(leading) == 1 else tuple(leading)}"


def several(count: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{count} {noun}{'s' * (count != 1)}"
