"""The four configurations that dewi-kadita comes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from .couzin import CouzinModel
from .zones import Zones

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True)
class Preset:
    """A model, its number of agents and how it is run; a school begins as a mill where ``radius`` is given."""

    model: CouzinModel
    agents: int
    steps: int
    dt: float = 0.1
    radius: float | None = None

    def start(self, *schools: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Positions and velocities ``(*schools, agents, 3)`` to begin with."""
        if self.radius is None:
            return self.model.swarm(*schools, self.agents, generator=generator)
        return self.model.mill(*schools, self.agents, generator=generator, radius=self.radius)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "swarm": Preset(CouzinModel(25.0, 1.0, Zones(2.0, 3.0, 15.0, 30.0), 0.4, 0.2), 150, 1000),
        "torus": Preset(CouzinModel(25.0, 1.0, Zones(1.0, 3.0, 10.0, 150.0, 0.1), 0.2, 0.05), 200, 2000, radius=6.0),
        "dynamic_parallel": Preset(CouzinModel(28.0, 1.2, Zones(1.0, 10.0, 18.0, 25.0), 0.35, 0.12), 180, 1500),
        "highly_parallel": Preset(CouzinModel(35.0, 1.5, Zones(1.0, 12.0, 20.0, 20.0), 0.2, 0.05), 250, 1000),
    }
)
"""By name. ``torus`` begins as a mill and does not stay one (arXiv 2602.07948, version 0.0.4 of its code)."""
