"""What running a paper's claims gives: verdicts with the numbers behind them, and what may be spent on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True)
class Budget:
    """What an experiment may spend.

    Attributes:
        seeds: paired over recipes; at least two, since one shows nothing.
        folder: holds the pocket runs, one folder a task; those that are there are not trained again. Runs are shared
            between papers.
        jobs: pocket runs at a time; one per core by default. on_progress: as `bench.compare` calls it.
    """

    seeds: tuple[int, ...]
    folder: str | Path = "runs/reproduce"
    jobs: int | None = None
    on_progress: Progress | None = None

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
        return PocketBench(self.seeds, settings, level, self.jobs, self.on_progress)
