"""What a map from utilities to probabilities did for a real model: tables of docs/losses/utility-probability.md.

python scripts/utility_tables.py docs/img/utility-real.png    # draws the reliability of its next tokens
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from entrokit.losses.preference import Reliability

MEASURED = Path(__file__).parents[1] / "results" / "real_model"


def tokens_table() -> str:
    """Next tokens of docstrings by way to read logits: mean over seeds, lowest and highest."""
    seeds = _results("utility-tokens")
    head = ["read as", "test NLL, nats", "argmax right", "a drawn token right", "calibration error", "overconfidence"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in seeds[0]["maps"]:
        own = [seed["maps"][name] for seed in seeds]
        cells = [_over([m[key] for m in own]) for key in ("nll", "argmax", "drawn", "calibration error")]
        lines.append(f"| {_said(name, own)} | {' | '.join(cells)} | {_over([m['overconfidence'] for m in own], '+')} |")
    return "\n".join(lines) + "\n"


def sequences_table() -> str:
    """Answers to sums by way to weigh them: mean over seeds, lowest and highest."""
    seeds = _results("utility-sequences")
    rules = {"argmax": "argmax", "drawn": "drawn", "closeness": "by expected closeness"}
    head = ["weights", *(f"{said}: right" for said in rules.values()), *(f"{said}: close" for said in rules.values())]
    head.append("calibration error")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    taus = _over([seed["tau"] for seed in seeds], digits=2)
    said = {"as it is": "softmax(u)", "temperature": f"softmax(u/τ), τ {taus}", "counted": "how often it came"}
    for name, words in said.items():
        own = [seed["ways"][name] for seed in seeds]
        cells = [_over([w[f"{rule}, {what}"] for w in own]) for what in ("right", "close") for rule in rules]
        cells.append(_over([w["calibration error"] for w in own]))
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _said(name: str, own: list[dict[str, Any]]) -> str:
    if name == "as it is":
        return "softmax(u)"
    if name == "temperature":
        return f"softmax(u/τ), τ {_over([m['taus'][0] for m in own], digits=2)}"
    return "monotone, four pieces"


def _over(values: list[float], sign: str = "", digits: int = 3) -> str:
    low, middle, high = (f"{x:{sign}.{digits}f}" for x in (min(values), mean(values), max(values)))
    return f"{middle} ({low} to {high})"


def _results(name: str) -> list[dict[str, Any]]:
    files = sorted(MEASURED.glob(f"{name}-seed*.json"))
    if not files:
        raise SystemExit(f"{MEASURED}: no results of {name}; python experiments/real_model.py utility makes them")
    return [json.loads(file.read_text(encoding="utf-8"))["result"] for file in files]


def pictures() -> dict[str, list[Reliability]]:
    """Reliability of the most probable next token by way to read logits, a picture a seed."""
    names = {"as it is": "softmax(u)", "temperature": "softmax(u/τ)", "monotone": "monotone map"}
    return {
        said: [
            Reliability(**{field: tuple(values) for field, values in seed["maps"][name]["picture"].items()})
            for seed in _results("utility-tokens")
        ]
        for name, said in names.items()
    }


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        sys.exit(__doc__)
    from pictures import WIDTH, find_browser, shoot

    from entrokit.papers.losses._reliability import reliability_chart
    from entrokit.report import figure

    title = "Reliability, next token of SmolLM2-135M-Instruct"
    drawn = figure(reliability_chart(title, "the most probable token", pictures()))
    drawn.update_layout(width=WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        shoot(drawn, Path(arguments[0]).resolve(), find_browser(), Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
