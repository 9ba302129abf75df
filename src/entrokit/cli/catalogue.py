"""`entrokit papers | reproduce`: the catalogue of papers, and their claims run in miniature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import show
from .manual import INTERRUPTED

console = Console()


def papers(
    slug: Annotated[str | None, typer.Argument(help="show this paper alone")] = None,
    family: Annotated[str | None, typer.Option(help="only papers of this family, e.g. rlvr")] = None,
    search: Annotated[str, typer.Option(help="only papers that hold all of these words")] = "",
) -> None:
    """Lists the papers of the library, or shows one."""
    from entrokit.papers import paper
    from entrokit.papers import search as find
    from entrokit.papers.results import MEASURED, known

    if slug is not None:
        console.print(show.paper(paper(slug), known(slug, MEASURED)), crop=False)
        return
    found = find(search.split(), family)
    if not found:
        console.print(Text(f"No paper holds all of: {search}"))
        raise typer.Exit(1)
    table = Table(box=None, pad_edge=False)
    for head in ("paper", "family", "arXiv", "what it claims"):
        table.add_column(head, no_wrap=head in ("paper", "arXiv"))
    for p in found:
        table.add_row(Text(p.slug, style="bold"), Text(p.family), Text(p.arxiv), Text(p.claim))
    console.print(table)


def reproduce(
    slugs: Annotated[list[str] | None, typer.Argument(help="papers, as `entrokit papers` lists them")] = None,
    experiment: Annotated[str | None, typer.Option(help="its name; the paper's first by default")] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="every experiment of these papers, the long ones too; of all papers, if none is named",
        ),
    ] = False,
    seeds: Annotated[int | None, typer.Option(help="how many; each experiment's own number by default", min=2)] = None,
    seed: Annotated[int, typer.Option(help="the first seed")] = 0,
    again: Annotated[bool, typer.Option(help="also what has been measured with these seeds and this code")] = False,
    out: Annotated[str, typer.Option(help="folder of the page and the pocket runs")] = "runs/reproduce",
    results: Annotated[str | None, typer.Option(help="folder of a JSON file a paper; OUT/results by default")] = None,
    jobs: Annotated[int | None, typer.Option(help="pocket runs at a time; one per core by default")] = None,
) -> None:
    """Runs papers' claims: claim beside measurement as it comes, a page, and results as data; exit code 1 if one fails.

    What is in RESULTS already is shown, not run again: a stopped `--all` goes on where it was. An experiment that
    breaks down is told, and the others run on; the exit code is 1 then, too.
    """
    import torch

    from entrokit.papers import paper
    from entrokit.papers.registry import CATALOGUE
    from entrokit.papers.results import check_writable
    from entrokit.report.reproduction import write_reproduction

    from .reproduction import Reproduction, planned

    if not slugs and not every:
        raise ValueError("name a paper (`entrokit papers` lists them), or write --all")
    # Tensors of the miniatures are tiny: threads would only wait for one another. Pocket runs have their own processes.
    torch.set_num_threads(1)
    entries = [paper(slug) for slug in dict.fromkeys(slugs or CATALOGUE)]
    plan = planned(entries, experiment, every)
    kept = Path(results or Path(out) / "results")
    for folder in (Path(out), kept):
        check_writable(folder)
    work = Reproduction(console, Path(out), kept, jobs, again)
    if every:
        minutes = sum(entry.experiments[name].minutes for entry, name in plan)
        console.print(f"{len(plan)} experiments, about {minutes:.0f} minutes on two cores if none is measured yet")
    page = None
    try:
        for entry, name in plan:
            # After every experiment: what has been found outlives whatever ends the next.
            if work.take(entry, name, seed, seeds):
                page = write_reproduction(work.sections, out)
    except KeyboardInterrupt:
        console.print(f"Stopped; the same command{' without --again' if again else ''} goes on where it was.")
        raise typer.Exit(INTERRUPTED) from None
    console.print(Text(work.summary + (f" Page: {page}" if page else "")), soft_wrap=True)
    by_name = not every or experiment is not None
    if work.failed or work.broken or (by_name and work.passed_over) or not work.sections:
        raise typer.Exit(1)
