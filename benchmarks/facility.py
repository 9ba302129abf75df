"""What uniform phantoms of a million profiles cost, beside NumPy's median of reports and phantoms put together.

    python benchmarks/facility.py            # a minute
    python benchmarks/facility.py --quick    # a hundredth of the profiles

All get the same float64 profiles and give the same outcomes, which is checked:

- ``np.median`` over the n reports and n - 1 phantoms of every row: the definition in a line.
- ``np.partition`` of the same: what a careful user would write.
- a Python loop over rows with ``statistics.median``, on a thousandth of the profiles and multiplied up.

Contestants take turns, in alternating order; CPU seconds of one thread, medians with the least and the largest, ratios
of the same round to ``np.median``. Prints a table and writes ``runs/bench/facility.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from entrokit.choice.facility import average, fairness_report, median, phantom_median, uniform_phantom

PEER, LOOP = "np.median of reports and phantoms", "loop with statistics.median"
Spent = dict[str, list[float]]


def contestants(x: torch.Tensor) -> dict[str, Callable[[], object]]:
    rows, n = x.shape
    reports, phantoms = x.numpy(), np.arange(1, n) / n
    outcome = uniform_phantom(x)

    def together() -> np.ndarray:
        return np.concatenate([reports, np.broadcast_to(phantoms, (rows, n - 1))], axis=1)

    def loop() -> list[float]:
        return [statistics.median([*row, *phantoms]) for row in reports[: rows // 1000].tolist()]

    return {
        PEER: lambda: np.median(together(), axis=1),
        "np.partition of them": lambda: np.partition(together(), n - 1, axis=1)[:, n - 1],
        "uniform_phantom": lambda: uniform_phantom(x).numpy(),
        "phantom_median": lambda: phantom_median(x).numpy(),
        "median": lambda: median(x),
        "average": lambda: average(x),
        "fairness_report": lambda: fairness_report(x, outcome),
        LOOP: loop,
    }


def seconds(x: torch.Tensor, rounds: int) -> Spent:
    calls = contestants(x)
    expected = calls[PEER]()
    for name in ("np.partition of them", "uniform_phantom", "phantom_median"):
        np.testing.assert_allclose(calls[name](), expected, rtol=0, atol=1e-12)
    spent: Spent = {name: [] for name in calls}
    for turn in range(rounds):
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            begin = time.process_time()
            calls[name]()
            spent[name].append((time.process_time() - begin) * (1000 if name == LOOP else 1))
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the profiles")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    written: dict[str, Spent] = {}
    for rows, n in ((1_000_000, 5), (1_000_000, 15), (100_000, 100)):
        rows = rows // 100 if arguments.quick else rows
        x = torch.rand(rows, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        spent = written[f"{rows} profiles of {n}"] = seconds(x, arguments.rounds)
        print(f"{rows:,} profiles of {n}")
        for name, own in spent.items():
            ratios = sorted(a / b for a, b in zip(own, spent[PEER], strict=True))
            print(
                f"  {name:34} {statistics.median(own):8.3f} s [{min(own):.3f}, {max(own):.3f}]"
                f"   ratio {statistics.median(ratios):6.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]",
                flush=True,
            )
    file = Path("runs/bench/facility.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
