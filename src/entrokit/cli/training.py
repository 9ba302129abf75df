"""`entrokit train | resume | compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from . import show
from .comparison import CompareProgress
from .manual import INTERRUPTED
from .options import Config, Trust, with_settings
from .reports import MatchedAccuracy, write_report

if TYPE_CHECKING:
    from entrokit.training.session import Outcome

RecipeName = Annotated[str, typer.Argument(help="e.g. 'grpo+steer(min_weight=0.7)'")]

console = Console()


@with_settings()
def train(
    recipe: RecipeName = "grpo",
    out: Annotated[str | None, typer.Option(help="the run's folder; runs/<recipe>-seed<seed> by default")] = None,
    config: Config = None,
    **options: Any,
) -> None:
    """Trains one recipe and writes a run's folder with a report."""
    from entrokit.bench import folder_name
    from entrokit.training import session
    from entrokit.training.models import check_pocket
    from entrokit.training.settings import TrainSettings

    settings = TrainSettings(recipe, out or f"runs/{folder_name(recipe)}-seed{options['seed']}", **options)
    show.warnings(console, recipe, settings.updates)
    if settings.model == "pocket":
        check_pocket(settings)
        show.warm_pocket(console, settings.task)
    with show.TrainProgress(console, recipe, settings.steps) as progress:
        outcome = session.train(settings, progress.update, on_evaluation=progress.evaluated)
    _ended(outcome)


def resume(
    folder: Annotated[str, typer.Argument(help="the folder of a run that was stopped")],
    trust_remote_code: Trust = False,
) -> None:
    """Goes on with a run from its newest whole checkpoint (`train --save-every`), as the same run."""
    from entrokit.runs import Run
    from entrokit.training import session

    config = Run.load(folder).config
    with show.TrainProgress(console, str(config.get("recipe")), int(config.get("steps", 0))) as progress:
        outcome = session.resume(
            folder, progress.update, on_evaluation=progress.evaluated, trust_remote_code=trust_remote_code
        )
    _ended(outcome)


def _ended(outcome: Outcome) -> None:
    page = write_report([outcome.folder], outcome.folder)
    if outcome.interrupted:
        console.print(f"Stopped after {outcome.steps} steps; the run in {outcome.folder} is whole as far as it went.")
    console.print(f"Report: {page}")
    if outcome.interrupted:
        raise typer.Exit(INTERRUPTED)


@with_settings("save_every")
def compare(
    recipes: Annotated[list[str], typer.Argument(help="two or more recipes")],
    seeds: Annotated[int, typer.Option(help="seeds per recipe, paired over recipes")] = 3,
    out: Annotated[
        str, typer.Option(help="folder that receives one run's folder each, and the report")
    ] = "runs/compare",
    config: Config = None,
    jobs: Annotated[int | None, typer.Option(help="runs at a time; one per core by default")] = None,
    matched_accuracy: MatchedAccuracy = None,
    **options: Any,
) -> None:
    """Trains several recipes over several seeds, prints a table and writes one report."""
    from entrokit import bench
    from entrokit.report import summarise
    from entrokit.training.models import check_pocket
    from entrokit.training.settings import TrainSettings

    shared = TrainSettings(recipes[0], out, **options)
    for name in recipes:
        show.warnings(console, name, shared.updates)
    if shared.model == "pocket":
        check_pocket(shared)
        show.warm_pocket(console, shared.task)
    try:
        with CompareProgress(console, shared.steps) as progress:
            runs = bench.compare(recipes, seeds, shared, jobs, progress.update)
    except KeyboardInterrupt:
        console.print(f"Stopped; the runs begun in {out} are whole as far as they went: entrokit report {out}")
        raise typer.Exit(INTERRUPTED) from None
    levels = matched_accuracy or ()
    console.print(show.summary_table(summarise(runs, levels)))
    if seeds == 1:
        console.print("One seed: an illustration. It shows how a run looks, not which recipe is better.")
    console.print(f"Report: {write_report([r.folder for r in runs], Path(out), levels)}")
