"""The tables of docs/scale.md, from what was measured: `scripts/pages.py` puts them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parents[1] / "results" / "tables"


def collectives_table() -> str:
    """What recipes put on the wire, as `experiments/collectives.py` counted it under either engine."""
    measured = json.loads((MEASURED / "collectives.json").read_text(encoding="utf-8"))
    head = ["recipe"]
    for engine in ("TRL", "verl"):
        head += [f"{engine}: calls a batch", "bytes a batch", "calls, bytes a step"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for recipe in measured["trl"]:
        cells = [cell for engine in ("trl", "verl") for cell in _on_the_wire(measured[engine].get(recipe))]
        lines.append(f"| `{recipe}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _on_the_wire(own: dict[str, Any] | None) -> tuple[str, str, str]:
    if own is None:
        return "refused", "", ""
    batch, completion, token = (f"{own['bytes'][name]:.0f}" for name in ("batch", "completion", "token"))
    named = {"": batch, " a completion": completion, " a token": token}
    grown = " + ".join(value + name for name, value in named.items() if value != "0")
    calls = f"{own['calls']}" + (f" + {own['objects']} of objects" if own["objects"] else "")
    return calls, grown if own["unexplained"] == 0.0 else "*", f"{own['step_calls']:.0f}, {own['step_bytes']:.0f}"


def loss_memory_table() -> str:
    """Peak memory of a loss call, as `benchmarks/loss_memory.py --long` measured it, and whole logits by its slope."""
    measured = json.loads((MEASURED / "loss_memory.json").read_text(encoding="utf-8"))["megabytes"]
    columns = [(kind, dtype) for kind in ("separable", "not separable", "whole logits") for dtype in measured]
    lengths = sorted({int(n) for kinds in measured.values() for peaks in kinds.values() for n in peaks})
    called = {"separable": "separable recipe", "not separable": "other recipe"}
    lines = [f"| tokens | {' | '.join(f'{called.get(kind, kind)}, {dtype}' for kind, dtype in columns)} |"]
    lines.append("|---" * (1 + len(columns)) + "|")
    for n in lengths:
        cells = [_megabytes({int(k): x for k, x in measured[d][kind].items()}, n) for kind, d in columns]
        lines.append(f"| {n:_} | {' | '.join(cells)} |".replace("_", " "))
    slopes = [_bytes_a_token({int(k): x for k, x in measured[d][kind].items()}) for kind, d in columns]
    lines.append(f"| bytes for every token more | {' | '.join(f'{round(x):_}'.replace('_', ' ') for x in slopes)} |")
    return "\n".join(lines) + "\n"


def _bytes_a_token(peaks: dict[int, float]) -> float:
    first, last = min(peaks), max(peaks)
    return (peaks[last] - peaks[first]) * 1e6 / (last - first)


def _megabytes(peaks: dict[int, float], n: int) -> str:
    if n in peaks:
        return f"{peaks[n]:_.0f}".replace("_", " ")
    if n < max(peaks):
        return ""
    return f"{peaks[max(peaks)] + (n - max(peaks)) * _bytes_a_token(peaks) / 1e6:_.0f} (counted)".replace("_", " ")
