"""Time of one training step of `EntropyGRPOTrainer` as a ratio to TRL's `GRPOTrainer`, on the same pocket policy.

Interleaved: the trainers take turns, one generation batch (its updates included) each. Prints medians, quartiles and
the ratio of medians, and writes them to ``runs/bench/trainer_overhead.json``. Takes about two minutes.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from entrokit.engines.pocket import pocket_policy
from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.rlvr.tasks import countdown

ROUNDS = 30
UPDATES = 4
RECIPES = ["grpo", "grpo+kl-cov(ratio=0.1)", "grpo+steer(min_weight=0.1)", "grpo+forking-tokens"]


class Turns(TrainerCallback):  # type: ignore[misc]
    """Times every generation batch of one trainer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begin = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % UPDATES == 0:
            self._begin = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % UPDATES == 0:
            self.seconds.append(time.perf_counter() - self._begin)
            control.should_training_stop = True


def build(kind: str) -> tuple[Any, Turns]:
    task = countdown(train_size=4096)
    model, tokenizer = pocket_policy()
    turns = Turns()
    args = GRPOConfig(
        output_dir="runs/bench/trainer",
        per_device_train_batch_size=64,
        steps_per_generation=UPDATES,
        num_generations=16,
        max_completion_length=task.max_completion_length,
        loss_type="dapo",
        learning_rate=1e-6,
        max_steps=UPDATES * (ROUNDS + 5),
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    common = {
        "reward_funcs": task.reward,
        "train_dataset": task.train,
        "processing_class": tokenizer,
        "callbacks": [turns],
    }
    trainer = (
        GRPOTrainer(model, args=args, **common)
        if kind == "TRL"
        else EntropyGRPOTrainer(model, args=args, recipe=kind, **common)
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, turns


def main() -> None:
    torch.set_num_threads(1)
    trainers = {kind: build(kind) for kind in ["TRL", *RECIPES]}
    for _ in range(ROUNDS + 1):
        for trainer, _turns in trainers.values():
            trainer.train()
    rows = {}
    for kind, (_, turns) in trainers.items():
        seconds = turns.seconds[1:]  # the first turn warms up
        low, median, high = statistics.quantiles(seconds, n=4)
        rows[kind] = {"median_s": median, "quartiles_s": [low, high], "rounds": len(seconds)}
    peer = rows["TRL"]["median_s"]
    for kind, row in rows.items():
        row["ratio_to_trl"] = row["median_s"] / peer
        low, high = row["quartiles_s"]
        print(
            f"{kind:32} {row['median_s'] * 1e3:7.1f} ms [{low * 1e3:.1f}, {high * 1e3:.1f}]  x{row['ratio_to_trl']:.3f}"
        )
    out = Path("runs/bench/trainer_overhead.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
