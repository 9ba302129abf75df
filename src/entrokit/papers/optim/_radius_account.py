"""The radius and the entropy account side by side on RLVR runs: do steps beyond r = 1 show in the account's error?"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from entrokit.report import Chart, Series

from ..entry import Shown
from ..evidence import Budget, Finding

RATES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3)
STEPS, ROWS, UPDATES, COMPLETIONS = 12, 32, 4, 8
EDGES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, float("inf"))
CRITERION = (
    "in every seed the account's relative error is below 0.5 in the median of steps with r < 1 and above 0.5 in that "
    "of steps beyond, and rises with r (Spearman above 0.5)"
)


@dataclass(frozen=True)
class Step:
    """A step: its r, and the change of entropy that the account predicted and measured, in nats."""

    rate: float
    r: float
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """Of the prediction, as a share of the larger of both, in [0, 2]."""
        size = max(abs(self.predicted), abs(self.measured))
        return abs(self.measured - self.predicted) / size if size else 0.0


def radius_and_account(budget: Budget) -> Iterator[Shown]:
    seeds = [[step for rate in RATES for step in trained(rate, seed)] for seed in budget.seeds]
    yield _beyond(seeds)
    every = [step for own in seeds for step in own]
    yield Chart(
        "Pocket policy, AdamW: a step's length and the account's error",
        "log10 of r, over all trained tokens",
        "relative error of the predicted change of entropy",
        tuple(
            Series(
                f"learning rate {rate:g}",
                [float(np.log10(s.r)) for s in every if s.rate == rate and s.r],
                [s.error for s in every if s.rate == rate and s.r],
                marks=True,
            )
            for rate in RATES
        ),
        x_line=0.0,
    )
    bins = [[s.error for s in every if low < s.r <= high] for low, high in pairwise(EDGES)]
    names = [f"≤ {high:g}" for high in EDGES[1:-1]] + [f"> {EDGES[-2]:g}"]
    shown = [(n, b) for n, b in zip(names, bins, strict=True) if b]
    yield Chart(
        "The account's error by the step's r",
        "r",
        "relative error, quartiles",
        (
            Series(
                "steps of all seeds and rates",
                [n for n, _ in shown],
                [float(np.median(b)) for _, b in shown],
                low=[float(np.quantile(b, 0.25)) for _, b in shown],
                high=[float(np.quantile(b, 0.75)) for _, b in shown],
                hints=[f"{len(b)} steps" for _, b in shown],
            ),
        ),
        y_line=0.5,
    )


def pocket_trainer(folder: str, task: Any, radius: Any, *, rows: int, **options: Any) -> Any:
    """An `EntropyGRPOTrainer` of a fresh pocket policy that measures its steps; ``options`` are `GRPOConfig`'s."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from transformers import PrinterCallback
    from trl import GRPOConfig

    from entrokit.engines.trl import EntropyGRPOTrainer
    from entrokit.training.pocket import pocket_policy

    model, tokenizer = pocket_policy()
    args: Any = GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=rows,
        steps_per_generation=UPDATES,
        num_generations=COMPLETIONS,
        max_completion_length=task.max_completion_length,
        lr_scheduler_type="constant",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        **options,
    )
    trainer = EntropyGRPOTrainer(
        model,
        reward_funcs=task.reward,
        args=args,
        train_dataset=task.train,
        processing_class=tokenizer,
        recipe="grpo",
        correct=task.correct,
        radius=radius,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def trained(rate: float, seed: int) -> list[Step]:
    """A run of the pocket policy on countdown at a constant rate; every step is measured on all of its rows."""
    from entrokit.engines.trl import EntropyAccountCallback, RadiusOptions
    from entrokit.rlvr.tasks import load_task
    from entrokit.runs.layout import ACCOUNT

    task = load_task("countdown", train_size=ROWS * STEPS // COMPLETIONS, eval_size=8, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        options = {"learning_rate": rate, "max_steps": STEPS, "logging_steps": UPDATES, "seed": seed}
        trainer = pocket_trainer(folder, task, RadiusOptions(rows=None), rows=ROWS, **options)
        trainer.add_callback(EntropyAccountCallback(trainer, every=1, rows=None))
        trainer.train()
        lines = (Path(folder) / ACCOUNT).read_text(encoding="utf-8").splitlines()
    assert trainer.radius is not None
    r = {step: found.r for step, found in trainer.radius.history}
    accounts = [json.loads(line) for line in lines]
    return [Step(rate, r[a["step"]], a["predicted"], a["measured"]) for a in accounts]


def _beyond(seeds: list[list[Step]]) -> Finding:
    inside = [float(np.median([s.error for s in own if s.r < 1])) for own in seeds]
    beyond = [float(np.median([s.error for s in own if s.r >= 1])) for own in seeds]
    rank = [_spearman([s.r for s in own], [s.error for s in own]) for own in seeds]
    share = [float(np.mean([s.r >= 1 for s in own])) for own in seeds]
    passed = all(i < 0.5 < b and k > 0.5 for i, b, k in zip(inside, beyond, rank, strict=True))
    return Finding(
        "A step beyond r = 1 shows in the account's error: first order does not reach it.",
        CRITERION,
        f"median error {min(inside):.2f} to {max(inside):.2f} below r = 1, {min(beyond):.2f} to {max(beyond):.2f} "
        f"beyond ({np.mean(share):.0%} of the steps); Spearman {min(rank):.2f} to {max(rank):.2f}",
        passed,
        "",
        {
            "median error, r < 1": inside,
            "median error, r ≥ 1": beyond,
            "Spearman of r and the error": rank,
            "share of steps beyond 1": share,
        }
        | {
            f"median r, learning rate {rate:g}": [
                float(np.median([s.r for s in own if s.rate == rate])) for own in seeds
            ]
            for rate in RATES
        }
        | {
            f"median error, learning rate {rate:g}": [
                float(np.median([s.error for s in own if s.rate == rate])) for own in seeds
            ]
            for rate in RATES
        },
    )


def _spearman(x: list[float], y: list[float]) -> float:
    ranks = np.stack([np.argsort(np.argsort(v)).astype(float) for v in (x, y)])
    return float(np.corrcoef(ranks)[0, 1])
