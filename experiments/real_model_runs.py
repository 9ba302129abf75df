"""What the parts of `experiments/real_model.py` share: runs of one shape, and results that are made once."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from entrokit.engines.trl.checkpoints import newest_whole
from entrokit.training.pocket import cache_folder
from entrokit.training.session import resume, train
from entrokit.training.settings import TrainSettings

OUT = Path(__file__).parents[1] / "results" / "real_model"


class Clock:
    """CPU seconds of the process at every generation batch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, step: int, metrics: object) -> None:
        self.seconds.append(time.process_time())

    def per_step(self, updates: int) -> float:
        """Median, without the first batch, which warms caches."""
        return float(np.median(np.diff(self.seconds)[1:])) / updates


def run(
    model: Path,
    folder: Path,
    options: Mapping[str, object],
    stop: Callable[[Mapping[str, float]], bool] = lambda metrics: False,
) -> Clock:
    """One training run of `grpo`, where the options name no other recipe; ends where ``stop`` says so of metrics.

    A run that was stopped goes on from its last checkpoint, or begins anew where it has none.
    """
    clock, stopped = Clock(), False

    def listen(step: int, metrics: Mapping[str, float]) -> None:
        nonlocal stopped
        clock(step, metrics)
        stopped = stop(metrics)
        if stopped:
            raise KeyboardInterrupt

    if newest_whole(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
        outcome = train(TrainSettings(**{"recipe": "grpo", "model": str(model), "out": str(folder)} | options), listen)
    else:
        outcome = resume(folder, listen)
    if outcome.interrupted and not stopped:
        raise KeyboardInterrupt  # somebody's Ctrl-C: what there is of this run is no result
    return clock


def runs_of(name: str) -> Path:
    """The folder of a result's runs."""
    return cache_folder() / "real-model-runs" / name


def kept(name: str, make: Callable[[Path], object], leave_runs: bool = False) -> None:
    """Makes a result once, from runs in a folder that goes again when there is one."""
    file = OUT / f"{name}.json"
    if file.exists():
        return
    begun, folder = time.monotonic(), runs_of(name)
    result = make(folder / "run")
    if not leave_runs:
        shutil.rmtree(folder, ignore_errors=True)
    facts = {"wall seconds": round(time.monotonic() - begun), "threads": torch.get_num_threads(), "device": _device()}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".partial").write_text(json.dumps(facts | {"result": result}, indent=1) + "\n")
    file.with_suffix(".partial").rename(file)
    print(f"{name}: {facts['wall seconds']} s", flush=True)


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
