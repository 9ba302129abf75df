"""The empirical tangent kernel: ours against `torch.func` written plainly.

The peer is what PyTorch's tutorial on neural tangent kernels does: the whole Jacobian by ``vmap(jacrev)``, contracted
parameter by parameter.

- Processor time of one thread, in turns and in one process, which other programs disturb less than they do a clock on
  the wall: medians over rounds, and the ratio to the peer with its spread.
- Memory: the peak beyond what the process held before, each in a process of its own (Linux).

Prints tables and writes ``runs/bench/laziness.json``. Takes about two minutes of one processor.
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
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from entrokit.dynamics.laziness import RateRNN, tangent_kernel

MB = 2**20
Kernel = Callable[[nn.Module, Tensor, list[str]], Tensor]


def rates() -> tuple[nn.Module, Tensor, list[str]]:
    """The paper's network and probes: 768 rows of 90 000 columns, 276 MB of float32."""
    return RateRNN(3, 300, 3), torch.randn(32, 8, 3), ["W_rec"]


def perceptron() -> tuple[nn.Module, Tensor, list[str]]:
    """640 rows of 203 530 columns, 521 MB."""
    layers = nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)
    model = nn.Sequential(*layers)
    return model, torch.randn(64, 784), [name for name, _ in model.named_parameters()]


CASES = {"rates": rates, "perceptron": perceptron}


def pure(model: nn.Module, names: list[str]) -> tuple[Callable[[dict[str, Tensor], Tensor], Tensor], dict[str, Tensor]]:
    every = {name: value.detach() for name, value in model.named_parameters()}
    chosen = {name: every[name] for name in names}
    return lambda p, x: functional_call(model, every | p, (x[None],))[0].flatten(), chosen


def contraction(model: nn.Module, inputs: Tensor, names: list[str]) -> Tensor:
    function, chosen = pure(model, names)
    J = vmap(jacrev(function), (None, 0))(chosen, inputs)
    rows = [part.flatten(2) for part in J.values()]
    K = torch.stack([torch.einsum("Naf,Mbf->NaMb", part, part) for part in rows]).sum(0)
    return K.flatten(2).flatten(0, 1)


def ours(memory: int) -> Kernel:
    return lambda model, inputs, names: tangent_kernel(model, inputs, names, memory=memory)


METHODS: dict[str, Kernel] = {
    "contraction": contraction,
    "ours, 1 GiB": ours(1024 * MB),
    "ours, 256 MiB": ours(256 * MB),
    "ours, 64 MiB": ours(64 * MB),
}


def high_water_mb() -> float:
    """The most memory that this process has held; `getrusage` would count what its parent held."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


@torch.no_grad()
def alone(case: str, method: str) -> None:
    """One kernel in this process; prints megabytes beyond what was there before."""
    model, inputs, names = CASES[case]()
    METHODS[method](model, inputs[:1], names)
    before = high_water_mb()
    METHODS[method](model, inputs, names)
    print(json.dumps(high_water_mb() - before))


@torch.no_grad()
def compare(case: str, rounds: int) -> list[dict[str, Any]]:
    model, inputs, names = CASES[case]()
    methods = list(METHODS)
    seconds: dict[str, list[float]] = {m: [] for m in methods}
    kernels = {}
    for i in range(rounds + 1):  # the first round warms up
        for method in methods[:: 1 if i % 2 else -1]:
            begin = time.process_time()
            kernels[method] = METHODS[method](model, inputs, names)
            if i:
                seconds[method].append(time.process_time() - begin)
    rows, largest = [], float(kernels["contraction"].abs().max())
    for method in methods:
        ratios = sorted(a / b for a, b in zip(seconds[method], seconds["contraction"], strict=True))
        peak = subprocess.run(
            [sys.executable, __file__, "--alone", case, method], check=True, capture_output=True, text=True
        ).stdout
        rows.append(
            {
                "method": method,
                "seconds": statistics.median(seconds[method]),
                "ratio": statistics.median(ratios),
                "spread": [ratios[0], ratios[-1]],
                "peak_mb": float(peak.splitlines()[-1]),
                "off": float((kernels[method] - kernels["contraction"]).abs().max()) / largest,
            }
        )
        r = rows[-1]
        print(
            f"{method:15} {r['seconds']:7.2f} s  x {r['ratio']:.2f} [{r['spread'][0]:.2f}, {r['spread'][1]:.2f}]"
            f"  peak {r['peak_mb']:6.0f} MB  off by {r['off']:.0e} of the largest entry",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=CASES, action="append", help="by default all")
    parser.add_argument("--alone", nargs=2, metavar=("CASE", "METHOD"), help="measure the memory of one method")
    given = parser.parse_args()
    if given.alone:
        alone(*given.alone)
        return
    torch.set_num_threads(1)
    found = {}
    for case in given.case or list(CASES):
        print(f"\n{case}: {' '.join((CASES[case].__doc__ or '').split())}")
        found[case] = compare(case, given.rounds)
    file = Path("runs/bench/laziness.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
