"""What neighbours of active particles cost: trees against a table of all pairs, as the authors' code has it.

    python benchmarks/active_matter.py            # some two minutes; --quick without the largest sizes

- ``neighbours``: the 24 nearest of every particle in a periodic box. The peer is written here: wrapped differences of
  all pairs, their squares, `torch.topk`; in slices of 512 particles, since the whole table at 32,768 takes 8.6 GB.
- ``evaluation``: a score transformer of 24 neighbours (2 layers of 32), neighbours included.

Contestants take turns, in alternating order; CPU seconds of one thread, medians with the least and the largest, ratios
of the same round. Prints tables and writes ``runs/bench/active_matter.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from entrokit.physics.active_matter import ParticleScoreTransformer, box_half_width, nearest_neighbors, wrap

NEIGHBOURS, PACKING = 24, 0.5


def all_pairs(x: Tensor, half_width: float, count: int) -> tuple[Tensor, Tensor]:
    found = []
    for part in x[0].split(512):
        apart = wrap(part[:, None] - x[0], half_width).square().sum(-1)
        found.append(apart.topk(count + 1, largest=False))
    squares, number = (torch.cat(parts) for parts in zip(*found, strict=True))
    return number[None, :, 1:], squares[None, :, 1:].sqrt()


def timed(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    written: dict[str, dict[str, list[float]]] = {}
    for n in (1024, 4096, 8192) if arguments.quick else (1024, 4096, 8192, 16384, 32768):
        half_width = box_half_width(n, PACKING)
        x = half_width * (2 * torch.rand(1, n, 2) - 1)
        g = torch.randn(1, n, 2)
        net = ParticleScoreTransformer(NEIGHBOURS, half_width, embed_dim=32, layers=2, heads=2, mlp_layers=1)

        def by_trees(x: Tensor = x, half_width: float = half_width) -> object:
            return nearest_neighbors(x, half_width, NEIGHBOURS)

        def by_table(x: Tensor = x, half_width: float = half_width) -> object:
            return all_pairs(x, half_width, NEIGHBOURS)

        def whole(net: ParticleScoreTransformer = net, x: Tensor = x, g: Tensor = g) -> object:
            with torch.no_grad():
                return net(x, g)

        near, far = (call(x, half_width, 5)[1] for call in (nearest_neighbors, all_pairs))
        torch.testing.assert_close(near, far, rtol=0, atol=1e-4)
        calls = {"trees": by_trees, "all pairs": by_table, "evaluation": whole}
        spent: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(arguments.rounds):
            for name in list(calls)[:: 1 if turn % 2 else -1]:
                spent[name].append(timed(calls[name]))
        ratios = sorted(a / b for a, b in zip(spent["trees"], spent["all pairs"], strict=True))
        said = ", ".join(
            f"{name} {statistics.median(own):.3f} s [{min(own):.3f}, {max(own):.3f}]" for name, own in spent.items()
        )
        ends = f"[{ratios[0]:.3f}, {ratios[-1]:.3f}]"
        print(f"{n:6}: {said}; trees over all pairs {statistics.median(ratios):.3f} {ends}", flush=True)
        written[str(n)] = spent
    file = Path("runs/bench/active_matter.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
