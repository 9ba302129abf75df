"""Draws what a command prints as an SVG, for the README: `entrokit diagnose` of a real log.

python scripts/terminal_picture.py           # writes docs/img/diagnose.svg
python scripts/terminal_picture.py --check   # exit code 1 if it is not what the command prints today
"""

from __future__ import annotations

import re
import sys
from html import unescape
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from entrokit.cli.shown import shown
from entrokit.diagnose import diagnose

ROOT = Path(__file__).parents[1]
LOG, PICTURE = ROOT / "docs" / "tutorials" / "verl-file-logger.jsonl", ROOT / "docs" / "img" / "diagnose.svg"
COMMAND = f"entrokit diagnose {LOG.name}"
COLUMNS = 84
# Fonts that are there: rich's own template fetches one from another host.
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_FETCHED = re.compile(r"\s*@font-face \{[^}]*\}")


def drawn() -> str:
    """The picture: the command, and below it what it prints in a terminal of `COLUMNS`."""
    console = Console(file=StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "bold green"), (COMMAND, "bold")))
    console.print(shown(diagnose(LOG)), crop=False)
    made = _FETCHED.sub("", console.export_svg(title="entrokit", theme=MONOKAI))
    return "\n".join(line.rstrip() for line in made.replace("Fira Code, monospace", FONTS).split("\n")).strip() + "\n"


def text_of(picture: str) -> list[str]:
    """The lines of text that a picture shows, without the window's title and the spaces around them."""
    lines: dict[float, str] = {}
    for y, text in re.findall(r'<text class="[^"]*-r\d+" x="[\d.]+" y="([\d.]+)"[^>]*>([^<]*)</text>', picture):
        # Lines of rich's pictures hold their spaces as those that do not break.
        lines[float(y)] = lines.get(float(y), "") + unescape(text).replace("\xa0", " ").rstrip("\n")
    return [lines[y].strip() for y in sorted(lines)]


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    if arguments:
        return 0 if text_of(PICTURE.read_text(encoding="utf-8")) == text_of(drawn()) else 1
    PICTURE.write_text(drawn(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
