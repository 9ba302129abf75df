"""The tables of docs/one-pass.md at heads of real models, from what `benchmarks/linear_heads.py` measured."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median, quantiles
from typing import Any

MEASURED = Path(__file__).parents[1] / "results" / "tables" / "linear_heads.json"
_PRODUCTS, _FIVE, _TWO, _SEPARABLE = (
    "bare products",
    "entrokit, five",
    "entrokit, two",
    "entrokit, five, separable loss",
)
# TRL's own number of columns at a time, and one that stays in a CPU's caches.
_TRL = {"five to TRL": "TRL, two, chunk 32768", "five to TRL at 2 048 columns": "TRL, two, chunk 2048"}


def heads_table() -> str:
    """Ratios of medians with the quartiles of the rounds, each round's own products below it."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    heads = ["head", "tokens", "threads", "allocator", "products", "five", "separable", "five to two", *_TRL]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in measured["rows"]]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    seconds = row["seconds"]
    return (
        f"V {row['vocabulary']:_}, d {row['width']}".replace("_", " "),
        str(row["tokens"]),
        str(row["threads"]),
        row["allocator"],
        f"{median(seconds[_PRODUCTS]) * 1e3:.0f} ms",
        _ratio(seconds, _FIVE, _PRODUCTS),
        _ratio(seconds, _SEPARABLE, _PRODUCTS),
        _ratio(seconds, _FIVE, _TWO),
        *(_ratio(seconds, _FIVE, contender) for contender in _TRL.values()),
    )


def _ratio(seconds: dict[str, list[float]], name: str, other: str) -> str:
    rounds = [a / b for a, b in zip(seconds[name], seconds[other], strict=True)]
    low, _, high = quantiles(rounds, n=4)
    return f"{median(seconds[name]) / median(seconds[other]):.2f} [{low:.2f}, {high:.2f}]"
