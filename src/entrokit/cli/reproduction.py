"""What `entrokit reproduce` does with one experiment after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from entrokit.papers import Finding, Paper, PaperResults, Result, ResultError
from entrokit.papers.entry import Experiment
from entrokit.papers.evidence import Budget
from entrokit.papers.results import known, save
from entrokit.papers.run import commit_of_checkout, lacking, run
from entrokit.report.reproduction import Section
from entrokit.training.settings import TrainSettings

from . import show


def planned(entries: Sequence[Paper], experiment: str | None, every: bool) -> Iterator[tuple[Paper, str]]:
    """Which experiments are asked for, quick ones of all papers first.

    Raises:
        ValueError: a paper has no experiment of that name.
    """
    if not every:
        yield from ((entry, entry.experiment(experiment)[0]) for entry in entries)
        return
    wanted = [
        (entry, name, own) for entry in entries for name, own in entry.experiments.items() if experiment in (None, name)
    ]
    for entry, name, _ in sorted(wanted, key=lambda each: each[2].minutes):
        yield entry, name


class Reproduction:
    """Experiments one after another: shown as they come, kept as data, gathered for a page."""

    def __init__(self, console: Console, out: Path, results: Path, jobs: int | None, again: bool) -> None:
        self._console, self._out, self._results, self._jobs, self._again = console, out, results, jobs, again
        self.sections: list[Section] = []

    @property
    def claims(self) -> int:
        return sum(len(section.verdicts) for section in self.sections)

    @property
    def failed(self) -> int:
        return sum(not verdict.passed for section in self.sections for verdict in section.verdicts)

    def take(self, entry: Paper, name: str, first: int, seeds: int | None) -> None:
        """Runs one experiment, or shows what is known of it; one that lacks something is passed over by name."""
        experiment = entry.experiments[name]
        chosen = tuple(range(first, first + (seeds or experiment.seeds)))
        before = self._known(entry.slug)
        self._console.print(Text(f"{entry.slug}: {name}, {len(chosen)} seeds from {first}", style="bold"))
        result = before.experiments.get(name)
        if result is not None and not self._again and _stands(result, chosen):
            self._console.print(Text(f"measured on {result.date}; --again measures it anew", style="dim"))
            for finding in result.findings:
                self._console.print(shown(finding))
        else:
            absent = lacking(experiment)
            if absent:
                self._console.print(Text(f"passed over: needs {', '.join(absent)}", style="yellow"))
                return
            result = self._measured(entry, name, experiment, chosen)
            save(before.with_result(name, result), self._results)
        about = f"arXiv {entry.arxiv}, {entry.year}. {len(result.seeds)} seeds from {result.seeds[0]}. {result.note}"
        self.sections.append(
            Section(
                entry.slug,
                entry.title,
                entry.url,
                name,
                len(result.seeds),
                about.strip(),
                result.findings,
                result.charts,
            )
        )

    def _measured(self, entry: Paper, name: str, experiment: Experiment, seeds: tuple[int, ...]) -> Result:
        if experiment.minutes >= 1:
            self._console.print(Text(f"about {experiment.minutes:g} minutes on two cores", style="dim"))
        trains = "trl" in experiment.needs
        if trains:
            show.warm_pocket(self._console)
        watched = show.CompareProgress(self._console, TrainSettings.steps) if trains else nullcontext()
        with watched as progress:
            budget = Budget(seeds, self._out, self._jobs, progress.update if progress else None)
            return run(entry, name, budget, lambda finding: self._console.print(shown(finding)))

    def _known(self, slug: str) -> PaperResults:
        try:
            return known(slug, self._results)
        except ResultError as error:
            self._console.print(Text(f"{error}; what is measured now takes its place", style="yellow"))
            return PaperResults(slug)


def _stands(result: Result, seeds: tuple[int, ...]) -> bool:
    """Whether a result is of these seeds, and of this code as far as that can be told."""
    return result.seeds == seeds and result.commit == commit_of_checkout() and not result.commit.endswith("+changes")


def shown(finding: Finding) -> Table:
    """Claim beside measurement."""
    rows = Table.grid(padding=(0, 1))
    style = "green" if finding.passed else "bold red"
    rows.add_row(Text(f"{finding.verdict:>8}", style=style), Text(finding.claim))
    rows.add_row(Text("measured", style="dim"), Text(finding.measured))
    rows.add_row(Text("rule", style="dim", justify="right"), Text(finding.criterion, style="dim"))
    if finding.reference:
        rows.add_row(Text("compare", style="dim", justify="right"), Text(finding.reference, style="dim"))
    return rows
