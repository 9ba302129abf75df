"""Zeta against mpmath, minimisation against CMA-ES, a step of paths against transformers' nucleus: time, not quality.

    python benchmarks/cross_entropy.py --rounds 9

- ``zeta``: 200 points of the critical line up to t = 100: `zeta`, mpmath at 15 digits, mpmath's `fp`, point by point.
- ``minimum``: 10,000 evaluations of a sphere in ten dimensions: `cross_entropy_minimize` with diagonal Gaussians and
  with a full covariance, and cma's ask and tell; all evaluate their draws together.
- ``nucleus``: from logits of 8 prompts with 4 paths and a vocabulary of 49,152 to the next tokens: `PathTopP.step`,
  and `TopPLogitsWarper` with a draw from each row.

Contestants take turns, in alternating order; CPU seconds of one thread, medians with the least and the largest, ratios
of the same round to the last, the peer. Prints tables and writes ``runs/bench/cross_entropy.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cma
import mpmath
import torch
from torch import Tensor
from transformers import TopPLogitsWarper

from entrokit.decoding.path_nucleus import PathState, PathTopP
from entrokit.search.cross_entropy import DiagonalGaussian, Gaussian, cross_entropy_minimize
from entrokit.search.zeta import zeta

Calls = dict[str, Callable[[], Any]]
DIMENSIONS, EVALUATIONS = 10, 10_000


def zetas() -> Calls:
    s = torch.complex(torch.full((200,), 0.5, dtype=torch.float64), torch.linspace(1, 100, 200, dtype=torch.float64))
    return {
        "zeta": lambda: zeta(s),
        "mpmath, 15 digits": lambda: [mpmath.zeta(x) for x in s.tolist()],
        "mpmath.fp": lambda: [mpmath.fp.zeta(x) for x in s.tolist()],
    }


def minima() -> Calls:
    def sphere(x: Tensor) -> Tensor:
        return (x - 1.0).square().sum(1)

    def sampled(start: DiagonalGaussian | Gaussian) -> Callable[[], Any]:
        return lambda: cross_entropy_minimize(
            sphere, start, generator=torch.Generator().manual_seed(0), n=200, tol=0.0, max_iter=EVALUATIONS // 200
        )

    def evolved() -> None:
        search = cma.CMAEvolutionStrategy(DIMENSIONS * [0.0], 3.0, {"verbose": -9, "seed": 1, "popsize": 200})
        for _ in range(EVALUATIONS // 200):
            points = search.ask()
            search.tell(points, sphere(torch.tensor(points)).tolist())

    zero = torch.zeros(DIMENSIONS, dtype=torch.float64)
    return {
        "CE, diagonal": sampled(DiagonalGaussian(zero, 3.0)),
        "CE, full covariance": sampled(Gaussian(zero, 9.0 * torch.eye(DIMENSIONS))),
        "CMA-ES, populations of 200": evolved,
    }


def nuclei() -> Calls:
    torch.manual_seed(0)
    rows, k, vocabulary = 8, 4, 49_152
    logits = 4.0 * torch.randn(rows, k, vocabulary)
    state = PathState(-torch.rand(rows, k).double(), torch.ones(rows, k).long(), torch.zeros(rows, k).bool())
    warper, decoder = TopPLogitsWarper(0.9), PathTopP(k, 0.9)
    return {
        "PathTopP.step": lambda: decoder.step(state, logits),
        "TopPLogitsWarper": lambda: torch.multinomial(warper(None, logits.flatten(0, 1)).softmax(-1), 1),
    }


def timed(calls: Calls, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each, a round each; the first round is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            begin = time.process_time()
            calls[name]()
            if turn:
                spent[name].append(time.process_time() - begin)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    written: dict[str, Any] = {}
    for title, calls in {"zeta": zetas(), "minimum": minima(), "nucleus": nuclei()}.items():
        spent = timed(calls, arguments.rounds)
        peer = list(spent)[-1]
        print(title)
        for name, seconds in spent.items():
            ratios = sorted(a / b for a, b in zip(seconds, spent[peer], strict=True))
            print(
                f"  {name:28} {statistics.median(seconds):8.4f} s [{min(seconds):.4f}, {max(seconds):.4f}]"
                f"   ratio {statistics.median(ratios):6.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
            )
        written[title] = spent
    file = Path("runs/bench/cross_entropy.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
