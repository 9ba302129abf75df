"""Kills a training process again and again, resumes it, and holds what comes out to a run that nobody disturbed.

    python experiments/kill_test.py runs/kills --kills 50

A tiny policy is trained with `EntropyGRPOTrainer`, a checkpoint every 5 steps, of which three are kept. The process
gets SIGKILL at a random moment after training has begun, wherever it is: sampling, in a step, while a checkpoint is
written or an old one removed. Then it is started anew with ``resume_from_checkpoint=True``. After the last kill it may
finish; its weights and everything it logged must equal the undisturbed run's bit for bit. Prints what was found; exit
code 1 if anything differs. About ten minutes for 50 kills.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STEPS, EVERY = 8000, 5
RECIPE = "dapo+clip-cov(ratio=0.2, low=0.0, high=9.0)"
BEGAN, LOG, WEIGHTS = "began", "log.json", "weights.pt"
TIMES = ("time", "runtime", "per_second")


def reward(completions: list[str], **columns: Any) -> list[float]:
    return [(sum(map(ord, c)) % 7) / 7 for c in completions]


def work(out: Path) -> None:
    """Trains from the newest whole checkpoint to the end."""
    import torch
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig

    from entrokit.engines.trl import EntropyGRPOTrainer
    from entrokit.engines.trl.checkpoints import newest_whole
    from entrokit.rlvr.tasks import countdown
    from entrokit.training.pocket import PocketConfig, character_tokenizer, fresh_model

    class Began(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            (out / BEGAN).write_text(str(state.global_step))

    torch.set_num_threads(1)
    args = GRPOConfig(
        output_dir=str(out),
        per_device_train_batch_size=8,
        steps_per_generation=4,
        num_generations=4,
        max_completion_length=8,
        learning_rate=1e-3,
        max_steps=STEPS,
        logging_steps=3,
        save_strategy="steps",
        save_steps=EVERY,
        save_total_limit=3,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        seed=3,
    )
    trainer = EntropyGRPOTrainer(
        fresh_model(PocketConfig(width=32, layers=1, heads=2)),
        reward_funcs=reward,
        args=args,
        train_dataset=countdown(train_size=64, eval_size=4).train,
        processing_class=character_tokenizer(),
        callbacks=[Began()],
        recipe=RECIPE,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=True if newest_whole(out) else None)
    torch.save({n: p.detach() for n, p in trainer.model.named_parameters()}, out / WEIGHTS)
    (out / LOG).write_text(json.dumps(trainer.state.log_history))


def start(out: Path) -> subprocess.Popen[bytes]:
    (out / BEGAN).unlink(missing_ok=True)
    command = [sys.executable, __file__, str(out), "--work"]
    with (out / "stderr").open("ab") as errors:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)


def finish(out: Path) -> None:
    process = start(out)
    if process.wait() != 0:
        sys.exit(f"{out}: the process ended with {process.returncode}; see {out / 'stderr'}")


def kill_once(out: Path, rng: random.Random) -> tuple[int, bool]:
    """The step it resumed from, and whether it was still running when it was killed."""
    process = start(out)
    while not (out / BEGAN).exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(rng.uniform(0.0, 1.5))
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not (out / BEGAN).exists():
        sys.exit(f"{out}: it did not come to training; see {out / 'stderr'}")
    return int((out / BEGAN).read_text()), running


def log_of(out: Path) -> list[dict[str, Any]]:
    rows = json.loads((out / LOG).read_text())
    return [
        {k: v for k, v in row.items() if not any(t in k for t in TIMES)} for row in rows if "train_runtime" not in row
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/kills"))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if arguments.work:
        work(arguments.folder)
        return
    import torch

    from entrokit.engines.trl.checkpoints import newest_whole

    whole, killed = (arguments.folder / name for name in ("whole", "killed"))
    for out in (whole, killed):
        out.mkdir(parents=True)
    finish(whole)
    rng, furthest, lost, unfinished, kills = random.Random(arguments.seed), 0, 0, 0, 0
    while kills < arguments.kills:
        step, running = kill_once(killed, rng)
        if not running:
            break
        kills += 1
        lost += step < furthest
        newest = newest_whole(killed)
        furthest = 0 if newest is None else int(newest.name.rpartition("-")[2])
        unfinished += len(list(killed.glob("checkpoint-*"))) > len(
            [f for f in killed.glob("checkpoint-*") if (f / "entrokit_manifest.json").exists()]
        )
    finish(killed)
    weights = [torch.load(out / WEIGHTS, weights_only=True) for out in (whole, killed)]
    same_weights = all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])
    same_log = log_of(whole) == log_of(killed)
    print(
        f"{kills} kills over {STEPS} steps, the last one after step {furthest}; {unfinished} left an unfinished "
        f"checkpoint behind; resumed from an earlier checkpoint than the last whole one: {lost} times; weights equal "
        f"bit for bit: {same_weights}; {len(log_of(whole))} lines of metrics equal: {same_log}"
    )
    if lost or not same_weights or not same_log:
        sys.exit(1)


if __name__ == "__main__":
    main()
