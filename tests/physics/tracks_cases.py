"""A school that was simulated as if it had been tracked, and its table."""

import csv
from functools import cache

import torch

from entrokit.physics.schooling import PRESETS, Trajectory

BOX = 25.0


@cache
def tracked() -> Trajectory:
    """Twelve agents of a mill in eleven frames, a tenth apart; not to be changed."""
    preset = PRESETS["torus"]
    g = torch.Generator().manual_seed(0)
    x, v = preset.model.mill(12, generator=g, radius=3.0)
    return preset.model.run(x, v, 10, 0.1, generator=g)


def rows(unit=1.0):
    """A row an agent and frame."""
    run, out = tracked(), []
    for t, x, v in zip(run.times.tolist(), run.positions.tolist(), run.velocities.tolist(), strict=True):
        for name, (at, way) in enumerate(zip(x, v, strict=True)):
            row = {"time": round(t, 3), "id": f"fish {name}"} | dict(zip("xyz", (unit * c for c in at), strict=True))
            out.append(row | dict(zip(("vx", "vy", "vz"), way, strict=True)))
    return out


def write(file, rows):
    with file.open("w", newline="", encoding="utf-8") as target:
        table = csv.DictWriter(target, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return file
