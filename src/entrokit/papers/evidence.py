"""What running a paper's claims gives: verdicts with the numbers behind them, and what may be spent on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

from entrokit.bench import PocketBench, Progress, TabularBench, folder_name
from entrokit.training.settings import TrainSettings

Raw = Mapping[str, Sequence[float | None]]
"""Numbers by what they are of, one a seed where seeds are compared; None where a seed has none."""


@dataclass(frozen=True)
class Finding:
    """A claim beside its measurement.

    Attributes:
        claim: what the paper says, in one sentence. criterion: when it holds, written before the run.
        measured: with spread. passed: the verdict. reference: what the paper measured, if anything, or an independent
            check of the same miniature.
        raw: the numbers that the verdict was made of.
    """

    claim: str
    criterion: str
    measured: str
    passed: bool
    reference: str = ""
    raw: Raw = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return "holds" if self.passed else "failed"


def checked(finding: Finding) -> Finding:
    """A finding in plain Python: what numpy and torch hold becomes numbers, 0-dim ones alone a list of one.

    Raises:
        ValueError: texts that are none, a verdict that is neither True nor False, or raw numbers that are none. None
            may stand where a seed has no number; a claim that holds has at least one that is finite.
    """
    for name in ("claim", "criterion", "measured", "reference"):
        check_text(getattr(finding, name), f"a finding's {name}")
    what = f"the finding {finding.claim!r}"
    passed = in_python(finding.passed)
    if not isinstance(passed, bool):
        raise ValueError(f"{what}: passed is True or False, got {_short(passed)}")
    if not isinstance(finding.raw, Mapping) or not finding.raw:
        raise ValueError(f"{what} has no raw numbers")
    raw = {}
    for name, given in finding.raw.items():
        check_text(name, f"{what}: a name of raw numbers")
        raw[name] = _numbers(given, f"{what}: raw numbers {name!r}")
    every = [number for own in raw.values() for number in own]
    if not any(number is not None and math.isfinite(number) for number in every):
        nobody_got_there = bool(every) and not passed and all(number is None for number in every)
        if not nobody_got_there:
            raise ValueError(f"{what} has no finite raw numbers")
    return replace(finding, passed=passed, raw=raw)


def check_text(value: Any, what: str) -> str:
    """A text that can be written.

    Raises:
        ValueError: it is none, or holds half a character.
    """
    if not isinstance(value, str):
        raise ValueError(f"{what} is text, got {_short(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} cannot be written: {error}") from None
    return value


def _numbers(given: Any, what: str) -> list[float | None]:
    values = in_python(given)
    if isinstance(values, Real):
        values = [values]
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise ValueError(f"{what}: a sequence of numbers, got {_short(values)}")
    return [_number(in_python(value), what) for value in values]


def _number(value: Any, what: str) -> float | None:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    if isinstance(value, Real):
        return float(value)
    raise ValueError(f"{what}: numbers, or None where a seed has none; got {_short(value)}")


def in_python(value: Any) -> Any:
    """What numpy and torch hold, as Python has it."""
    return value.tolist() if callable(getattr(value, "tolist", None)) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(frozen=True)
class Budget:
    """What an experiment may spend.

    Attributes:
        seeds: paired over recipes; at least two, since one shows nothing.
        folder: holds the pocket runs, one folder a task; those that are there are not trained again. Runs are shared
            between papers.
        jobs: pocket runs at a time; one per core by default. on_progress: as `bench.compare` calls it.
        on_warm_up: called as ``on_warm_up(step, steps, loss)`` where a pocket policy has to be made first.
    """

    seeds: tuple[int, ...]
    folder: str | Path = "runs/reproduce"
    jobs: int | None = None
    on_progress: Progress | None = None
    on_warm_up: Callable[[int, int, float], None] | None = None

    def __post_init__(self) -> None:
        if len(self.seeds) < 2 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"Budget.seeds: one seed shows nothing; at least two different ones, got {self.seeds}")

    def tabular(self) -> TabularBench:
        """The tabular bench, with these seeds."""
        return TabularBench(self.seeds)

    def pocket(self, task: str = "countdown", *, level: float = 0.2, **options: Any) -> PocketBench:
        """The pocket bench on a task, with ``options`` of `TrainSettings`; for ``level`` see `PocketBench`."""
        settings = TrainSettings("grpo", "", task=task, **options)
        parts = ["pocket", *([task] if task != "countdown" else [])]
        parts += [settings.select] if settings.select != "all" else []
        settings = replace(settings, out=str(Path(self.folder) / folder_name("-".join(parts))))
        return PocketBench(self.seeds, settings, level, self.jobs, self.on_progress, self.on_warm_up)
