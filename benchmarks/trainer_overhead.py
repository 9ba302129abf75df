"""What a step costs: `EntropyGRPOTrainer` against TRL's `GRPOTrainer`, and the scoreboard's recipes against `grpo`.

On the pocket policy, interleaved: in every round each trainer has one turn, a generation batch with its four updates,
in an order that rotates. All turns of a round start from one seed, so they sample the same completions, and ratios are
taken within a round. Prints the median time, the median ratio to `grpo` with its quartiles, the median ratio to TRL,
and the share of a turn that forward passes without gradient take (one over the whole generation batch, which TRL makes
too with four updates; one more where a reference is needed). Writes ``runs/bench/trainer_overhead.json``. Takes about
ten minutes.
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

from entrokit.bench.contestants import BASELINE
from entrokit.bench.scoreboard import recipes_of
from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.rlvr.tasks import countdown
from entrokit.training.pocket import pocket_policy

ROUNDS = 10
UPDATES = 4
RECIPES = recipes_of("pocket")


class Turns(TrainerCallback):  # type: ignore[misc]
    """Lets a trainer train ``steps`` optimiser steps at a time, and keeps how long each turn took."""

    def __init__(self, steps: int = UPDATES) -> None:
        self._steps = steps
        self.seconds: list[float] = []
        self._begin = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self._steps == 0:
            self._begin = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self._steps == 0:
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


def time_behaviour_pass(trainer: Any) -> list[float]:
    """The list that receives the seconds of every behaviour pass from now on."""
    seconds: list[float] = []
    original = trainer._get_per_token_logps_and_entropies

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        result = original(*args, **kwargs)
        if not torch.is_grad_enabled():
            seconds.append(time.perf_counter() - begin)
        return result

    trainer._get_per_token_logps_and_entropies = timed
    return seconds


def main() -> None:
    torch.set_num_threads(1)
    trainers = {kind: build(kind) for kind in ["TRL", *RECIPES]}
    passes = {kind: time_behaviour_pass(trainers[kind][0]) for kind in trainers}
    order = list(trainers)
    for turn in range(ROUNDS + 1):
        for kind in order[turn % len(order) :] + order[: turn % len(order)]:
            torch.manual_seed(turn)
            trainers[kind][0].train()
    # The first turn warms up.
    seconds = {kind: turns.seconds[1:] for kind, (_, turns) in trainers.items()}
    rows = {}
    print(f"{'':72}{'median':>9}   ratio to {BASELINE} [quartiles]  to TRL  behaviour pass")
    for kind, own in seconds.items():
        low, ratio, high = statistics.quantiles([a / b for a, b in zip(own, seconds[BASELINE], strict=True)], n=4)
        row = {"median_s": statistics.median(own), "ratio": ratio, "quartiles": [low, high], "rounds": len(own)}
        row["ratio_to_trl"] = statistics.median(a / b for a, b in zip(own, seconds["TRL"], strict=True))
        per_turn = len(passes[kind]) // (ROUNDS + 1)
        row["behaviour_share"] = per_turn * statistics.median(passes[kind][per_turn:]) / row["median_s"]
        print(
            f"{kind:72}{row['median_s'] * 1e3:6.1f} ms   {ratio:.3f} [{low:.3f}, {high:.3f}]         "
            f"{row['ratio_to_trl']:.3f}   {100 * row['behaviour_share']:.1f} %"
        )
        rows[kind] = row
    out = Path("runs/bench/trainer_overhead.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
