"""The paper's own measurement: pre-activation ResNet-20 on CIFAR-10, read off the heat maps of its official code.

Colours were matched to the colour bar (±0.002). Rows are epochs of dense training, columns densities; means over three
dense networks and three retrained copies of each. CKA was read off at its ends alone: 0.882 (5 %, 120 epochs) to 0.994
(80 %).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Grid = np.ndarray[Any, np.dtype[np.float64]]

EPOCHS = list(range(10, 170, 10))
DENSITIES = [0.05, 0.06, 0.07, 0.08, 0.10, 0.14, 0.20, 0.40, 0.80]
LMC_FLOOR = -0.036  # of every cell from a density of 0.14 on, where LMC was not read off one by one

TEST_ERROR: Grid = np.array(
    [
        [0.157, 0.147, 0.142, 0.136, 0.130, 0.119, 0.109, 0.096, 0.082],
        [0.152, 0.141, 0.135, 0.129, 0.124, 0.113, 0.106, 0.093, 0.081],
        [0.149, 0.140, 0.132, 0.127, 0.118, 0.105, 0.100, 0.090, 0.081],
        [0.148, 0.137, 0.128, 0.123, 0.114, 0.102, 0.095, 0.088, 0.081],
        [0.147, 0.135, 0.125, 0.120, 0.112, 0.102, 0.095, 0.085, 0.079],
        [0.146, 0.133, 0.126, 0.118, 0.110, 0.100, 0.092, 0.084, 0.078],
        [0.149, 0.133, 0.125, 0.118, 0.108, 0.097, 0.091, 0.084, 0.078],
        [0.147, 0.132, 0.123, 0.115, 0.109, 0.096, 0.090, 0.082, 0.077],
        [0.159, 0.142, 0.126, 0.118, 0.109, 0.097, 0.089, 0.081, 0.077],
        [0.169, 0.151, 0.133, 0.121, 0.110, 0.098, 0.090, 0.081, 0.077],
        [0.171, 0.154, 0.140, 0.129, 0.110, 0.099, 0.091, 0.081, 0.076],
        [0.174, 0.161, 0.147, 0.137, 0.113, 0.098, 0.090, 0.081, 0.077],
        [0.175, 0.165, 0.151, 0.141, 0.115, 0.101, 0.090, 0.081, 0.077],
        [0.175, 0.164, 0.151, 0.142, 0.120, 0.101, 0.089, 0.081, 0.077],
        [0.174, 0.161, 0.151, 0.141, 0.118, 0.101, 0.090, 0.081, 0.076],
        [0.174, 0.163, 0.156, 0.143, 0.118, 0.101, 0.091, 0.081, 0.077],
    ]
)

LMC: Grid = np.array(
    [
        [-0.099, -0.043, -0.043, -0.027, -0.014],
        [-0.081, -0.072, -0.027, -0.019, -0.011],
        [-0.177, -0.075, -0.027, -0.027, -0.003],
        [-0.139, -0.054, -0.027, -0.008, -0.003],
        [-0.182, -0.102, -0.027, -0.011, -0.006],
        [-0.126, -0.083, -0.040, -0.014, -0.001],
        [-0.187, -0.094, -0.027, -0.008, -0.006],
        [-0.254, -0.091, -0.072, -0.008, -0.001],
        [-0.505, -0.361, -0.123, -0.025, -0.014],
        [-0.625, -0.526, -0.308, -0.121, -0.022],
        [-0.639, -0.582, -0.513, -0.297, -0.062],
        [-0.655, -0.663, -0.588, -0.479, -0.089],
        [-0.650, -0.663, -0.639, -0.564, -0.150],
        [-0.657, -0.679, -0.625, -0.540, -0.233],
        [-0.644, -0.657, -0.636, -0.572, -0.192],
        [-0.657, -0.668, -0.636, -0.575, -0.196],
    ]
)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's, with the mean rank for equal values."""

    def ranks(values: Sequence[float]) -> Grid:
        own = np.asarray(values, dtype=np.float64)
        return np.array([(own < v).sum() + ((own == v).sum() + 1) / 2 for v in own])

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def lmc_or_floor() -> Grid:
    """LMC ``[16, 9]``, with the least that it may be where it was not read off."""
    rest = np.full((len(EPOCHS), len(DENSITIES) - LMC.shape[1]), LMC_FLOOR)
    return np.concatenate([LMC, rest], axis=1)
