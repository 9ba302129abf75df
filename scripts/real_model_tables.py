"""The tables of docs/real-models.md, from what `experiments/real_model.py` measured; for `scripts/pages.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from entrokit.diagnose import paired_difference

MEASURED = Path(__file__).parents[1] / "results" / "real_model"
_ACCOUNT = re.compile(r"account-lora(\d+)-lr(.+)-seed(\d+)")


def account_table() -> str:
    """Predicted against measured change of entropy by way to move: median over seeds, lowest and highest.

    The first step is left out of all but one column: Adam's first moves every parameter by the rate.
    """
    moves: dict[tuple[int, float], list[list[dict[str, float]]]] = {}
    for rank, rate, result in _results():
        moves.setdefault((rank, rate), []).append(result["steps"])
    head = [
        "trained",
        "rate",
        "seeds × steps",
        "r",
        "slope",
        "signs",
        "r with the first step",
        "free logits, r",
        "change",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for (rank, rate), seeds in sorted(moves.items()):
        later = [_columns(steps[1:]) for steps in seeds]
        signs = [int((np.sign(c["predicted"]) == np.sign(c["measured"])).sum()) for c in later]
        cells = (
            f"adapters, rank {rank}" if rank else "all",
            f"{rate:g}",
            f"{len(seeds)} × {len(seeds[0])}",
            _over([_r(c["predicted"], c["measured"]) for c in later], 3),
            _over([_slope(c["predicted"], c["measured"]) for c in later], 2),
            f"{sum(signs)} of {sum(len(c['measured']) for c in later)}",
            _over([_r(c["predicted"], c["measured"]) for c in map(_columns, seeds)], 3),
            _over([_r(c["free"], c["measured"]) for c in later], 2),
            f"{mean(float(np.abs(c['measured']).mean()) for c in later):.4f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cost_table() -> str:
    """CPU seconds of a step of four rows, and of an account that looks at all of them."""
    lines = ["| trained | a step | an account | of a step | one in ten |", "|---" * 5 + "|"]
    for rank in (0, 8):
        measured = _result(f"cost-lora{rank}")
        step, account = measured["without"], measured["with"] - measured["without"]
        name = f"adapters, rank {rank}" if rank else "all"
        lines.append(f"| {name} | {step:.1f} s | {account:.1f} s | {account / step:.2f} | {account / step / 10:.0%} |")
    return "\n".join(lines) + "\n"


def padding_table() -> str:
    """Sum of shares beside the gradient's part of steps, with the rule for padding rows and without."""
    lines = ["| | steps | largest gap, nats | largest gap, relative |", "|---" * 4 + "|"]
    for name, said in (("without", "as forward mode goes by itself"), ("with", "as entrokit does it")):
        steps = [step for step in _result("padding")[name] if step["gradient"]]
        gaps = [abs(step["tokens"] - step["gradient"]) for step in steps]
        relative = [gap / abs(step["gradient"]) for gap, step in zip(gaps, steps, strict=True)]
        lines.append(f"| {said} | {len(steps)} | {max(gaps):.1e} | {max(relative):.1e} |")
    return "\n".join(lines) + "\n"


def rows_table() -> str:
    """What an account that looks at some of a step's rows misses by, beside one of the same step that looks at all."""
    whole = _result("rows-0")["steps"]
    size = {name: _rms([step[name] for step in whole]) for name in ("predicted", "tokens")}
    lines = ["| completions looked at | error of the prediction | of the shares' sum |", "|---" * 3 + "|"]
    for count in (1, 2, 4, 0):
        measured = _result(f"rows-{count}")
        errors = [
            _rms([own[name] - every[name] for own, every in zip(measured["steps"], whole, strict=True)]) / size[name]
            for name in size
        ]
        looked_at = str(count) if count else f"all {whole[0]['rows']}"
        lines.append(f"| {looked_at} | {errors[0]:.2f} | {errors[1]:.2f} |")
    return "\n".join(lines) + "\n"


def survey_table() -> str:
    """How often tasks are solved before training; families from the one solved most rarely to the most often."""
    lines = ["| task | pass@1 | pass@4 | families | tokens | entropy, nats |", "|---" * 6 + "|"]
    found = sorted((_result(file.stem) for file in MEASURED.glob("survey-*.json")), key=lambda r: -r["pass@1"])
    for r in found:
        families = sorted(r["families"].items(), key=lambda item: item[1])
        ends = dict([families[0], families[-1]])
        said = ", ".join(f"{name} {rate:.2f}" for name, rate in ends.items() if name != "None")
        task = f"`{r['task']}`" + (f", `--answer {r['answer']}`" if r["answer"] != "plain" else "")
        lines.append(
            f"| {task} | {r['pass@1']:.3f} ± {r['pass@1 error']:.3f} | {r['pass@4']:.2f} | {said} "
            f"| {r['tokens']:.0f} | {r['entropy']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def learn_table() -> str:
    """Held-out reward, entropy and pass@k from start to end, and differences of ends to `grpo`, paired by seed."""
    runs: dict[str, list[Any]] = {}
    for file in sorted(MEASURED.glob("learn-*-seed*.json")):
        result = _result(file.stem)
        runs.setdefault(result["options"]["recipe"], []).append(result)
    runs = {name: runs[name] for name in sorted(runs, key=lambda name: (name != "grpo", name))}
    columns = ("eval_reward", "eval_entropy", "eval_pass@8")
    lines = ["| recipe | seeds | held-out reward | entropy, nats | pass@8 | verdicts |", "|---" * 6 + "|"]
    for name, own in runs.items():
        cells = [_course_of(own, column, runs["grpo"] if name != "grpo" else None) for column in columns]
        verdicts = ", ".join(sorted({r["diagnosis"]["verdict"] for r in own}))
        lines.append(f"| `{name}` | {len(own)} | {' | '.join(cells)} | {verdicts} |")
    broken = _result("learn-broken")
    ends = [f"{broken['held out'][c][0]:.2f} → {broken['held out'][c][-1]:.2f}" for c in columns]
    rate = f"`grpo` at a rate of {broken['options']['learning_rate']:g}"
    lines.append(f"| {rate} | 1 | {' | '.join(ends)} | {broken['diagnosis']['verdict']} |")
    return "\n".join(lines) + "\n"


def _course_of(own: Sequence[Any], column: str, base: Sequence[Any] | None) -> str:
    starts, ends = ([r["held out"][column][at] for r in own] for at in (0, -1))
    said = f"{mean(starts):.2f} → {mean(ends):.2f} ± {stdev(ends) if len(ends) > 1 else 0.0:.2f}"
    if base is None:
        return said
    # A part that was stopped has seeds of some recipes only.
    beside = {r["options"]["seed"]: r["held out"][column][-1] for r in base}
    pairs = [
        (end, beside[r["options"]["seed"]]) for r, end in zip(own, ends, strict=True) if r["options"]["seed"] in beside
    ]
    return f"{said}, Δ {paired_difference(*zip(*pairs, strict=True)):+.2f}" if pairs else said


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _result(name: str) -> Any:
    return json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))["result"]


def _results() -> Iterator[tuple[int, float, Any]]:
    for file in sorted(MEASURED.glob("account-*.json")):
        found = _ACCOUNT.fullmatch(file.stem)
        if found is None:
            raise SystemExit(f"{file}: no result of the account by its name")
        yield int(found[1]), float(found[2]), json.loads(file.read_text(encoding="utf-8"))["result"]


def _columns(steps: Sequence[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([step[name] for step in steps]) for name in ("predicted", "measured", "free")}


def _r(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _slope(a: np.ndarray, b: np.ndarray) -> float:
    """Least squares through 0."""
    return float(a @ b / (a @ a))


def _over(values: Sequence[float], digits: int) -> str:
    low, middle, high = (f"{x:.{digits}f}" for x in (min(values), median(values), max(values)))
    return f"{middle} ({low} to {high})"
