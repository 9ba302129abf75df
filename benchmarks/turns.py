"""Contestants that take turns: whatever else the machine does then falls on all of them alike."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def timed(
    calls: Mapping[str, Callable[[], Any]], rounds: int, *, seconds: float = 0.0, unit: float = 1.0
) -> dict[str, list[float]]:
    """Processor time of a call of each, an entry a round, in an order that turns with every round.

    Each is called once before, which does not count.

    Args:
        seconds: a round is as many calls of each as the first of them takes for so long; one by default.
        unit: of what is returned, in seconds: 1e-6 for microseconds.
    """
    names = list(calls)
    for name in names:
        calls[name]()
    # No call is said to take less than the clock can tell.
    repeats = max(1, int(seconds / max(_spent(calls[names[0]], 1), 1e-5))) if seconds else 1
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(_spent(calls[name], repeats) / repeats / unit)
    return found


def shown(title: str, spent: Mapping[str, Sequence[float]], unit: str = "s") -> None:
    """Prints medians and ranges, and the ratio to the first contestant's time of the same round."""
    peer = next(iter(spent.values()))
    print(title)
    for name, own in spent.items():
        ratios = sorted(a / b for a, b in zip(own, peer, strict=True))
        print(
            f"  {name:24} {statistics.median(own):9.4g} {unit} [{min(own):.4g}, {max(own):.4g}]"
            f"   ratio {statistics.median(ratios):6.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]",
            flush=True,
        )


def saved(benchmark: str, found: Mapping[str, Any]) -> None:
    """Writes ``runs/bench/<benchmark>.json``."""
    file = Path(f"runs/bench/{benchmark}.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _spent(call: Callable[[], Any], repeats: int) -> float:
    begin = time.process_time()
    for _ in range(repeats):
        call()
    return time.process_time() - begin
