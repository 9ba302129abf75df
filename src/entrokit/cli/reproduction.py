"""What `entrokit reproduce` does with one experiment after another."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from entrokit.papers import Finding, Paper, PaperResults, Result, ResultError
from entrokit.papers.entry import Experiment
from entrokit.papers.evidence import Budget
from entrokit.papers.results import keep, known
from entrokit.papers.run import ExperimentError, commit_of_checkout, how_to_get, lacking, run, stands
from entrokit.report.chart import figure
from entrokit.report.reproduction import Section
from entrokit.training.settings import TrainSettings

from .comparison import CompareProgress


def planned(entries: Sequence[Paper], experiment: str | None, every: bool) -> list[tuple[Paper, str]]:
    """Which experiments are asked for; of ``every`` quick ones of all papers first, and only those of a name if given.

    Raises:
        ValueError: a paper has no experiment of that name, or of ``every`` none has.
    """
    if not every:
        return [(entry, entry.experiment(experiment)[0]) for entry in entries]
    wanted = [
        (entry, name, own) for entry in entries for name, own in entry.experiments.items() if experiment in (None, name)
    ]
    if not wanted:
        names = sorted({name for entry in entries for name in entry.experiments})
        raise ValueError(f"none of these papers has an experiment {experiment!r}; they have {', '.join(names)}")
    return [(entry, name) for entry, name, _ in sorted(wanted, key=lambda each: each[2].minutes)]


class Reproduction:
    """Experiments one after another: shown as they come, kept as data, gathered for a page.

    Attributes:
        sections: of the page. broken: experiments that could not be carried out. passed_over: what lacks something.
    """

    def __init__(self, console: Console, out: Path, results: Path, jobs: int | None, again: bool) -> None:
        self._console, self._out, self._results, self._jobs, self._again = console, out, results, jobs, again
        # Of the code that is loaded, whatever is committed while it runs.
        self._commit = commit_of_checkout()
        self.sections: list[Section] = []
        self.broken = self.passed_over = 0

    @property
    def claims(self) -> int:
        return sum(len(section.verdicts) for section in self.sections)

    @property
    def failed(self) -> int:
        return sum(not verdict.passed for section in self.sections for verdict in section.verdicts)

    @property
    def summary(self) -> str:
        """What came out, in a sentence or three."""
        parts = [f"{self.failed} of {self.claims} claims failed."] if self.sections else ["Nothing was measured."]
        if self.broken:
            parts.append(f"{_experiments(self.broken)} could not be carried out.")
        if self.passed_over:
            parts.append(f"{_experiments(self.passed_over)} passed over.")
        return " ".join(parts)

    def take(self, entry: Paper, name: str, first: int, seeds: int | None) -> bool:
        """Runs one experiment, or shows what is known of it; whether there is something new for the page.

        One that lacks something is passed over by name, and what one raises is told: neither ends the others.
        """
        own = entry.experiments[name].seeds
        chosen = tuple(range(first, first + (seeds or own)))
        self._console.print(Text(f"{entry.slug}: {name}, {len(chosen)} seeds from {first}", style="bold"))
        if len(chosen) < own:
            self._console.print(Text(f"{len(chosen)} seeds instead of {own}: an illustration", style="yellow"))
        before = len(self.sections)
        try:
            self._take(entry, name, chosen)
        except Exception as error:  # a stranger's experiment may raise anything
            self._told(entry, name, error)
        return len(self.sections) > before

    def _take(self, entry: Paper, name: str, seeds: tuple[int, ...]) -> None:
        experiment = entry.experiments[name]
        result = self._known(entry.slug).experiments.get(name)
        if result is not None and not self._again and stands(result, entry, name, seeds, self._commit):
            self._console.print(Text(f"measured on {result.date}; --again measures it anew", style="dim"))
            for finding in result.findings:
                self._console.print(shown(finding))
            self.sections.append(_section(entry, name, result))
            return
        absent = lacking(experiment)
        if absent:
            self.passed_over += 1
            self._line(f"passed over: needs {', '.join(absent)}; {how_to_get(absent)}", "yellow")
            return
        result = self._measured(entry, name, experiment, seeds)
        self.sections.append(_section(entry, name, result))
        aside = keep(entry.slug, name, result, self._results)
        if aside is not None:
            self._line(f"what could not be read is now {aside}", "yellow")

    def _told(self, entry: Paper, name: str, error: Exception) -> None:
        self.broken += 1
        kind = "" if isinstance(error, (ExperimentError, ResultError)) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        of = f"{entry.slug}, experiment {name}: "
        self._line(f"could not be carried out: {of}{reason.removeprefix(of)}", "bold red")
        if os.environ.get("ENTROKIT_TRACEBACK"):
            traceback.print_exception(error)

    def _line(self, text: str, style: str) -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _measured(self, entry: Paper, name: str, experiment: Experiment, seeds: tuple[int, ...]) -> Result:
        if experiment.minutes >= 1:
            self._console.print(Text(f"about {experiment.minutes:g} minutes on two cores", style="dim"))
        with CompareProgress(self._console, TrainSettings.steps) as progress:
            budget = Budget(seeds, self._out, self._jobs, progress.update, progress.warming_up)
            return run(entry, name, budget, lambda finding: self._console.print(shown(finding)), commit=self._commit)

    def _known(self, slug: str) -> PaperResults:
        try:
            return known(slug, self._results)
        except ResultError as error:
            self._line(f"{error}; it is set aside for what is measured now", "yellow")
            return PaperResults(slug)


def _section(entry: Paper, name: str, result: Result) -> Section:
    """For the page; a picture that cannot be drawn is an error here, where it spoils no others."""
    for chart in result.charts:
        figure(chart)
    seeds = len(result.seeds)
    about = f"arXiv {entry.arxiv}, {entry.year}. {seeds} seeds from {result.seeds[0]}. {result.note}".strip()
    return Section(entry.slug, entry.title, entry.url, name, seeds, about, result.findings, result.charts)


def _experiments(count: int) -> str:
    return f"{count} experiment{'s' if count > 1 else ''}"


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
