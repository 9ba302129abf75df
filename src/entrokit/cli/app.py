"""`entrokit train | compare | explain | report`, and the entry point of all commands."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from entrokit import __version__
from entrokit.extras import require

from . import catalogue, diagnosis, show
from .doctor import doctor
from .scoreboard import scoreboard
from .watch import watch

if TYPE_CHECKING:
    from entrokit.training.session import Outcome

Command = TypeVar("Command", bound=Callable[..., None])

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measures, explains and controls entropy.")
console = Console()

RecipeName = Annotated[str, typer.Argument(help="e.g. 'grpo+steer(min_weight=0.7)'")]
Task = Annotated[str, typer.Option(help="countdown, sums, instructions, reasoning-gym:<task> or math:<file>")]
Model = Annotated[str, typer.Option(help="pocket, or a local path or hub id of a causal language model")]
Steps = Annotated[int, typer.Option(help="optimiser steps")]
Seed = Annotated[int, typer.Option(help="the first seed")]
Updates = Annotated[int, typer.Option(help="optimiser steps per generation batch")]
Prompts = Annotated[int, typer.Option(help="prompts per generation batch")]
Completions = Annotated[int, typer.Option(help="completions per prompt")]
LearningRate = Annotated[float, typer.Option(help="constant learning rate")]
Jobs = Annotated[int | None, typer.Option(help="runs at a time; one per core by default")]
MatchedAccuracy = Annotated[
    list[float] | None,
    typer.Option(
        help="compare entropy where accuracy first reaches this; may be given several times", min=0.0, max=1.0
    ),
]
Account = Annotated[int, typer.Option(help="optimiser steps from one entropy account to the next; 0 keeps none")]
Save = Annotated[int, typer.Option(help="optimiser steps from one checkpoint to resume from to the next; 0 keeps none")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="let Python code that comes with the model run")]
Select = Annotated[str, typer.Option(help="prompts: all, or one pair by a probe: rare-pair, highest-variance")]
Length = Annotated[int | None, typer.Option(help="tokens per completion; the task's own by default")]


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"entrokit {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def entrokit(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and leave")
    ] = False,
) -> None:
    """Measures, explains and controls entropy."""


def command(*extras: str) -> Callable[[Command], Command]:
    """Makes a function a command of its name that is refused, before it begins, where one of its extras is lacking.

    What a command needs beyond `typer` and `rich` is imported when it runs: `--help` has to wait for none of it.
    """

    def register(function: Command) -> Command:
        @wraps(function)
        def checked(*args: Any, **options: Any) -> None:
            require(f"entrokit {function.__name__}", *extras)
            function(*args, **options)

        app.command()(checked)
        return function

    return register


@command("trl", "report")
def train(
    recipe: RecipeName = "grpo",
    out: Annotated[str | None, typer.Option(help="the run's folder; runs/<recipe>-seed<seed> by default")] = None,
    task: Task = "countdown",
    model: Model = "pocket",
    steps: Steps = 600,
    seed: Seed = 0,
    updates: Updates = 4,
    prompts: Prompts = 16,
    completions: Completions = 16,
    learning_rate: LearningRate = 1e-4,
    max_completion_length: Length = None,
    select: Select = "all",
    account_every: Account = 0,
    save_every: Save = 0,
    trust_remote_code: Trust = False,
) -> None:
    """Trains one recipe and writes a run's folder with a report."""
    from entrokit.bench import folder_name
    from entrokit.training import session
    from entrokit.training.settings import TrainSettings

    settings = TrainSettings(
        recipe=recipe,
        out=out or f"runs/{folder_name(recipe)}-seed{seed}",
        task=task,
        model=model,
        steps=steps,
        seed=seed,
        updates=updates,
        prompts=prompts,
        completions=completions,
        learning_rate=learning_rate,
        max_completion_length=max_completion_length,
        select=select,
        account_every=account_every,
        save_every=save_every,
        trust_remote_code=trust_remote_code,
    )
    show.warnings(console, recipe, updates)
    if model == "pocket":
        show.warm_pocket(console, task)
    with show.TrainProgress(console, recipe, steps) as progress:
        outcome = session.train(settings, progress.update)
    _ended(outcome)


@command("trl", "report")
def resume(
    folder: Annotated[str, typer.Argument(help="the folder of a run that was stopped")],
    trust_remote_code: Trust = False,
) -> None:
    """Goes on with a run from its newest whole checkpoint (`train --save-every`), as the same run."""
    from entrokit.runs import Run
    from entrokit.training import session

    config = Run.load(folder).config
    with show.TrainProgress(console, str(config.get("recipe")), int(config.get("steps", 0))) as progress:
        outcome = session.resume(folder, progress.update, trust_remote_code=trust_remote_code)
    _ended(outcome)


def _ended(outcome: Outcome) -> None:
    page = write_report([outcome.folder], outcome.folder)
    if outcome.interrupted:
        console.print(f"Stopped after {outcome.steps} steps; the run in {outcome.folder} is whole as far as it went.")
    console.print(f"Report: {page}")
    if outcome.interrupted:
        raise typer.Exit(130)


@command("trl", "report")
def compare(
    recipes: Annotated[list[str], typer.Argument(help="two or more recipes")],
    seeds: Annotated[int, typer.Option(help="seeds per recipe, paired over recipes")] = 3,
    out: Annotated[
        str, typer.Option(help="folder that receives one run's folder each, and the report")
    ] = "runs/compare",
    jobs: Jobs = None,
    matched_accuracy: MatchedAccuracy = None,
    task: Task = "countdown",
    model: Model = "pocket",
    steps: Steps = 600,
    seed: Seed = 0,
    updates: Updates = 4,
    prompts: Prompts = 16,
    completions: Completions = 16,
    learning_rate: LearningRate = 1e-4,
    max_completion_length: Length = None,
    select: Select = "all",
    account_every: Account = 0,
    trust_remote_code: Trust = False,
) -> None:
    """Trains several recipes over several seeds, prints a table and writes one report."""
    from entrokit import bench
    from entrokit.report import summarise
    from entrokit.training.settings import TrainSettings

    shared = TrainSettings(
        recipe=recipes[0],
        out=out,
        task=task,
        model=model,
        steps=steps,
        seed=seed,
        updates=updates,
        prompts=prompts,
        completions=completions,
        learning_rate=learning_rate,
        max_completion_length=max_completion_length,
        select=select,
        account_every=account_every,
        trust_remote_code=trust_remote_code,
    )
    for name in recipes:
        show.warnings(console, name, updates)
    if model == "pocket":
        show.warm_pocket(console, task)
    try:
        with show.CompareProgress(console, steps) as progress:
            runs = bench.compare(recipes, seeds, shared, jobs, progress.update)
    except KeyboardInterrupt:
        console.print(f"Stopped; the runs begun in {out} are whole as far as they went: entrokit report {out}")
        raise typer.Exit(130) from None
    levels = matched_accuracy or ()
    console.print(show.summary_table(summarise(runs, levels)))
    if seeds == 1:
        console.print("One seed: an illustration. It shows how a run looks, not which recipe is better.")
    console.print(f"Report: {write_report([r.folder for r in runs], Path(out), levels)}")


@command("torch")
def explain(
    recipe: RecipeName,
    updates: Updates = 4,
) -> None:
    """Prints what a recipe does, stage by stage, what it needs, and what cannot act."""
    console.print(show.explanation(recipe))
    show.warnings(console, recipe, updates)


@command("report")
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


command()(diagnosis.diagnose)
command()(watch)
command()(doctor)
command("torch")(catalogue.papers)
command("torch", "report")(catalogue.reproduce)
command("torch", "report")(scoreboard)


def write_report(folders: list[Path], where: Path, matched_accuracy: Sequence[float] = ()) -> Path:
    from entrokit.report import write_page
    from entrokit.runs import Run

    return write_page([Run.load(f) for f in folders], where, matched_accuracy)


def main() -> None:
    """The entry point: errors that a user can mend are one line, not a traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Deprecations inside transformers are not the user's; workers of `compare` inherit the environment.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app(standalone_mode=True)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("ENTROKIT_TRACEBACK"):
            raise
        # What was given is wrong, or the machine lacks something: their texts say so without Python's word for it.
        kind = "" if isinstance(error, (ValueError, OSError, ImportError)) else f"{type(error).__name__}: "
        Console(stderr=True).print(f"[bold red]error:[/] {kind}", end="")
        Console(stderr=True, soft_wrap=True).print(str(error), markup=False, highlight=False)
        sys.exit(1)
