"""`entrokit scoreboard`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from . import show
from .comparison import CompareProgress

if TYPE_CHECKING:
    from entrokit.bench.scoreboard import Scoreboard

console = Console()


def scoreboard(
    bench: Annotated[str, typer.Option(help="tabular (minutes), pocket (hours) or all")] = "tabular",
    seeds: Annotated[int | None, typer.Option(help="seeds per recipe; 8 tabular, 3 pocket by default", min=2)] = None,
    seed: Annotated[int, typer.Option(help="the first seed")] = 0,
    out: Annotated[
        str, typer.Option(help="folder of runs, tables, page, and results/<method>.json")
    ] = "runs/scoreboard",
    minutes: Annotated[float | None, typer.Option(help="no run is begun after so many minutes; go on later")] = None,
    jobs: Annotated[int | None, typer.Option(help="pocket runs at a time; one per core by default")] = None,
) -> None:
    """Every RLVR method under one protocol: accuracy, pass@k, entropy, coverage and time, at two settings each."""
    from entrokit.bench import scoreboard as boards
    from entrokit.bench.measured import save_scores
    from entrokit.report.scoreboard import not_shown, write_scoreboard

    names = list(boards.SEEDS) if bench == "all" else [bench]
    unknown = [name for name in names if name not in boards.SEEDS]
    if unknown:
        raise ValueError(f"bench must be one of {[*boards.SEEDS, 'all']}, got {unknown[0]!r}")
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    Path(out).mkdir(parents=True, exist_ok=True)

    def enough() -> bool:
        return deadline is not None and time.monotonic() > deadline

    made = []
    for name in names:
        wanted = range(seed, seed + (seeds or boards.SEEDS[name]))
        if name == "tabular":
            import torch

            torch.set_num_threads(1)
            board = boards.tabular_scoreboard(wanted, out, enough)
        else:
            show.warm_pocket(console)
            with CompareProgress(console, boards.POCKET.steps) as progress:
                board = boards.pocket_scoreboard(wanted, out, enough, jobs=jobs, on_progress=progress.update)
        made.append(board)
        save_scores(board, Path(out) / "results")
        whole = len(boards.recipes_of(name)) * len(board.seeds)
        if not board.complete:
            console.print(f"{name}: {len(board.scores)} of {whole} runs are done; the same command goes on.")
    page = write_scoreboard(made, out)
    for board in made:
        console.print(_table(board))
        console.print("Not shown: " + "; ".join(not_shown(board.bench)), style="dim", highlight=False)
    console.print(f"Page: {page}")


def _table(board: Scoreboard) -> Table:
    from entrokit.report.scoreboard import standings

    table = Table(title=f"{board.bench} bench, {len(board.seeds)} seeds (◆: on the Pareto front)")
    table.add_column("recipe", overflow="fold", min_width=30)
    for name in ("accuracy", "pass@16", "entropy kept", "coverage kept", "step time"):
        table.add_column(name, justify="right")
    for s in sorted(standings(board), key=lambda s: -s.accuracy):
        beside = "" if s.accuracy_gap is None else f" ({s.accuracy_gap.mean:+.2f})"
        front = " ◆" if s.front else ""
        numbers = (f"{s.accuracy:.2f}{beside}", f"{s.pass_at_k:.2f}", f"{s.entropy_kept:.2f}")
        table.add_row(s.recipe + front, *numbers, f"{s.coverage_kept:.2f}", f"{s.time_ratio:.2f}")
    return table
