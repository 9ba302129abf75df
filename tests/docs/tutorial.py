"""Runs a tutorial as a reader would: its blocks of Python and its commands, in order."""

import contextlib
import io
import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from entrokit.cli.app import app

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"


def follow(name):
    """What the blocks defined, what Python printed, and what each command printed."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    defined, printed, commands = {"__name__": "tutorial"}, io.StringIO(), {}
    for kind, block in re.findall(r"```(python|sh)\n(.*?)```", text, flags=re.S):
        if kind == "python":
            with contextlib.redirect_stdout(printed):
                exec(compile(block, f"{name}.md", "exec"), defined)
        else:
            for line in block.splitlines():
                if line.startswith("entrokit "):
                    _, *arguments = shlex.split(line, comments=True)
                    commands[line] = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}).stdout
    return defined, printed.getvalue(), commands
