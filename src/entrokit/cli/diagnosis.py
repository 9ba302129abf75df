"""`entrokit diagnose`: what happened to a run's entropy, why, and what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.padding import Padding
from rich.text import Text

from entrokit.extras import require

if TYPE_CHECKING:
    from entrokit.diagnose import Diagnosis, Finding, Waterfall

console = Console()

_BAR = 20


def diagnose(
    path: Annotated[str, typer.Argument(help="a run of entrokit, TRL or verl, TensorBoard files, a CSV or JSONL")],
    out: Annotated[str | None, typer.Option(help="write a page with the pictures to this file")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON with a top-level 'verdict' instead")] = False,
    thresholds: Annotated[str | None, typer.Option(help="YAML file of thresholds; see docs/diagnose.md")] = None,
) -> None:
    """Says what happened to a run's entropy, why, and which remedies fit, from what the run already wrote."""
    if out is not None:
        require("entrokit diagnose --out", "report")
    from entrokit import diagnose as explain

    found = explain.diagnose(path, explain.Thresholds.load(thresholds) if thresholds else None)
    if json:
        sys.stdout.write(found.to_json() + "\n")
    else:
        console.print(shown(found))
    if out is not None:
        from entrokit.report import write_diagnosis

        page = write_diagnosis(found, Path(out))
        if not json:
            console.print(Text(f"Page: {page}"))


def shown(d: Diagnosis) -> Group:
    """The diagnosis in lines of a terminal; whatever came from a run's files is stripped of control characters."""
    style = (
        "bold green" if d.verdict == "healthy" else "bold yellow" if d.verdict == "insufficient-data" else "bold red"
    )
    first = d.findings[0]
    lines: list[Text | Padding] = [
        Text.assemble((d.verdict, style), f": {printable(first.cause)}"),
        *_finding(first),
    ]
    for other in d.findings[1:]:
        lines += [Text.assemble("also ", (other.verdict, "bold"), f": {printable(other.cause)}"), *_finding(other)]
    if d.waterfall is not None:
        lines += _waterfall(d.waterfall)
    if d.law is not None:
        law, doubts = d.law, "; ".join(d.law.doubts)
        ceiling = f"{law.law.ceiling:.3f} (95 % interval {law.ceiling[0]:.3f} to {law.ceiling[1]:.3f})"
        said = f"not to be trusted: {doubts}" if doubts else f"the run is {law.distance:.3f} below it"
        lines.append(Text(f"law R = -{law.law.a:.3f} e^H + {law.law.b:.3f}: ceiling {ceiling}; {said}", style="dim"))
    if d.boundary is not None:
        b, k = d.boundary, max(d.boundary.first.pass_at)
        lines.append(
            Text(
                f"held out: pass@{k} {b.first.pass_at[k]:.2f} to {b.last.pass_at[k]:.2f} (brackets: 95 % "
                f"intervals over prompts); prompts kept {b.support.preserved}, lost {b.support.shrunk}, found "
                f"{b.support.expanded}; answer entropy {b.first.answer_entropy:.2f} to {b.last.answer_entropy:.2f}",
                style="dim",
            )
        )
    lines += [Text(f"not there: {printable(m)}", style="dim") for m in d.missing]
    return Group(*lines)


def printable(text: str) -> str:
    """Text without control characters, so that a run's completions cannot drive the terminal."""
    return "".join(c if c.isprintable() else "·" for c in text)


def _finding(finding: Finding) -> list[Text | Padding]:
    lines = [Padding(Text(f"- {printable(e)}"), (0, 0, 0, 2)) for e in finding.evidence]
    for remedy in finding.remedies:
        recipe = ((f"{remedy.recipe}  ", "bold cyan"),) if remedy.recipe else ()
        lines.append(Padding(Text.assemble("→ ", *recipe, printable(remedy.text)), (0, 0, 0, 2)))
    return [*lines]


def _waterfall(w: Waterfall) -> list[Text | Padding]:
    lines: list[Text | Padding] = [
        Text(
            f"entropy {w.start:.3f} at the start, {w.end:.3f} at the end ({w.accounts} steps looked at):", style="bold"
        )
    ]
    largest = max((abs(b.change) for b in w.bars), default=0.0) or 1.0
    for bar in w.bars:
        length = round(abs(bar.change) / largest * _BAR)
        style = "red" if bar.change < 0 else "green"
        lines.append(Text.assemble(f"  {bar.name:<38}{bar.change:+7.3f} ± {bar.error:.3f} ", ("█" * length, style)))
    return lines
