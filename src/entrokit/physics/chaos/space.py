"""Shapes that flows of three coordinates share: any, those that are the same under a turn of the axes, jerks."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .checks import as_number
from .flow import Flow

__all__ = ["CyclicFlow", "JerkFlow", "SpaceFlow", "Start", "Velocity"]

Velocity = tuple[Any, Any, Any]
Start = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SpaceFlow(Flow):
    """A flow of three coordinates, ``(x, y, z)``; whatever it has beside period and start are its parameters, numbers.

    Raises:
        ValueError: a parameter that is no finite number, or a start of another size.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in fields(self):
            if field.name not in ("period", "start"):
                number = as_number(getattr(self, field.name), f"{self.name}: {field.name}")
                object.__setattr__(self, field.name, number)
        if self.dimension != 3:
            raise ValueError(f"{self.name}: start: three coordinates are expected; got {self.dimension}")

    def __call__(self, x: Tensor) -> Tensor:
        return torch.stack(self.velocity(*x.unbind(-1)), -1)

    def of_arrays(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(self.velocity(*x))

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        """Time derivatives of the coordinates, tensors or arrays."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class CyclicFlow(SpaceFlow):
    """The same from every axis: dx/dt of (x, y, z) is dy/dt of (y, z, x) and dz/dt of (z, x, y)."""

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return self.along(x, y, z), self.along(y, z, x), self.along(z, x, y)

    def along(self, u: Any, v: Any, w: Any) -> Any:
        """du/dt, of the coordinate, the one that follows it, and the third."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class JerkFlow(SpaceFlow):
    """A third derivative: y is the velocity of x, z its acceleration."""

    def velocity(self, x: Any, y: Any, z: Any) -> Velocity:
        return y, z, self.jerk(x, y, z)

    def jerk(self, x: Any, y: Any, z: Any) -> Any:
        """dz/dt."""
        raise NotImplementedError
