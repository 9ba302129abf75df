"""Asks the package index whether every extra can be installed on every Python that is promised. Installs nothing.

    python scripts/resolve_extras.py [--python 3.12]... [--extra trl]... [--platform linux]

A table of Markdown: packages that each extra brings, and which of them have no wheel there (their source is built when
they are installed). Exit code 1 if an extra does not resolve; what pip would be told stands below the table. Needs uv
(`pip install uv`), which reads metadata alone, and reads the markers of a Python that is not this one.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PREFIX = "Programming Language :: Python :: 3."
BARE = "(none)"


class Resolved(NamedTuple):
    """What an extra needs on a Python.

    Attributes:
        packages: how many, those of entrokit itself among them. built: which of them have no wheel. problem: why there
            is no answer, or empty.
    """

    packages: int = 0
    built: tuple[str, ...] = ()
    problem: str = ""


def promised() -> list[str]:
    """The versions of Python among the classifiers, as ``3.11``."""
    return [f"3.{c.removeprefix(PREFIX)}" for c in PROJECT["classifiers"] if c.startswith(PREFIX)]


def command(extra: str, python: str, platform: str, out: Path) -> list[str]:
    """What uv is asked; without an extra, of `BARE`, what `pip install entrokit` brings."""
    uv = shutil.which("uv") or sys.exit("uv is not there: pip install uv")
    asked = [] if extra == BARE else ["--extra", extra]
    target = ["--python-version", python, "--python-platform", platform]
    return [
        uv,
        "pip",
        "compile",
        "--quiet",
        *asked,
        *target,
        "--format",
        "pylock.toml",
        "-o",
        str(out),
        "pyproject.toml",
    ]


def resolved(extra: str, python: str, platform: str) -> Resolved:
    """Asks for one extra on one Python."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pylock.toml"
        done = subprocess.run(
            command(extra, python, platform, out), cwd=ROOT, capture_output=True, text=True, check=False
        )
        return Resolved(problem=done.stderr.strip()) if done.returncode else read(out.read_text(encoding="utf-8"))


def read(lock: str) -> Resolved:
    """What a lock file says: uv lists the wheels that fit, and no others."""
    packages = tomllib.loads(lock).get("packages", [])
    return Resolved(len(packages), tuple(p["name"] for p in packages if not p.get("wheels")))


def table(found: dict[tuple[str, str], Resolved]) -> str:
    """Markdown, an extra a row and a Python a column."""
    pythons = list(dict.fromkeys(python for _, python in found))
    lines = [f"| extra | {' | '.join(pythons)} | built from source |", f"|---|{'---:|' * len(pythons)}---|"]
    for extra in dict.fromkeys(extra for extra, _ in found):
        of_extra = [found[extra, python] for python in pythons]
        built = sorted({name for each in of_extra for name in each.built})
        cells = ["fails" if each.problem else str(each.packages) for each in of_extra]
        lines.append(f"| {extra} | {' | '.join(cells)} | {', '.join(built) or '–'} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Exit code of the command line."""
    extras = [BARE, *PROJECT["optional-dependencies"]]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="3.11, 3.12, …; all that are promised by default")
    parser.add_argument("--extra", action="append", choices=extras, help="all by default")
    parser.add_argument("--platform", default="linux", help="as uv names it: linux, macos, windows")
    chosen = parser.parse_args(arguments)
    found = {}
    for extra in chosen.extra or extras:
        for python in chosen.python or promised():
            found[extra, python] = resolved(extra, python, chosen.platform)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(table(found))
    failed = {key: each for key, each in found.items() if each.problem}
    for (extra, python), each in failed.items():
        print(f"\n{extra} on Python {python}:\n{each.problem}")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
