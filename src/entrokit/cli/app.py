"""The command line: all its commands, and the entry point."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from io import TextIOWrapper
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from entrokit import __version__
from entrokit.extras import require

from . import catalogue, diagnosis, reports, show, training
from .doctor import doctor
from .gallery import gallery
from .school import school
from .scoreboard import scoreboard
from .training import RecipeName
from .watch import watch

Command = TypeVar("Command", bound=Callable[..., None])

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measures, explains and controls entropy.")
console = Console()


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


command("trl", "report")(training.train)
command("trl", "report")(training.resume)
command("trl", "report")(training.compare)


@command("torch")
def explain(
    recipe: RecipeName,
    updates: Annotated[int, typer.Option(help="optimiser steps per generation batch")] = 4,
) -> None:
    """Prints what a recipe does, stage by stage, what it needs, and what cannot act."""
    console.print(show.explanation(recipe))
    show.warnings(console, recipe, updates)


command("report")(reports.report)
command()(diagnosis.diagnose)
command()(watch)
command()(doctor)
command("torch")(catalogue.papers)
command("torch")(gallery)
command("torch", "report")(catalogue.reproduce)
command("torch", "report")(scoreboard)
command("physics")(school)


def main() -> None:
    """The entry point: errors that a user can mend are one line, not a traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Deprecations inside transformers are not the user's; workers of `compare` inherit the environment.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
    warnings.filterwarnings("ignore", category=FutureWarning)
    for stream in (sys.stdout, sys.stderr):
        # Of a terminal or a pipe that is not UTF-8: what it lacks is told in escapes.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
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
