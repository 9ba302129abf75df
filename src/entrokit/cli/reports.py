"""`entrokit report`, and the page that every command writes of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import show

console = Console()

MatchedAccuracy = Annotated[
    list[float] | None,
    typer.Option(
        help="compare entropy where accuracy first reaches this; may be given several times", min=0.0, max=1.0
    ),
]


def report(
    folder: Annotated[str, typer.Argument(help="a run's folder, or a folder of runs")],
    matched_accuracy: MatchedAccuracy = None,
    baseline: Annotated[
        str | None, typer.Option(help="recipe that the others are compared with; by default the one that began first")
    ] = None,
) -> None:
    """Prints the table of runs that are already on disk, finished or not, and writes their report."""
    from entrokit.report import summarise
    from entrokit.runs import find_runs

    found, levels = find_runs(folder), matched_accuracy or ()
    if baseline is not None:
        if baseline not in {run.name for run in found}:
            raise ValueError(f"baseline {baseline!r} is not among {sorted({run.name for run in found})}")
        found.sort(key=lambda run: run.name != baseline)
    if all(run.metrics for run in found):
        console.print(show.summary_table(summarise(found, levels)))
    console.print(f"Report: {write_report([r.folder for r in found], Path(folder), levels)}")


def write_report(folders: Sequence[Path], where: Path, matched_accuracy: Sequence[float] = ()) -> Path:
    """Writes the page of some runs' folders; returns where it lies."""
    from entrokit.report import write_page
    from entrokit.runs import Run

    return write_page([Run.load(f) for f in folders], where, matched_accuracy)
