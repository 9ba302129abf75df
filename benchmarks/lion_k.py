"""Lion-K beside pytorch-optimizer's Lion and torch's Muon: seconds a step, and memory beyond parameters and gradients.

    pip install pytorch-optimizer
    python benchmarks/lion_k.py                 # all of it, a few minutes
    python benchmarks/lion_k.py --only l1       # or: nuclear, memory
    python benchmarks/lion_k.py --width 512     # of the nuclear norm, where bfloat16 is fast

- ``l1``: 50 million parameters in the shapes of a transformer (12 layers, width 512), Lion with weight decay.
- ``nuclear``: the matrices of four layers, five steps of Newton–Schulz; in bfloat16, as Muon computes, and in float32.
  Narrow by default: processors without bfloat16 emulate it, and take minutes a step for a wide one.
- ``memory``: the most that a process of its own held over two steps, beyond parameters and gradients, on Linux.

Contestants take turns, in alternating order; times are medians with the least and the largest, ratios are of the same
round. Prints tables and writes ``runs/bench/lion_k.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from entrokit.optim.lion_k import LionK

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
LAYERS, WIDTH, VOCABULARY = 12, 512, 24_000


def layer(width: int) -> list[tuple[int, ...]]:
    return [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]


def transformer() -> list[tuple[int, ...]]:
    vectors: list[tuple[int, ...]] = [(WIDTH,)] * 8 + [(4 * WIDTH,)]
    return [(VOCABULARY, WIDTH), *(layer(WIDTH) + vectors) * LAYERS]


def parameters(shapes: list[tuple[int, ...]]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator)
    return params


def lions() -> dict[str, Make]:
    knobs: dict[str, Any] = {"lr": 1e-4, "weight_decay": 0.1}
    import pytorch_optimizer as peer

    return {
        "LionK": lambda params: LionK(params, **knobs),
        "pytorch-optimizer, foreach": lambda params: peer.Lion(params, foreach=True, **knobs),
        "pytorch-optimizer, loop": lambda params: peer.Lion(params, foreach=False, **knobs),
    }


def muons() -> dict[str, Make]:
    def ours(bfloat16: bool) -> Make:
        options = {"newton_schulz": 5, "bfloat16": bfloat16}
        return lambda params: LionK(params, 0.02, (0.95**2, 0.95), 0.1, K="nuclear", K_kwargs=options)

    return {
        "LionK": ours(bfloat16=True),
        "torch.optim.Muon": lambda params: torch.optim.Muon(params, 0.02, 0.1, 0.95),
        "LionK, float32": ours(bfloat16=False),
    }


def in_turns(contestants: dict[str, Make], shapes: list[tuple[int, ...]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contestant's step, a round an entry; each has parameters of its own, and a step to warm up."""
    optimizers = {name: make(parameters(shapes)) for name, make in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for optimizer in optimizers.values():
        optimizer.step()
    for i in range(rounds):
        for name in list(contestants)[:: 1 if i % 2 else -1]:
            begin = time.perf_counter()
            optimizers[name].step()
            times[name].append(time.perf_counter() - begin)
    return times


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "largest": max(values)}


def compared(title: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """Print seconds, and ratios of ours to each peer."""
    print(f"\n{title}")
    found: dict[str, Any] = {}
    for name, own in times.items():
        seconds = spread(own)
        ratio = spread([a / b for a, b in zip(times["LionK"], own, strict=True)])
        found[name] = {"seconds": seconds, "LionK over it": ratio}
        print(
            f"  {name:28} {seconds['median']:.4f} s [{seconds['least']:.4f}, {seconds['largest']:.4f}]   "
            f"LionK over it {ratio['median']:.2f} [{ratio['least']:.2f}, {ratio['largest']:.2f}]",
            flush=True,
        )
    return found


def high_water_mb() -> float:
    """The most memory that this process has held (`getrusage` would count what its parent held)."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def alone(name: str) -> None:
    """Two steps in this process; prints megabytes beyond what was there before."""
    params = parameters(transformer())
    make = lions()[name]
    # What a first step imports is nobody's buffer.
    warm = make(parameters([(3, 3)]))
    warm.step()
    optimizer = make(params)
    before = high_water_mb()
    for _ in range(2):
        optimizer.step()
    print(json.dumps({"beyond_mb": high_water_mb() - before}))


def memory() -> dict[str, float]:
    elements = sum(param.numel() for param in parameters(transformer()))
    buffer = elements * 4 / 2**20
    print(f"\nMB beyond parameters and gradients over two steps; a buffer of {elements / 1e6:.1f} M is {buffer:.0f} MB")
    found = {"a buffer": buffer}
    for name in lions():
        command = [sys.executable, __file__, "--alone", name]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[name] = json.loads(out.splitlines()[-1])["beyond_mb"]
        print(f"  {name:28} {found[name]:.0f} MB", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("l1", "nuclear", "memory"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        alone(asked.alone)
        return
    found: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if asked.only in (None, "l1"):
        shapes = transformer()
        title = f"l1, {sum(torch.Size(s).numel() for s in shapes) / 1e6:.1f} M parameters, {asked.rounds} rounds"
        found["l1"] = compared(title, in_turns(lions(), shapes, asked.rounds))
    if asked.only in (None, "nuclear"):
        shapes, rounds = layer(asked.width) * 4, max(3, asked.rounds // 3)
        title = f"nuclear, {sum(torch.Size(s).numel() for s in shapes) / 1e6:.2f} M parameters, {rounds} rounds"
        found["nuclear"] = compared(title, in_turns(muons(), shapes, rounds))
    if asked.only in (None, "memory"):
        found["memory"] = memory()
    file = Path("runs/bench/lion_k.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
