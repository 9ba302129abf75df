"""The Oceanic Schooling Index: one number out of seven entropies."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

__all__ = ["INDEX_WEIGHTS", "oceanic_schooling_index"]

INDEX_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "school_cohesion_entropy": 0.18,
        "polarization_entropy": 0.28,
        "depth_stratification_entropy": 0.08,
        "angular_momentum_entropy": 0.08,
        "nearest_neighbor_entropy": 0.10,
        "velocity_correlation_entropy": 0.18,
        "school_shape_entropy": 0.10,
    }
)
"""Weights of the released code (version 0.0.4), which sum to 1. Its readme has 1 - H for the velocity correlation, with
which a school that is perfectly aligned would count as disordered by 0.18."""


def oceanic_schooling_index(entropies: Mapping[str, Tensor], weights: Mapping[str, float] | None = None) -> Tensor:
    """Σ w H, ``(...)``: 0 for order, 1 for disorder (arXiv 2602.07948).

    Args:
        entropies: by name, as `SchoolEntropies.as_dict` has them.
        weights: by the same names; `INDEX_WEIGHTS` by default. What has no weight is left out.

    Raises:
        ValueError: a weight of an entropy that is not there, none at all, or weights that do not sum to 1.
    """
    weights = INDEX_WEIGHTS if weights is None else weights
    unknown = [name for name in weights if name not in entropies]
    if unknown or not weights:
        raise ValueError(f"weights: of {', '.join(entropies)}; got {', '.join(unknown) or 'none'}")
    total = sum(weights.values())
    if not abs(total - 1.0) <= 1e-9 or min(weights.values()) < 0:
        raise ValueError(f"weights: none below 0, and a sum of 1, got {dict(weights)}, which sum to {total:g}")
    return torch.stack([weight * entropies[name] for name, weight in weights.items()]).sum(0)
