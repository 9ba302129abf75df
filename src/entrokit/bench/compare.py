"""Trains several recipes over several seeds, each run in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from entrokit.rlvr import recipe
from entrokit.runs import Run, RunReadError, RunWriter
from entrokit.training.session import Outcome, train
from entrokit.training.settings import TrainSettings

# Called about twice a second with the metrics so far, by run.
Progress = Callable[[dict[str, list[dict[str, float]]]], None]


def compare(
    recipes: Sequence[str],
    seeds: int,
    settings: TrainSettings,
    jobs: int | None = None,
    on_progress: Progress | None = None,
) -> list[Run]:
    """Runs every recipe with seeds ``settings.seed, settings.seed + 1, …``; seeds are paired over recipes.

    Args:
        recipes: recipe strings, at least one. seeds: number of seeds, at least 1.
        settings: what all runs share; ``out`` is the folder that receives one folder a run.
        jobs: runs at a time; as many as there are cores by default, each with its share of the threads.
        on_progress: called about twice a second with the metrics so far, by run.

    Returns:
        The finished runs, in the order of recipes and seeds.

    Raises:
        ValueError: no recipe, the same recipe twice, or fewer than one seed.
        FileExistsError: the folder already holds runs.
        Exception: the first error of a run; the other runs finish and stay on disk.
        KeyboardInterrupt: after every run under way has been left readable.
    """
    names = [str(recipe(r)) for r in recipes]
    if not names or seeds < 1 or (jobs is not None and jobs < 1):
        raise ValueError(f"compare: needs at least one recipe, one seed and one job, got {names}, {seeds} and {jobs}")
    if len(set(names)) != len(names):
        raise ValueError(f"compare: a recipe stands twice in {names}")
    planned = {
        f"{folder_name(name)}-seed{settings.seed + i}": replace(
            settings,
            recipe=name,
            seed=settings.seed + i,
            out=str(Path(settings.out) / f"{folder_name(name)}-seed{settings.seed + i}"),
        )
        for i in range(seeds)
        for name in names
    }
    RunWriter.refuse_taken(settings.out)  # whose report the comparison's would overwrite
    taken = [s.out for s in planned.values() if Path(s.out).exists()]
    if taken:
        raise FileExistsError(f"{taken[0]} already exists; choose another folder for this comparison")
    runs = train_all(planned, jobs, on_progress)
    return [runs[f"{folder_name(name)}-seed{settings.seed + i}"] for name in names for i in range(seeds)]


def train_all(
    planned: Mapping[str, TrainSettings],
    jobs: int | None = None,
    on_progress: Progress | None = None,
    enough: Callable[[], bool] | None = None,
) -> dict[str, Run]:
    """Trains all of ``planned``, begun in that order, and returns the finished runs under the same names.

    Args:
        jobs, on_progress: as for `compare`.
        enough: asked before each run is begun; once it says so, no other is, and those not begun are not returned.

    Raises:
        Exception: the first error of a run; the other runs finish and stay on disk.
        KeyboardInterrupt: after every run under way has been left readable.
    """
    if not planned:
        return {}
    workers = min(jobs or os.cpu_count() or 1, len(planned))
    threads = max(1, (os.cpu_count() or 1) // workers)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_set_threads, initargs=(threads,)) as pool:
        outcomes = _run(pool, workers, planned, on_progress, enough or (lambda: False))
    if any(o.interrupted for o in outcomes):
        raise KeyboardInterrupt
    return {key: Run.load(planned[key].out) for key in list(planned)[: len(outcomes)]}


def folder_name(recipe_string: str) -> str:
    """A recipe string as a folder's name; rare characters go by their codes, so that recipes keep apart."""
    coded = re.sub(r"[^A-Za-z0-9.+=_(),:' -]", lambda rare: f"x{ord(rare[0]):x}", recipe_string)
    return re.sub(r"[^A-Za-z0-9.+=_-]+", "_", coded).strip("_")


def _set_threads(threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


def _run(
    pool: ProcessPoolExecutor,
    workers: int,
    planned: Mapping[str, TrainSettings],
    on_progress: Progress | None,
    enough: Callable[[], bool],
) -> list[Outcome]:
    """Hands out a run only when a worker is free: what a pool has queued can no longer be called back by Ctrl-C."""
    waiting = list(planned.values())
    futures: list[Future[Outcome]] = []
    pending: set[Future[Outcome]] = set()
    try:
        while pending or (waiting and not enough()):
            while waiting and len(pending) < workers and not enough():
                future = pool.submit(train, waiting.pop(0))
                futures.append(future)
                pending.add(future)
            _, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            if on_progress is not None:
                on_progress({name: _metrics(s.out) for name, s in planned.items()})
    except KeyboardInterrupt:
        wait(pending)
        raise
    return [f.result() for f in futures]


def _metrics(folder: str) -> list[dict[str, float]]:
    try:
        return Run.load(folder).metrics
    except (RunReadError, OSError):
        return []
