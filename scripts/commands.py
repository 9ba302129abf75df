"""Writes docs/cli.md: every command with its example, its exit codes and its options, out of the command line itself.

python scripts/commands.py            # writes it
python scripts/commands.py --check    # exit code 1 if it is not what the command line says
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from entrokit.cli.app import MANUALS, app
from entrokit.cli.manual import EVERY, VERDICTS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
HEAD = f"""# Command line

Written out of the command line itself by `python scripts/commands.py`. `entrokit COMMAND --help` says the same in a
terminal, and `python -m entrokit` is the same program where a shell does not find `entrokit`. What a command needs
beyond `pip install entrokit` it names with the line that installs it.

## Shell completion

```sh
entrokit --install-completion     # bash, zsh, fish or PowerShell: of the shell that asks, from its next start on
entrokit --show-completion        # prints it instead, for a file of your own
```

Commands and options are completed.

## Exit codes

These are the same in every command; what a command means by them beyond that stands in its section.

{{codes}}

{VERDICTS} are the numbers of verdicts ([the list](live.md#exit-codes)), never given to another one. `diagnose` and
`watch` leave with them only where `--fail-on` names the verdict. `ENTROKIT_TRACEBACK=1` shows where an error came from.
"""


def page() -> str:
    """The whole page."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    sections = [_section(name, commands[name]) for name in MANUALS]
    return "\n".join([HEAD.format(codes=_codes(EVERY)), *sections])


def _section(name: str, command: Any) -> str:
    text = inspect.cleandoc(command.help).replace("``", "`")
    parts = [f"## `entrokit {name}`", text, f"```sh\n{MANUALS[name].example}\n```", _codes(MANUALS[name].codes)]
    rows = [_row(p) for p in command.params if p.name != "help"]
    if rows:
        parts.append("\n".join(["| argument or option | default | |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _codes(codes: Mapping[str, str]) -> str:
    return "\n".join(["| exit code | means |", "|---|---|", *(f"| {code} | {_cell(m)} |" for code, m in codes.items())])


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name.upper()) + ("…" if parameter.nargs == -1 else "")
        return f"| `{name}` | {_default(parameter)} | {_cell(parameter.help or '')} |"
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    return f"| {names} | {_default(parameter)} | {_cell(parameter.help or '')} |"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    default = parameter.default
    return "" if default is None or default is False or default == "" else f"`{default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    text = page()
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
