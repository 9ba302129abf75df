"""What the catalogue holds of a paper, and what running its claims gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from entrokit.bench import Bench, PocketBench, Progress, TabularBench, folder_name
from entrokit.report import Chart
from entrokit.training.session import TrainSettings

BENCHES = {"tabular": 8, "pocket": 3}
"""The benches, with the number of seeds that each takes by default."""


@dataclass(frozen=True)
class Budget:
    """What a reproduction may spend.

    Attributes:
        bench: `tabular` (seconds) or `pocket` (about a minute a run).
        seeds: number of seeds, paired over recipes; at least 2, since one seed shows nothing.
        folder: holds the pocket runs, one folder a task; those that are there are not trained again. Runs are shared
            between papers.
        jobs: pocket runs at a time; one per core by default. on_progress: as `bench.compare` calls it.
    """

    bench: str = "tabular"
    seeds: int = BENCHES["tabular"]
    folder: str | Path = "runs/reproduce"
    jobs: int | None = None
    on_progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.bench not in BENCHES:
            raise ValueError(f"Budget.bench: must be one of {list(BENCHES)}, got {self.bench!r}")
        if self.seeds < 2:
            raise ValueError(f"Budget.seeds: one seed shows nothing; at least 2, got {self.seeds}")

    def open(self, seed: int) -> Bench:
        """The bench, with seeds ``seed, seed + 1, …``; the pocket policy plays countdown."""
        return TabularBench(self.range(seed)) if self.bench == "tabular" else self.pocket(seed)

    def pocket(self, seed: int, task: str = "countdown", *, level: float = 0.2, **options: Any) -> PocketBench:
        """The pocket bench on a task, with ``options`` of `TrainSettings`; for ``level`` see `PocketBench`."""
        settings = TrainSettings("grpo", "", task=task, **options)
        parts = ["pocket", *([task] if task != "countdown" else [])]
        parts += [settings.select] if settings.select != "all" else []
        settings = replace(settings, out=str(Path(self.folder) / folder_name("-".join(parts))))
        return PocketBench(self.range(seed), settings, level, self.jobs, self.on_progress)

    def range(self, seed: int) -> range:
        """The seeds from ``seed`` on."""
        return range(seed, seed + self.seeds)


@dataclass(frozen=True)
class Finding:
    """A claim beside its measurement.

    Attributes:
        claim: what the paper says, in one sentence. criterion: when it holds, written before the run.
        measured: with spread. passed: the verdict. reference: what the paper or its sheet measured, if anything.
    """

    claim: str
    criterion: str
    measured: str
    passed: bool
    reference: str = ""

    @property
    def verdict(self) -> str:
        return "holds" if self.passed else "failed"


@dataclass(frozen=True)
class Evidence:
    """All findings of one paper on one bench, and their pictures."""

    slug: str
    bench: str
    seeds: tuple[int, ...]
    findings: tuple[Finding, ...]
    charts: tuple[Chart, ...] = ()

    @property
    def passed(self) -> bool:
        return all(f.passed for f in self.findings)


@dataclass(frozen=True)
class Paper:
    """An entry of the catalogue.

    Attributes:
        slug: its name here. arxiv: its id. year: of the first version. family: the shelf, e.g. `rlvr: tokens`.
        claim: in one sentence. names: public names that implement it, dotted. recipes: strings to try it with.
        reproduce: ``(seed, budget) -> Evidence``: runs its claims in miniature with seeds from ``seed`` on.
        benches: on which it claims something that can be run.
    """

    slug: str
    title: str
    arxiv: str
    year: int
    family: str
    claim: str
    names: tuple[str, ...]
    recipes: tuple[str, ...]
    reproduce: Callable[[int, Budget], Evidence]
    benches: tuple[str, ...] = tuple(BENCHES)

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"

    def matches(self, words: Sequence[str]) -> bool:
        """Whether every word stands somewhere in the entry, in whatever case."""
        text = " ".join((self.slug, self.title, self.arxiv, self.family, self.claim, *self.names, *self.recipes))
        return all(word.casefold() in text.casefold() for word in words)
