"""How often a real model solves each task in words before it is trained: held-out prompts, temperature 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from real_model_runs import kept, run

from entrokit.runs import Run

SUM = "reasoning-gym:chain_sum(min_terms=2, max_terms=2, min_digits=1, max_digits=1)"
# Task, and what else a prompt is given.
TASKS: tuple[tuple[str, dict[str, object]], ...] = (
    ("words:mention", {}),
    ("words:mention(count=2)", {}),
    ("words:length", {}),
    ("words:opening", {}),
    ("words:without", {}),
    ("words:arithmetic", {}),
    ("words:ordering", {}),
    (SUM, {"answer": "tags", "max_completion_length": 48}),
    ("countdown", {"answer": "tags", "max_completion_length": 48}),
)
PROMPTS, SAMPLES = 12, 4


def survey(model: Path) -> None:
    for task, more in TASKS:
        shape = {"task": task, "completions": SAMPLES, "prompts": 4, "evaluation_prompts": PROMPTS} | more
        kept(f"survey-{_file_name(task)}", lambda folder, shape=shape: _first_evaluation(model, folder, shape))


def _first_evaluation(model: Path, folder: Path, shape: dict[str, object]) -> object:
    run(model, folder, shape, stop=lambda metrics: "eval_entropy" in metrics)
    made = Run.load(folder)
    rows = made.rollouts(0, evaluation=True)
    by_prompt: dict[int, list[float]] = {}
    by_family: dict[str, list[float]] = {}
    for row in rows:
        right = float((row["reward"] or 0.0) >= 1.0)
        by_prompt.setdefault(row["group"], []).append(right)
        by_family.setdefault(str(row["family"]), []).append(right)
    rates = [float(np.mean(own)) for own in by_prompt.values()]
    return {
        "task": shape["task"],
        "answer": shape.get("answer", "plain"),
        "prompts": len(rates),
        "samples": SAMPLES,
        "pass@1": float(np.mean(rates)),
        "pass@1 error": float(np.std(rates, ddof=1) / len(rates) ** 0.5),
        f"pass@{SAMPLES}": float(np.mean([any(own) for own in by_prompt.values()])),
        "families": {name: float(np.mean(own)) for name, own in sorted(by_family.items())},
        "tokens": float(np.mean([len(row["tokens"]) for row in rows])),
        "cut": float(np.mean([row["truncated"] for row in rows])),
        "entropy": float(np.mean([h for row in rows for h in row["entropy"]])),
    }


def _file_name(task: str) -> str:
    return task.partition("(")[0].replace(":", "-") + ("-2" if "count=2" in task else "")
