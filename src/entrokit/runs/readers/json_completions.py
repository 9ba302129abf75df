"""Completions in JSON lines; verl's dumps of rollouts are named by their step.

{step}.jsonl with {"input": …, "output": …, "gts": …, "score": 1.0, "step": 1}  trainer.rollout_data_dir
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..training_log import Completion, Notes
from .completions import PLAIN_REWARDS, completions_of, reward_column
from .lines import json_objects


def is_rollout_dump(file: Path) -> bool:
    """Whether a file is named as verl names the rollouts of a step."""
    return file.suffix == ".jsonl" and file.stem.isdigit()


def jsonl_completions(files: Iterable[Path], notes: Notes) -> Iterator[Completion]:
    """The completions among the lines of JSONL files, in order of the files."""
    told = {"", *PLAIN_REWARDS}
    for file in files:
        step = float(file.stem) if is_rollout_dump(file) else None
        for number, row in json_objects(file, notes):
            if (taken := reward_column(row)[1]) not in told:
                told.add(taken)
                notes.add(f"the reward of completions was taken from {taken[:80]!r}", f"{file.name}:{number}")
            try:
                yield from completions_of(row, step)
            except (KeyError, TypeError, ValueError) as error:
                notes.add(f"a line is no completion and is left out: {str(error)[:120]}", f"{file.name}:{number}")
