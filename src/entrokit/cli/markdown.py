"""A diagnosis to paste into an issue: no path of this machine, nothing that a run's files could make of the page."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

import entrokit

from .shown import printable

if TYPE_CHECKING:
    from entrokit.diagnose import Diagnosis, Finding

# HTML, links, tables, code, emphasis, and mentions that would call people or issues to an issue. The backslash too: one
# of a run's own would undo ours.
_ESCAPED = {
    **{"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "'", "@": "@\u2060", "#": "#\u2060"},
    **{sign: f"\\{sign}" for sign in "\\[]|*"},
}
_TICKS = re.compile("`+")


def markdown(d: Diagnosis) -> str:
    """Verdict, evidence, remedies and versions as Markdown; of the path no more than its last part."""
    log = d.facts.log
    first = d.findings[0]
    lines = [f"**{first.verdict}**: {_plain(first.cause, log.where)}", *_finding(first, log.where)]
    for other in d.findings[1:]:
        lines += ["", f"Also **{other.verdict}**: {_plain(other.cause, log.where)}", *_finding(other, log.where)]
    if d.others:
        runs = (f"- {_plain(o.run, log.where)}: **{o.verdict}**, {_plain(o.cause, log.where)}" for o in d.others)
        lines += ["", f"Judged is {_plain(log.run or 'the first', log.where)}. Runs beside it:", "", *runs]
    if d.notes:
        lines += ["", "Notes:", *(f"- {_plain(n, log.where)}" for n in d.notes)]
    if d.missing:
        lines += ["", "Not there:", *(f"- {_plain(m, log.where)}" for m in d.missing)]
    steps = [float(series.steps[-1]) for series in log.series.values() if len(series)]
    until = f", until step {max(steps):g}" if steps else ""
    name = _plain(log.where.resolve().name, log.where)
    lines += [
        "",
        f"<sub>entrokit {entrokit.__version__}, Python {platform.python_version()}; {name}, read as "
        f"{_plain(log.source, log.where)}{until}</sub>",
    ]
    return "\n".join(lines) + "\n"


def _finding(finding: Finding, where: Path) -> list[str]:
    lines = ["", *(f"- {_plain(e, where)}" for e in finding.evidence)] if finding.evidence else []
    if finding.remedies:
        lines += ["", "What to do:", ""]
    for remedy in finding.remedies:
        recipe = f"{_code(remedy.recipe)}: " if remedy.recipe else ""
        lines.append(f"- {recipe}{_plain(remedy.text, where)}")
        if remedy.write:
            body = "\n".join(map(printable, remedy.write.splitlines()))
            fence = "`" * max(3, 1 + _longest(body))
            lines += ["", *(f"  {line}" for line in (fence, *body.splitlines(), fence)), ""]
    return lines


def _plain(text: str, where: Path) -> str:
    """Text as text: without paths of this machine, and with what Markdown or HTML would act upon made harmless."""
    for folder in {str(where.parent), str(where.absolute().parent), str(where.resolve().parent)}:
        if len(folder) > 1:
            text = text.replace(f"{folder}/", "")
    home = str(Path.home())
    if len(home) > 1:
        text = text.replace(home, "~")
    return "".join(_ESCAPED.get(c, c) for c in printable(text))


def _code(text: str) -> str:
    ticks = "`" * (1 + _longest(text))
    return f"{ticks}{printable(text)}{ticks}"


def _longest(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)
