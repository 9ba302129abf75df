"""`entrokit gallery`: the papers as a page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from .shown import printable

console = Console()


def gallery(
    out: Annotated[str, typer.Option(help="folder of the page and its pictures")] = "gallery",
    results: Annotated[
        str | None, typer.Option(help="folder of your own results, shown in the place of the package's, by experiment")
    ] = None,
) -> None:
    """Writes the papers as a page: what each claims, what was measured, what failed, and the lines that run it.

    The page needs no network: it opens in any browser. What is missing is told, and the rest is shown.
    """
    from entrokit.gallery import cards, gathered, write_gallery
    from entrokit.gallery.pictures import FOLDER
    from entrokit.papers import CATALOGUE
    from entrokit.papers.results import MEASURED, check_writable

    if results is not None and not Path(results).is_dir():
        raise NotADirectoryError(
            f"--results {results}: no such folder; `entrokit reproduce` makes one, runs/reproduce/results by default"
        )
    for folder in (Path(out), Path(out) / FOLDER):
        check_writable(folder)
    measured, broken = gathered(MEASURED, *([] if results is None else [results]))
    made = cards(measured, broken)
    page = write_gallery(made, out)
    for card in made:
        _tell(f"{card.paper.slug}: {sentence}" for sentence in card.missing)
    _tell(
        f"{slug}: results of a paper that the catalogue lacks" for slug in sorted({*measured, *broken} - {*CATALOGUE})
    )
    _tell(f"plug-in left out: {plug_in}" for plug_in in CATALOGUE.broken)
    console.print(Text(printable(f"{len(made)} papers: {page}")), soft_wrap=True)


def _tell(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        console.print(Text(printable(sentence), style="yellow"), soft_wrap=True)
