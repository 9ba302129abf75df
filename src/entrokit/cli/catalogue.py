"""`entrokit papers | reproduce`: the catalogue of papers, and their claims run in miniature."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import show

console = Console()


def papers(
    slug: Annotated[str | None, typer.Argument(help="show this paper alone")] = None,
    family: Annotated[str | None, typer.Option(help="only papers of this family, e.g. rlvr")] = None,
    search: Annotated[str, typer.Option(help="only papers that hold all of these words")] = "",
) -> None:
    """Lists the papers of the library, or shows one."""
    from entrokit.papers import paper
    from entrokit.papers import search as find

    if slug is not None:
        console.print(show.paper(paper(slug)))
        return
    found = find(search.split(), family)
    if not found:
        console.print(f"No paper holds all of: {search}")
        raise typer.Exit(1)
    table = Table(box=None, pad_edge=False)
    for head in ("paper", "family", "arXiv", "what it claims"):
        table.add_column(head, no_wrap=head in ("paper", "arXiv"))
    for p in found:
        table.add_row(Text(p.slug, style="bold"), p.family, p.arxiv, Text(p.claim))
    console.print(table)


def reproduce(
    slugs: Annotated[list[str], typer.Argument(help="papers, as `entrokit papers` lists them")],
    bench: Annotated[str, typer.Option(help="tabular (seconds), pocket (a minute a run) or all")] = "tabular",
    seeds: Annotated[int | None, typer.Option(help="seeds per recipe; 8 tabular, 3 pocket by default")] = None,
    seed: Annotated[int, typer.Option(help="the first seed")] = 0,
    out: Annotated[str, typer.Option(help="folder of the page, the table and the pocket runs")] = "runs/reproduce",
    jobs: Annotated[int | None, typer.Option(help="pocket runs at a time; one per core by default")] = None,
) -> None:
    """Runs papers' claims in miniature: claim beside measurement, a page and a table; exit code 1 if a claim fails."""
    import torch

    from entrokit.papers import BENCHES, Budget, paper, verdict_table, write_page
    from entrokit.training.session import TrainSettings

    entries = [paper(slug) for slug in dict.fromkeys(slugs)]
    # Tabular tensors are tiny: threads would only wait for one another. Pocket runs have processes of their own.
    torch.set_num_threads(1)
    benches = list(BENCHES) if bench == "all" else [bench]
    evidences = []
    for name in benches:
        if name == "pocket":
            show.warm_pocket(console)
        for entry in entries:
            if name not in entry.benches:
                console.print(Text(f"{entry.slug}: claims nothing that the {name} bench could show", style="dim"))
                continue
            watched = show.CompareProgress(console, TrainSettings.steps) if name == "pocket" else nullcontext()
            with watched as progress:
                update = progress.update if progress else None
                budget = Budget(name, seeds or BENCHES.get(name, 0), out, jobs, update)
                evidence = entry.reproduce(seed, budget)
            console.print(show.evidence(entry, evidence))
            evidences.append(evidence)
            # After every paper: what has been found outlives an error of the next.
            page = write_page(evidences, out)
            (Path(out) / "verdicts.md").write_text(verdict_table(evidences), encoding="utf-8")
    if not evidences:
        raise typer.Exit(1)
    failed = sum(not f.passed for e in evidences for f in e.findings)
    console.print(f"{failed} of {sum(len(e.findings) for e in evidences)} claims failed. Page: {page}")
    if failed:
        raise typer.Exit(1)
