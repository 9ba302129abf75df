"""A real trainer of one weight under a guard; as a script, in each of several processes.

python -m torch.distributed.run --nproc_per_node 2 tests/engines/guarded.py FOLDER OUT
"""

import json
import math
import sys
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments

from entrokit.engines.guard import EntropyGuard
from tests.diagnose.cases import falling

LOSING = falling(0.9, 0.01, n=60, speed=12.0)


class Line(torch.nn.Module):
    """Predicts y from x by one weight; its loss is NaN where ``x`` is."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x, y):
        return {"loss": ((self.layer(x) - y) ** 2).mean()}


class Logging(Trainer):
    """Logs beside the loss what a test gives for each step, as TRL's trainers log their metrics."""

    rows = staticmethod(lambda step: {})

    def log(self, logs, start_time=None):
        if "loss" in logs:
            logs.update(self.rows(self.state.global_step))
        super().log(logs, start_time)


def collapsing(step):
    return {"entropy": float(LOSING[step - 1]), "reward": 0.3 + 0.02 * (step % 3)}


def trainer(folder, guard, rows=lambda step: {}, bad_from=None, **options):
    """A real trainer of one weight; from step ``bad_from`` on its data are infinite."""
    data = [
        {"x": torch.tensor([math.inf if bad_from is not None and i >= bad_from - 1 else 0.1]), "y": torch.tensor([0.2])}
        for i in range(60)
    ]
    defaults = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 1,
        "max_steps": 60,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "train_sampling_strategy": "sequential",
        "learning_rate": 1e-3,
    }
    made = Logging(
        Line(), TrainingArguments(**(defaults | options)), train_dataset=data, callbacks=[guard] if guard else []
    )
    made.rows = rows
    return made


def main(folder, out):
    """Trains where the main process alone logs a collapse; writes at which step each process ended."""
    guard = EntropyGuard(stop_on="collapse", patience=2, every=1)
    t = trainer(folder, guard, collapsing, per_device_train_batch_size=1)
    if not t.is_world_process_zero():
        t.rows = lambda step: {"entropy": 0.5, "reward": 0.3}
    t.train()
    ends = [None] * t.args.world_size
    torch.distributed.all_gather_object(ends, t.state.global_step)
    if t.is_world_process_zero():
        Path(out).write_text(json.dumps({"ends": ends, "verdict": guard.stopped.name, "step": guard.stopped.step}))


if __name__ == "__main__":
    main(*sys.argv[1:])
