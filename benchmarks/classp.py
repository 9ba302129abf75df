"""A step of CLASSP against one of `torch.optim.Adagrad(foreach=True)`, whose work is most alike: time and memory.

- Time: parameters in the shapes of a small transformer, gradients that stay; every round steps every optimizer once, in
  an order that turns; a ratio is taken within a round. Medians, and the spread of the middle half of the rounds.
- Memory, on a CPU: state, and the peak of a step beyond what was there before it, by torch's own account of what it
  allocates (`torch.profiler`), which is held to a case that is known first.

    python benchmarks/classp.py --only memory    # or: time

Prints tables and writes ``runs/bench/classp.json``. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

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


def peak_bytes(act: Callable[[], object]) -> int:
    """The most that torch's allocator held on the CPU at once while ``act`` ran, beyond what it held before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        act()
    raw = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    # Every allocation is an event of its size, every release one of minus that.
    changes = sorted((e.start_ns(), e.nbytes()) for e in raw if e.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def check_peak() -> None:
    """Of a case that is known: two tensors at once, a third once the first is gone."""

    def three() -> None:
        first, second = torch.empty(3 * 2**20, dtype=torch.uint8), torch.empty(2**20, dtype=torch.uint8)
        del first
        third = torch.empty(2 * 2**20, dtype=torch.uint8)
        del second, third

    found = peak_bytes(three)
    if found != 4 * 2**20:
        raise SystemExit(f"the profiler counts {found} bytes where 3 + 1 MiB are held at once, and 1 + 2 later")


def memory(layers: int, width: int) -> dict[str, dict[str, float]]:
    """State, and the peak of a second step beyond what was there before it, in copies of the weights."""
    check_peak()
    found = {}
    for name, make in OPTIMIZERS.items():
        params = parameters(layers, width, "cpu")
        weights = sum(p.numel() * p.element_size() for p in params)
        optimizer = make(params)
        optimizer.step()
        tensors = [v for own in optimizer.state.values() for v in own.values() if isinstance(v, torch.Tensor)]
        state = sum(v.numel() * v.element_size() for v in tensors)
        found[name] = {"state": state / weights, "peak": peak_bytes(optimizer.step) / weights}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=26)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--only", choices=("time", "memory"))
    given = parser.parse_args()
    count = sum(p.numel() for p in parameters(given.layers, given.width, "cpu"))
    print(f"{count / 1e6:.1f} million float32 parameters, {torch.get_num_threads()} thread(s), {given.device}")
    rows: dict[str, dict[str, float]] = {name: {} for name in OPTIMIZERS}
    if given.only != "memory":
        print(f"{'':32} {'ms a step':>9}  x {PEER}")
        for name, own in times(given.layers, given.width, given.rounds, given.device).items():
            rows[name] |= own
            print(f"{name:32} {own['ms']:9.1f}  {own['ratio']:.2f} [{own['low']:.2f}, {own['high']:.2f}]", flush=True)
    if given.only != "time" and given.device == "cpu":
        print(f"{'copies of the weights':32} {'state':>9}  peak of a step beyond it")
        for name, own in memory(given.layers, given.width).items():
            rows[name] |= own
            print(f"{name:32} {own['state']:9.3f}  {own['peak']:.3f}", flush=True)
    file = Path("runs/bench/classp.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"parameters": count, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
