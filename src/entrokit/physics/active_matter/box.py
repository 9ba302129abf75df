"""A periodic box [-L, L)^d, and who is near whom in it, by SciPy's trees: no table of all pairs is ever made."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from entrokit.extras import require

from ..arguments import as_count, check_generator
from .checks import check_above, check_points

__all__ = ["box_half_width", "check_inside", "nearest_neighbors", "pairs_within", "uniform_or_clustered", "wrap"]


def wrap(x: Tensor, half_width: float) -> Tensor:
    """The image of points or differences in [-L, L], elementwise: x - 2L · round(x / 2L)."""
    image = x - 2 * half_width * (x / (2 * half_width)).round()
    # Of a point many boxes away the rounding is larger than that of L.
    return image.clamp(-half_width, half_width)


def box_half_width(n: int, packing: float, radius: float = 1.0) -> float:
    """L of a square box that ``n`` discs of a radius fill by the share ``packing``: ½ √(n π radius² / packing)."""
    check_above(n=n, packing=packing, radius=radius)
    return 0.5 * math.sqrt(n * math.pi * radius**2 / packing)


def uniform_or_clustered(
    shape: tuple[int, int, int], half_width: float, packing: float, generator: torch.Generator | None = None
) -> Tensor:
    """Where the paper's simulations begin, ``[B, N, d]``: uniform below a packing of 0.25, else a normal cloud of
    standard deviation L, wrapped into the box."""
    check_generator(generator)
    if packing < 0.25:
        return half_width * (2 * torch.rand(shape, dtype=torch.float64, generator=generator) - 1)
    return wrap(half_width * torch.randn(shape, dtype=torch.float64, generator=generator), half_width)


def check_inside(x: Tensor, half_width: float) -> Tensor:
    """Positions ``[B, N, d]`` within [-L, L].

    Raises:
        TypeError, ValueError: of another shape, not finite, or outside of the box; says which particle.
    """
    check_points(x)
    if x.ndim != 3:
        raise ValueError(f"positions [B, N, d] are expected; their shape is {list(x.shape)}")
    # Of half precision, and of float32 in what has become float64 since, L itself may be a hair beyond L.
    hair = max(torch.finfo(x.dtype).eps, 1e-6)
    outside = (x.detach().abs().double() > half_width * (1 + hair)).any(-1)
    if bool(outside.any()):
        row, particle = (int(i) for i in outside.nonzero()[0])
        at = ", ".join(f"{v:.4g}" for v in x[row, particle].tolist())
        raise ValueError(
            f"{int(outside.sum())} particles are outside of the box [-{half_width:.4g}, {half_width:.4g}], the first "
            f"is number {particle} of row {row}, at ({at}); wrap(x, half_width) brings them in"
        )
    return x


def pairs_within(x: Tensor, half_width: float, reach: float) -> Tensor:
    """Pairs of particles nearer than ``reach``, each once: ``[2, P]``, numbers of the rows of ``x.flatten(0, 1)``.

    Args:
        x: ``[B, N, d]`` within the box; particles of two rows never meet.
        reach: at most L, or a particle would meet its own image.

    Raises:
        ValueError: as `check_inside`; a reach that is not in (0, L].
    """
    check_inside(x, half_width)
    if not 0 < reach <= half_width:
        raise ValueError(f"a reach is above 0 and at most the half width {half_width:.4g} of the box; it is {reach}")
    found = _tree(x, half_width, 2 * reach).query_pairs(reach, output_type="ndarray")
    return torch.from_numpy(found.T.astype(np.int64)).to(x.device)


def nearest_neighbors(x: Tensor, half_width: float, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest others of every particle, nearest first: their numbers in its row, and distances.

    Both ``[B, N, count]``.

    Raises:
        ValueError: as `check_inside`; ``count`` that is not in 1 .. N - 1.
    """
    check_inside(x, half_width)
    count = as_count("count", count)
    batch, n, _ = x.shape
    if not 1 <= count <= n - 1:
        raise ValueError(f"neighbours are 1 to N - 1 = {n - 1} of {n} particles; {count} are asked for")
    apart = 2 * half_width * math.sqrt(x.shape[2]) + 1
    tree = _tree(x, half_width, apart)
    distance, number = tree.query(tree.data, k=count + 1)
    # A particle at the same place may come before the particle itself.
    own = number == np.arange(batch * n)[:, None]
    own[~own.any(1), -1] = True
    kept = (~own).nonzero()
    distance, number = (v[kept].reshape(batch, n, count) for v in (distance, number % n))
    return torch.from_numpy(number.astype(np.int64)).to(x.device), torch.from_numpy(distance).to(x)


def _tree(x: Tensor, half_width: float, apart: float) -> Any:
    """Of all rows at once: a further axis without period keeps them ``apart``."""
    require("who is near whom", "physics")
    from scipy.spatial import cKDTree

    at = x.detach().double().cpu().numpy().reshape(-1, x.shape[2])
    # Modulo may round up to the period itself, which SciPy refuses.
    at = np.mod(at + half_width, 2 * half_width)
    at[at >= 2 * half_width] = 0.0
    rows = np.repeat(np.arange(x.shape[0]) * apart, x.shape[1])
    return cKDTree(np.column_stack([at, rows]), boxsize=[*[2 * half_width] * x.shape[2], 0.0])
