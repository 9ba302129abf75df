"""Distances to the nearest neighbours in a cube, periodic or with walls."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor


def neighbor_distances(positions: Tensor, box: float | None, k: int) -> Tensor:
    """Distances of every agent to its ``k`` nearest, ``(F, N, k)`` in float64, rising.

    A tree a frame: N ln N in time and N k in memory. Positions ``(F, N, 3)`` lie in [0, box]; ``box=None`` has walls.
    """
    frames = positions.detach().double().cpu().numpy()
    if box is not None:
        # At exactly `box` the tree would refuse them.
        frames = np.where(frames >= box, 0.0, frames)
    # Itself is the first, or one that lies where it does.
    found = [cKDTree(x, boxsize=box, balanced_tree=False, compact_nodes=False).query(x, k=k + 1)[0] for x in frames]
    return torch.from_numpy(np.stack(found)[..., 1:]).to(positions.device)
