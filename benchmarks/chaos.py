"""What entropies and dimensions of a series cost, beside antropy, neurokit2 and nolds.

    pip install antropy neurokit2 "nolds<0.6.3" "setuptools<82"
    python benchmarks/chaos.py            # ten minutes, nearly all of it the peers'

- ``multiscale``: crisp sample entropy, m = 2, at scales 1 to 20 of 100 000 points of noise and of a Lorenz flow: ours,
  neurokit2's, and antropy's sample entropy of the same block means.
- ``sample``: crisp sample entropy of 10 000 points; ``fuzzy``: of 4 000, the most that neurokit2's matrix of all pairs
  is given here; nolds' loop over 2 000.
- ``dimension``: correlation sums of 2 000 states, embedded in 3 dimensions, beside nolds.
- ``memory``: resident memory beyond the imports, at 100 000 and at 200 000 points, a process each.

Contestants take turns, in alternating order; CPU seconds of one thread, medians with the least and the largest, ratios
of the same round to the first. Prints tables and writes ``runs/bench/chaos.json``.
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

from entrokit.physics.chaos import Lorenz, correlation_dimension, multiscale_entropy, sample_entropy, sample_flow

Calls = dict[str, Callable[[], Any]]
SCALES = 20


def series(name: str, points: int) -> torch.Tensor:
    if name == "noise":
        return torch.randn(points, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return sample_flow(Lorenz(), points, 20, steps_per_period=100)[:, 0]


def multiscale(name: str) -> Calls:
    import antropy
    import neurokit2

    x = series(name, 100_000)
    given, tolerance = x.numpy(), float(0.2 * x.std())

    def by_antropy() -> list[float]:
        blocks = (given[: len(given) // k * k].reshape(-1, k).mean(1) for k in range(1, SCALES + 1))
        return [antropy.sample_entropy(means, 2, tolerance) for means in blocks]

    return {
        "neurokit2": lambda: neurokit2.entropy_multiscale(given, scale=SCALES, dimension=2, tolerance=tolerance),
        "antropy": by_antropy,
        "entrokit": lambda: multiscale_entropy(x, scales=SCALES, composite=False, fuzzy=False),
        "entrokit, fuzzy": lambda: multiscale_entropy(x, scales=SCALES, composite=False),
    }


def sample() -> Calls:
    import antropy
    import neurokit2

    x = series("noise", 10_000)
    given, tolerance = x.numpy(), float(0.2 * x.std())
    return {
        "neurokit2": lambda: neurokit2.entropy_sample(given, dimension=2, tolerance=tolerance),
        "antropy": lambda: antropy.sample_entropy(given, 2, tolerance),
        "entrokit": lambda: sample_entropy(x),
    }


def fuzzy() -> Calls:
    import neurokit2

    x = series("noise", 4000)
    given, tolerance = x.numpy(), float(0.2 * x.std())
    return {
        "neurokit2": lambda: neurokit2.entropy_fuzzy(given, dimension=2, tolerance=tolerance),
        "entrokit": lambda: sample_entropy(x, fuzzy=True),
    }


def short() -> Calls:
    import antropy
    import nolds

    x = series("noise", 2000)
    given, tolerance = x.numpy(), float(0.2 * x.std())
    return {
        "nolds": lambda: nolds.sampen(given, 2, tolerance),
        "antropy": lambda: antropy.sample_entropy(given, 2, tolerance),
        "entrokit": lambda: sample_entropy(x),
    }


def dimension() -> Calls:
    import nolds

    x = series("flow", 2002)
    given, states = x.numpy(), x.unfold(0, 3, 1)
    return {
        "nolds": lambda: nolds.corr_dim(given, 3, fit="poly"),
        "entrokit": lambda: correlation_dimension(states),
    }


MEMORY = """
import resource, sys, torch
from entrokit.physics.chaos import sample_entropy
x = torch.randn(int(sys.argv[1]), dtype=torch.float64)
sample_entropy(x[:2000], fuzzy=sys.argv[2] == "fuzzy")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sample_entropy(x, fuzzy=sys.argv[2] == "fuzzy")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def memory() -> dict[str, float]:
    """MiB that sample entropy takes beyond what is loaded."""
    found = {}
    for kind in ("crisp", "fuzzy"):
        for points in (100_000, 200_000):
            command = [sys.executable, "-c", MEMORY, str(points), kind]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[f"{kind}, {points} points"] = float(printed)
    return found


def timed(calls: Calls, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each, a round each."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            begin = time.process_time()
            calls[name]()
            spent[name].append(time.process_time() - begin)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    tables = {
        "multiscale, 100 000 points of noise": lambda: multiscale("noise"),
        "multiscale, 100 000 points of Lorenz": lambda: multiscale("flow"),
        "sample entropy, 10 000 points": sample,
        "fuzzy, 4 000 points": fuzzy,
        "sample entropy, 2 000 points": short,
        "correlation dimension, 2 000 states": dimension,
    }
    written: dict[str, Any] = {"memory, MiB": memory()}
    print("memory, MiB", written["memory, MiB"], flush=True)
    file = Path("runs/bench/chaos.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    for title, made in tables.items():
        written[title] = spent = timed(made(), rounds)
        peer = next(iter(spent))
        print(title)
        for name, seconds in spent.items():
            ratios = sorted(a / b for a, b in zip(seconds, spent[peer], strict=True))
            print(
                f"  {name:18} {statistics.median(seconds):8.4f} s [{min(seconds):.4f}, {max(seconds):.4f}]"
                f"   ratio {statistics.median(ratios):6.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]",
                flush=True,
            )
        file.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
