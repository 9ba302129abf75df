"""verl: the file logger's JSONL, the console's lines, and the folder of rollout dumps.

{"step": 1, "data": {"actor/entropy": 1.5, …}}                                 file logger
step:1 - actor/pg_loss:0.125 - actor/entropy:np.float32(1.5) - …               console
{step}.jsonl with {"input": …, "output": …, "gts": …, "score": 1.0, "step": 1}  trainer.rollout_data_dir
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..series import Series
from ..training_log import Completion, Notes
from .completions import PLAIN_REWARDS, completions_of, reward_column
from .lines import json_objects, text_lines
from .metrics import SeriesBuilder

_STEP = re.compile(r"\bstep:(\d+)(?= - )")
_NUMPY = re.compile(r"np\.\w+\((.*)\)")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def console_series(file: Path, notes: Notes) -> dict[str, Series]:
    """Series from the lines that verl's console logger prints among everything else."""
    builder = SeriesBuilder()
    for _, line in text_lines(file, notes):
        plain = _ANSI.sub("", line)
        step = _STEP.search(plain)
        if step:
            builder.add(float(step[1]), dict(map(_pair, plain[step.end() :].split(" - "))))
    return builder.series()


def _pair(text: str) -> tuple[str, str]:
    """``name:value``, without what NumPy writes around a value."""
    name, _, value = text.strip().rpartition(":")
    numpy = _NUMPY.fullmatch(value)
    return name, numpy[1] if numpy else value


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
