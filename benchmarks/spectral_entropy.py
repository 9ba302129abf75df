"""Diffusion spectral entropy of many points: block Lanczos against the exact spectrum and against landmarks.

- At 5 000 points of 512 dimensions, kernels from wide to narrow: the exact entropy as the official method computes it
  (dense float64 matrix, all eigenvalues), ours, and the Nyström method with as many landmarks as ours has vectors
  (degrees from its own approximation, as is usual): relative errors, and times in turns.
- Ours up to 50 000 points: time, and the peak of memory in a process of its own.

Prints tables and writes ``runs/bench/spectral_entropy.json``. Takes about fifteen minutes.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigvalsh

from entrokit.information.spectral import estimate_diffusion_spectrum, spectral_entropy

DIMENSIONS, POINTS, ROUNDS = 512, 5_000, 3
SIZES = (5_000, 10_000, 20_000, 50_000)
OF_MEDIAN = (1.0, 0.5, 0.25, 0.125)
LANDMARKS = 512


def activations(n: int, seed: int = 0) -> torch.Tensor:
    """Ten noisy clusters of 20 inner dimensions behind a random ReLU layer."""
    g = torch.Generator().manual_seed(seed)
    centre = 2.0 * torch.randn(10, 20, generator=g)
    scale = torch.logspace(0, -1, 20)
    inner = centre[torch.randint(10, (n,), generator=g)] + scale * torch.randn(n, 20, generator=g)
    outer = torch.relu(inner @ torch.randn(20, DIMENSIONS, generator=g) / 20**0.5)
    return outer + 0.1 * torch.randn(n, DIMENSIONS, generator=g)


def official(x: torch.Tensor, sigma: float) -> float:
    """All eigenvalues of the dense matrix, in numpy and float64."""
    a = x.double().numpy()
    norm = (a * a).sum(1)
    G = np.exp(-np.maximum(norm[:, None] + norm - 2.0 * a @ a.T, 0.0) / (2.0 * sigma**2))
    root = G.sum(1) ** -0.5
    share = np.abs(eigvalsh(root[:, None] * G * root))
    share /= share.sum()
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def lanczos(x: torch.Tensor, sigma: float) -> float:
    return float(estimate_diffusion_spectrum(x, sigma=sigma, generator=torch.Generator().manual_seed(1)).entropy())


def landmarks(x: torch.Tensor, sigma: float) -> float:
    chosen = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(1))[:LANDMARKS]]

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        squared = a.square().sum(1)[:, None] + b.square().sum(1) - 2.0 * a @ b.T
        return torch.exp(-squared.clamp(min=0.0).double() / (2.0 * sigma**2))

    values, vectors = torch.linalg.eigh(kernel(chosen, chosen))
    kept = values > 1e-8 * values[-1]
    features = kernel(x, chosen) @ (vectors[:, kept] * values[kept].rsqrt())
    degrees = features @ features.sum(0)
    features = features * degrees.clamp(min=1e-12).rsqrt()[:, None]
    return float(spectral_entropy(torch.linalg.eigvalsh(features.T @ features)))


def timed(call: Callable[[], float]) -> tuple[float, float]:
    begin = time.perf_counter()
    found = call()
    return time.perf_counter() - begin, found


def agreement() -> list[dict[str, Any]]:
    x, rows = activations(POINTS), []
    median = float(torch.pdist(x[:1000]).median())
    methods = {"official": official, "lanczos": lanczos, "landmarks": landmarks}
    print(f"{'sigma':>7}  exact bits  " + "  ".join(f"{m:>28}" for m in list(methods)[1:]))
    for sigma in [math.sqrt(DIMENSIONS), *(median * f for f in OF_MEDIAN)]:
        times: dict[str, list[float]] = {m: [] for m in methods}
        found = {}
        for i in range(ROUNDS):
            for name in list(methods)[:: 1 if i % 2 else -1]:
                seconds, found[name] = timed(partial(methods[name], x, sigma))
                times[name].append(seconds)
        row: dict[str, Any] = {"sigma": sigma, "exact": found["official"]}
        for name in list(methods)[1:]:
            ratios = sorted(a / b for a, b in zip(times[name], times["official"], strict=True))
            row[name] = {
                "error": found[name] / found["official"] - 1.0,
                "ratio": statistics.median(ratios),
                "spread": [ratios[0], ratios[-1]],
            }
        row["official_seconds"] = statistics.median(times["official"])
        rows.append(row)
        cells = []
        for m in list(methods)[1:]:
            low, high = row[m]["spread"]
            cells.append(f"{100 * row[m]['error']:+8.3f} %, time x {row[m]['ratio']:.2f} [{low:.2f}, {high:.2f}]")
        print(
            f"{sigma:7.2f}  {row['exact']:9.4f}   {'   '.join(cells)}   official {row['official_seconds']:.1f} s",
            flush=True,
        )
    return rows


def high_water_mb() -> float:
    """The most memory that this process has held (Linux; `getrusage` would count what its parent held)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def alone(n: int) -> None:
    """One estimate in this process; prints seconds, megabytes beyond what was there before, and bits."""
    x = activations(n)
    before = high_water_mb()
    seconds, bits = timed(lambda: lanczos(x, math.sqrt(DIMENSIONS)))
    print(json.dumps({"n": n, "seconds": seconds, "peak_mb": high_water_mb(), "before_mb": before, "bits": bits}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        alone(int(sys.argv[1]))
    else:
        rows: dict[str, Any] = {"agreement": agreement(), "scaling": []}
        for n in SIZES:
            out = subprocess.run([sys.executable, __file__, str(n)], check=True, capture_output=True, text=True).stdout
            rows["scaling"].append(json.loads(out.splitlines()[-1]))
            print(rows["scaling"][-1], flush=True)
        file = Path("runs/bench/spectral_entropy.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(rows, indent=1) + "\n")
