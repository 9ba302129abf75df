"""The command line: all its commands, and the entry point."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
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
from .manual import INTERRUPTED, OVERVIEW, VERDICTS, Manual
from .school import school
from .scoreboard import scoreboard
from .training import RecipeName
from .watch import watch

Command = TypeVar("Command", bound=Callable[..., None])

app = typer.Typer(no_args_is_help=True, help="Measures, explains and controls entropy.", epilog=OVERVIEW)
console = Console()
# Of every command by its name, in the order of `--help`; docs/cli.md is made of them.
MANUALS: dict[str, Manual] = {}


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


def command(*extras: str, example: str, codes: Mapping[str, str] | None = None) -> Callable[[Command], Command]:
    """Makes a function a command of its name that is refused, before it begins, where one of its extras is lacking.

    What a command needs beyond `typer` and `rich` is imported when it runs: `--help` has to wait for none of it.

    Args:
        example: a command line to copy. codes: exit codes that mean more here than `manual.EVERY` says.
    """

    def register(function: Command) -> Command:
        name = function.__name__

        @wraps(function)
        def checked(*args: Any, **options: Any) -> None:
            try:
                require(f"entrokit {name}", *extras)
                function(*args, **options)
            except KeyboardInterrupt:  # typer's own number for it depends on its version
                raise typer.Exit(INTERRUPTED) from None

        MANUALS[name] = Manual(example, codes or {})
        app.command(epilog=MANUALS[name].epilog)(checked)
        return function

    return register


_WHOLE = {"130": "Ctrl-C: what is on disk is whole as far as it went"}
_FOUND = "the lowest number of the verdicts that --fail-on names and that were found, first or beside it"

command("trl", "report", example="entrokit train grpo+kl-cov --steps 100 --out runs/first", codes=_WHOLE)(
    training.train
)
command("trl", "report", example="entrokit resume runs/first", codes=_WHOLE)(training.resume)
command("trl", "report", example="entrokit compare grpo grpo+steer --seeds 3", codes=_WHOLE)(training.compare)


@command("torch", example="entrokit explain grpo+clip-cov --updates 4")
def explain(
    recipe: RecipeName,
    updates: Annotated[int, typer.Option(help="optimiser steps per generation batch")] = 4,
) -> None:
    """Prints what a recipe does, stage by stage, what it needs, and what cannot act."""
    console.print(show.explanation(recipe))
    show.warnings(console, recipe, updates)


command("report", example="entrokit report runs/compare --baseline grpo")(reports.report)
command(
    example="entrokit diagnose path/to/run --fail-on collapse,broken-numbers",
    codes={
        "0": "done, and none of the verdicts of --fail-on was found",
        "1": "it cannot be read, or another error",
        VERDICTS: _FOUND,
    },
)(diagnosis.diagnose)
command(
    example="entrokit watch path/to/run --once --fail-on any",
    codes={
        "0": "with --once: none of the verdicts of --fail-on was found",
        "1": "an error, or with --once nothing to judge",
        VERDICTS: "a verdict that --fail-on names was found in --patience looks in a row (with --once: in one)",
        "130": "Ctrl-C, after the last verdict",
    },
)(watch)
command(
    example="entrokit doctor", codes={"1": "a package that is installed is unsupported or broken, or another error"}
)(doctor)
command("torch", example="entrokit papers --search collapse", codes={"1": "no paper was found, or another error"})(
    catalogue.papers
)
command("torch", example="entrokit gallery --out gallery")(gallery)
command(
    "torch",
    "report",
    example="entrokit reproduce steer --seeds 2",
    codes={
        "0": "every claim held",
        "1": "a claim failed, an experiment could not be carried out or was passed over by name, or another error",
        "130": "Ctrl-C: the same command goes on where it was",
    },
)(catalogue.reproduce)
command(
    "torch",
    "report",
    example="entrokit scoreboard --bench tabular --minutes 10",
    codes={"0": "done, or --minutes are over: the same command goes on", "130": "Ctrl-C: the same command goes on"},
)(scoreboard)
command("physics", example="entrokit school tracks.csv --box 10")(school)


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
        app(standalone_mode=True, prog_name="entrokit")
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("ENTROKIT_TRACEBACK"):
            raise
        # What was given is wrong, or the machine lacks something: their texts say so without Python's word for it.
        kind = "" if isinstance(error, (ValueError, OSError, ImportError)) else f"{type(error).__name__}: "
        Console(stderr=True).print(f"[bold red]error:[/] {kind}", end="")
        Console(stderr=True, soft_wrap=True).print(str(error), markup=False, highlight=False)
        sys.exit(1)
