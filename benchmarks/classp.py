"""A step of CLASSP against one of `torch.optim.Adagrad(foreach=True)`, whose work is most alike: time and memory.

- Time: parameters in the shapes of a small transformer, gradients that stay; every round steps every optimizer once, in
  an order that turns; a ratio is taken within a round. Medians, and the spread of the middle half of the rounds.
- Memory: state, and the peak of a step beyond what was there before it, each in a process of its own (Linux).

Prints tables and writes ``runs/bench/classp.json``. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from entrokit.optim.classp import CLASSP

PEER = "Adagrad, foreach"
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    PEER: partial(torch.optim.Adagrad, foreach=True),
    "Adagrad, loop": partial(torch.optim.Adagrad, foreach=False),
    "SGD, foreach": partial(torch.optim.SGD, lr=1e-3, foreach=True),
    "Adam, foreach": partial(torch.optim.Adam, foreach=True),
    "CLASSP p=1": partial(CLASSP, lr=1e-3),
    "CLASSP p=1, foreach": partial(CLASSP, lr=1e-3, foreach=True),
    "CLASSP p=1, threshold": partial(CLASSP, lr=1e-3, threshold=1e-5),
    "CLASSP p=1, threshold, foreach": partial(CLASSP, lr=1e-3, threshold=1e-5, foreach=True),
    "CLASSP p=2": partial(CLASSP, lr=1e-3, power=2.0),
    "CLASSP p=2, foreach": partial(CLASSP, lr=1e-3, power=2.0, foreach=True),
    "CLASSP p=2, threshold, foreach": partial(CLASSP, lr=1e-3, power=2.0, threshold=1e-5, foreach=True),
    "CLASSP p=1.5": partial(CLASSP, lr=1e-3, power=1.5),
    "CLASSP reference": partial(CLASSP, lr=1e-3, mode="reference"),
}


def parameters(layers: int, width: int, device: str) -> list[torch.Tensor]:
    """Embedding, attention, feed-forward and norms of a transformer, with gradients of about 1e-2."""
    layer = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width), (width,), (width,)]
    generator, made = torch.Generator().manual_seed(0), []
    for shape in [(32 * width, width), *layer * layers]:
        param = (0.02 * torch.randn(shape, generator=generator)).to(device).requires_grad_()
        param.grad = (0.01 * torch.randn(shape, generator=generator)).to(device)
        made.append(param)
    return made


def timed(optimizer: torch.optim.Optimizer, device: str) -> float:
    begin = time.perf_counter()
    optimizer.step()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def times(layers: int, width: int, rounds: int, device: str) -> dict[str, dict[str, float]]:
    params = parameters(layers, width, device)
    optimizers = {name: make(params) for name, make in OPTIMIZERS.items()}
    for optimizer in optimizers.values():
        optimizer.step()
    taken: dict[str, list[float]] = {name: [] for name in optimizers}
    for i in range(rounds):
        names = list(optimizers)
        for name in names[i % len(names) :] + names[: i % len(names)]:
            taken[name].append(timed(optimizers[name], device))
    found = {}
    for name, own in taken.items():
        ratios = [a / b for a, b in zip(own, taken[PEER], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[name] = {"ms": 1e3 * statistics.median(own), "ratio": middle, "low": low, "high": high}
    return found


def status_mb(line: str) -> float:
    return int(Path("/proc/self/status").read_text().split(f"{line}:")[1].split()[0]) / 1024


def alone(name: str, layers: int, width: int) -> None:
    """The second step of one optimizer in this process; prints megabytes of state, and of the peak beyond it."""
    params = parameters(layers, width, "cpu")
    optimizer = OPTIMIZERS[name](params)
    optimizer.step()
    state = sum(
        v.numel() * v.element_size()
        for own in optimizer.state.values()
        for v in own.values()
        if isinstance(v, torch.Tensor) and v.dim()
    )
    before = status_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    optimizer.step()
    weights = sum(p.numel() * p.element_size() for p in params)
    print(json.dumps({"state": state / weights, "peak": (status_mb("VmHWM") - before) * 2**20 / weights}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=26)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--alone", choices=list(OPTIMIZERS), help="memory of this one, in this process")
    given = parser.parse_args()
    if given.alone:
        alone(given.alone, given.layers, given.width)
        return
    count = sum(p.numel() for p in parameters(given.layers, given.width, "cpu"))
    print(f"{count / 1e6:.1f} million float32 parameters, {torch.get_num_threads()} thread(s), {given.device}")
    rows: dict[str, Any] = times(given.layers, given.width, given.rounds, given.device)
    print(f"{'':32} {'ms a step':>9}  x {PEER}")
    for name, row in rows.items():
        print(f"{name:32} {row['ms']:9.1f}  {row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]", flush=True)
    if given.device == "cpu":
        print(f"{'copies of the weights':32} {'state':>9}  peak of a step beyond it")
        for name, row in rows.items():
            size = ["--layers", str(given.layers), "--width", str(given.width)]
            command = [sys.executable, __file__, "--alone", name, *size]
            row |= json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )
            print(f"{name:32} {row['state']:9.2f}  {row['peak']:.2f}", flush=True)
    file = Path("runs/bench/classp.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"parameters": count, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
