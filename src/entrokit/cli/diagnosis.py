"""`entrokit diagnose`: what happened to a run's entropy, why, and what to do."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group
from rich.text import Text

from entrokit.extras import require

from .markdown import markdown as as_markdown
from .reading import FailOn, NameOption, Reading, RewardRange, ThresholdsOption, failing, path_of
from .shown import columns_of, explained, printable, shown

if TYPE_CHECKING:
    from entrokit.diagnose import Diagnosis
    from entrokit.runs import TrainingLog

console = Console()


def diagnose(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="what a run wrote: its folder, a log, a table; of any engine")
    ],
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="a second run, to be put beside the first")
    ] = None,
    out: Annotated[str | None, typer.Option(help="write a page with the pictures to this file")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON with a top-level 'verdict' instead")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="print Markdown instead, to paste into an issue")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="judge every run that is found, not one of them")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="print every column with what it was taken for")] = False,
    name: NameOption = None,
    reward_range: RewardRange = None,
    fail_on: FailOn = None,
    thresholds: ThresholdsOption = None,
) -> None:
    """Says what happened to a run's entropy, why, and which remedies fit, from what the run already wrote."""
    where = [path_of(path), *([] if other is None else [path_of(other)])]
    _fit_together(json, markdown, every, out, other, explain)
    names = failing(fail_on)
    if out is not None:
        _writable(out)
        require("entrokit diagnose --out", "report")
    reading = Reading.of(name, thresholds, reward_range)
    if other is not None:
        _leave(_beside(reading.read(where[0]), reading.read(where[1]), reading, json, out), names)
        return
    logs = reading.read_all(where[0])
    found = [reading.judge(log) for log in logs] if every else [reading.judge_first(logs)]
    if json:
        _print_json(found, explain)
    elif markdown:
        sys.stdout.write("\n".join(f"{_heading(d)}{as_markdown(d)}" if found[1:] else as_markdown(d) for d in found))
    else:
        _print(found, explain)
    if out is not None:
        from entrokit.report import write_diagnosis

        page = write_diagnosis(found[0], Path(out))
        if not (json or markdown):
            console.print(Text(f"Page: {page}"))
    _leave(found, names)


def _beside(
    a: TrainingLog, b: TrainingLog, reading: Reading, json: bool, out: str | None
) -> tuple[Diagnosis, Diagnosis]:
    """Two runs side by side: what went apart first; and what each of them is on its own."""
    from entrokit.diagnose import beside

    from .beside import comparison_lines

    comparison = beside(a, b, reading.thresholds)
    if json:
        sys.stdout.write(comparison.to_json() + "\n")
    else:
        console.print(Group(*comparison_lines(comparison)))
    if out is not None:
        from entrokit.report import write_comparison

        page = write_comparison(comparison, out)
        if not json:
            console.print(Text(f"Page: {page}"))
    return reading.judge(a), reading.judge(b)


def _writable(out: str) -> None:
    """Says before anything is read that a page cannot be written there."""
    if not out.strip() or Path(out).is_dir():
        what = f"is a folder: {out}" if out.strip() else "is empty"
        raise typer.BadParameter(f"the page's file {what}", param_hint="--out")


def _fit_together(json: bool, markdown: bool, every: bool, out: str | None, other: str | None, explain: bool) -> None:
    if json and markdown:
        raise typer.BadParameter("prints one form: take --json or --markdown", param_hint="--markdown")
    if every and other is not None:
        raise typer.BadParameter("takes one path: every run that is found there", param_hint="--all")
    if out is not None and every:
        raise typer.BadParameter("writes the page of one run: name it, without --all", param_hint="--out")
    if other is not None and (markdown or explain):
        option = "--markdown" if markdown else "--explain"
        raise typer.BadParameter("is of one run: name it alone", param_hint=option)


def _leave(found: Sequence[Diagnosis], names: frozenset[str]) -> None:
    from entrokit.diagnose.exit_codes import EXIT_CODES, exit_code

    codes = [code for d in found if (code := exit_code(d.findings, names))]
    codes += [EXIT_CODES[other.verdict] for d in found for other in d.others if other.verdict in names]
    if codes:
        raise typer.Exit(min(codes))


def _print(found: Sequence[Diagnosis], explain: bool) -> None:
    for d in found:
        if found[1:]:
            console.rule(Text(printable(_name(d))), align="left")
        console.print(shown(d), crop=False)
        if explain:
            console.print(explained(d.facts.log))


def _print_json(found: Sequence[Diagnosis], explain: bool) -> None:
    """One run as it always was; of several the first one's verdict on top, and all of them as ``runs``."""
    plain = [_plain(d, explain) for d in found]
    named = [{"run": _name(d)} | values for d, values in zip(found, plain, strict=True)]
    whole = plain[0] if not found[1:] else {"verdict": found[0].verdict, "runs": named}
    sys.stdout.write(json_format.dumps(whole, indent=2, ensure_ascii=True) + "\n")


def _plain(d: Diagnosis, explain: bool) -> dict[str, Any]:
    columns = {"columns": [asdict(column) for column in columns_of(d.facts.log)]} if explain else {}
    return d.to_dict() | columns


def _name(d: Diagnosis) -> str:
    log = d.facts.log
    return log.run or log.where.resolve().name


def _heading(d: Diagnosis) -> str:
    name = printable(_name(d)).replace("<", "").replace("@", "")
    return f"### {name}\n\n"
