"""Schools beside the released code of dewi-kadita, whose loops are compiled and warm: agreement, and CPU time in turns.

Configuration `highly_parallel`, at 250 agents as released and at 4 000 in a box of the same density, from a start
without order and from the state after 100 steps:

- a step of the zone model with noise, against their compiled loops and their arrays, on one thread;
- all measures of a frame, of a trajectory in one call, against theirs frame by frame;
- where the noise is off, the largest difference of velocities after a step, and of measures.

Needs dewi-kadita and numba (`peers.txt`). Prints a table and writes ``runs/bench/schooling.json``. Times are of the
process, not of the clock. Takes about five minutes.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from dewi_kadita.core.metrics import compute_all_metrics
from dewi_kadita.core.solver import _update_velocities_numba, _update_velocities_numpy

from entrokit.physics.schooling import PRESETS, CouzinModel, school_series

PRESET = PRESETS["highly_parallel"]
# Agents: frames that are measured at a time, rounds.
SIZES = {250: (20, 9), 4_000: (2, 3)}
SETTLED = 100


def theirs(update: Callable[..., Any], model: CouzinModel, noise: float) -> Callable[[Any, Any], Any]:
    z = model.zones

    def velocities(x: Any, v: Any) -> Any:
        radii = (z.r_rep, z.r_ori, z.r_att)
        blind = np.radians(z.blind_degrees)
        return update(x, v, model.box, *radii, model.max_turn, noise, blind, model.speed, z.ori_weight)

    return velocities


def in_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds by call, a number a round; compiled and cached before."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds):
        for name in list(calls)[:: 1 if i % 2 else -1]:
            begin = time.process_time()
            calls[name]()
            times[name].append(time.process_time() - begin)
    return times


def beside(times: Mapping[str, list[float]], own: str, other: str) -> dict[str, Any]:
    ratios = sorted(a / b for a, b in zip(times[own], times[other], strict=True))
    return {
        "own_ms": 1e3 * statistics.median(times[own]),
        "peer_ms": 1e3 * statistics.median(times[other]),
        "ratio": statistics.median(ratios),
        "spread": [ratios[0], ratios[-1]],
    }


def measure(agents: int, settled: bool, frames: int, rounds: int) -> dict[str, Any]:
    box = PRESET.model.box * (agents / 250) ** (1 / 3)
    parts = {name: getattr(PRESET.model, name) for name in ("speed", "zones", "max_turn")}
    model = CouzinModel(box, noise=PRESET.model.noise, **parts)
    quiet = CouzinModel(box, noise=0.0, **parts)
    g = torch.Generator().manual_seed(0)
    x, v = model.swarm(agents, generator=g)
    if settled:
        run = model.run(x, v, SETTLED, PRESET.dt, save_every=SETTLED, generator=g)
        x, v = run.positions[-1], run.velocities[-1]
    xs, vs = x.expand(frames, *x.shape), v.expand(frames, *v.shape)
    times = torch.arange(frames, dtype=torch.float64)
    loops = theirs(_update_velocities_numba, model, model.noise)
    arrays = theirs(_update_velocities_numpy, model, model.noise)
    steps = in_turns(
        {
            "ours": lambda: model.step(x, v, PRESET.dt, generator=g),
            "loops": lambda: loops(x.numpy(), v.numpy()),
            "arrays": lambda: arrays(x.numpy(), v.numpy()),
        }
        if agents <= 250
        else {
            "ours": lambda: model.step(x, v, PRESET.dt, generator=g),
            "loops": lambda: loops(x.numpy(), v.numpy()),
        },
        rounds,
    )
    frame = in_turns(
        {
            "ours": lambda: school_series(times, xs, vs, box),
            "theirs": lambda: [compute_all_metrics(x.numpy(), v.numpy(), box) for _ in range(frames)],
        },
        rounds,
    )
    own, other = school_series(times[:1], x[None], v[None], box).values, compute_all_metrics(x.numpy(), v.numpy(), box)
    turned = theirs(_update_velocities_numba, quiet, 0.0)(x.numpy(), v.numpy())
    row: dict[str, Any] = {
        "agents": agents,
        "box": box,
        "settled": settled,
        "step, against loops": beside(steps, "ours", "loops"),
        "measures of a frame": beside(
            {name: [t / frames for t in taken] for name, taken in frame.items()}, "ours", "theirs"
        ),
        "velocities differ": float(np.abs(quiet.step(x, v, PRESET.dt)[1].numpy() - turned).max()),
        "index differs": abs(float(own["index"][0]) - float(other["oceanic_schooling_index"])),
    }
    if "arrays" in steps:
        row["step, against arrays"] = beside(steps, "ours", "arrays")
    return row


if __name__ == "__main__":
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    rows = []
    for agents, (frames, rounds) in SIZES.items():
        for settled in (False, True):
            row = measure(agents, settled, frames, rounds)
            rows.append(row)
            print(f"{agents:,} agents, {'after 100 steps' if settled else 'without order'}")
            for name, value in row.items():
                if isinstance(value, dict):
                    low, high = value["spread"]
                    print(
                        f"  {name:>22}: {value['own_ms']:9.2f} ms, theirs {value['peer_ms']:9.2f} ms, "
                        f"ratio {value['ratio']:.3f} [{low:.3f}, {high:.3f}]"
                    )
            differ = f"velocities {row['velocities differ']:.1e}, index {row['index differs']:.1e}"
            print(f"  {'differences':>22}: {differ}", flush=True)
    file = Path("runs/bench/schooling.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows, indent=1) + "\n")
