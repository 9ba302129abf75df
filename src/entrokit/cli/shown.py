"""A diagnosis in lines of a terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from entrokit.diagnose import Diagnosis, Finding, Waterfall
    from entrokit.runs import Column, TrainingLog

_BAR, _MOST_RUNS = 20, 10
_HOW_TO_USE_A_RECIPE = (
    "recipes such as grpo+siren are one string: EntropyGRPOTrainer(recipe=…) in TRL, the plug-in in verl "
    "(docs/tutorials)"
)
# No sentence of ours comes near it; a name in a log may have any length.
_LONGEST = 2000


def shown(d: Diagnosis) -> Group:
    """The diagnosis in lines of a terminal; whatever came from a run's files is stripped of control characters.

    Print it with ``crop=False``: what is to be pasted may be longer than a line.
    """
    from entrokit.diagnose.law import law_words

    first = d.findings[0]
    lines: list[Text | Padding] = [
        Text.assemble((d.verdict, style_of(d.verdict)), f": {printable(first.cause)}"),
        *_finding(first),
    ]
    told = set(first.remedies)
    for other in d.findings[1:]:
        fresh = replace(other, remedies=tuple(r for r in other.remedies if r not in told))
        told |= set(other.remedies)
        lines += [Text.assemble("also ", (other.verdict, "bold"), f": {printable(other.cause)}"), *_finding(fresh)]
    if any(r.recipe for f in d.findings for r in f.remedies):
        lines.append(Text(_HOW_TO_USE_A_RECIPE, style="dim"))
    if d.waterfall is not None:
        lines += _waterfall(d.waterfall)
    law = None if d.law is None else law_words(d.law)
    if d.law is not None and law is not None and d.verdict != "healthy":
        doubts = "; ".join(d.law.doubts)
        ceiling = f"{d.law.law.ceiling:.3f} (95 % interval {d.law.ceiling[0]:.3f} to {d.law.ceiling[1]:.3f})"
        said = f"not to be trusted: {doubts}" if doubts else f"the run is {d.law.distance:.3f} below it"
        lines.append(Text(f"law {law}: ceiling {ceiling}; {said}", style="dim"))
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
    lines += [Text(f"note: {printable(n)}", style="dim") for n in d.notes]
    lines += [Text(f"not there: {printable(m)}", style="dim") for m in d.missing]
    return Group(*_others(d), *lines)


def _others(d: Diagnosis) -> list[Text]:
    """Which run this is, and what is to be said of those beside it."""
    if not d.others:
        return []
    judged = printable(d.facts.log.run or "the first")
    said = [Text(f"{1 + len(d.others)} runs lie here; judged is {judged}. Beside it:")]
    said += [
        Text.assemble(f"  {printable(o.run)}: ", (o.verdict, style_of(o.verdict)), f", {printable(o.cause)}")
        for o in d.others[:_MOST_RUNS]
    ]
    if len(d.others) > _MOST_RUNS:
        said.append(Text(f"  and {len(d.others) - _MOST_RUNS} more: --all"))
    return said


def style_of(verdict: str) -> str:
    """Green for what is well, yellow for what cannot be told, red for the rest."""
    return "bold green" if verdict == "healthy" else "bold yellow" if verdict == "insufficient-data" else "bold red"


def printable(text: str) -> str:
    """Text without control characters, so that a run's completions cannot drive the terminal; endless names are cut."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return "".join(c if c.isprintable() else "·" for c in cut)


def columns_of(log: TrainingLog) -> tuple[Column, ...]:
    """What a log's columns were taken for; of a reader that does not tell, its series."""
    from entrokit.runs import Column

    return log.columns or tuple(
        Column(series.column or key, key, "", len(series), series.broken, series.source or log.source)
        for key, series in log.series.items()
    )


def explained(log: TrainingLog) -> Group:
    """Every column with what it was taken for, and why."""
    table = Table(box=None, pad_edge=False)
    for head in ("column", "taken for", "points", "why"):
        table.add_column(head, justify="right" if head == "points" else "left", overflow="fold")
    for column in columns_of(log):
        table.add_row(
            Text(printable(column.name)),
            Text(printable(column.key or "–"), style="bold" if column.key else "dim"),
            Text(str(column.points)),
            Text("; ".join(_why(column)), style="dim"),
        )
    return Group(Text(f"read as: {printable(log.source)}, {log.kind}", style="bold"), table)


def _why(column: Column) -> list[str]:
    broken = column.broken
    said = [printable(column.why)] if column.why else []
    if broken is not None:
        said.append(f"{broken.count} not finite, the first ({broken.kind}) at step {broken.first_step:g}")
    return said


def _finding(finding: Finding) -> list[Text | Padding]:
    lines: list[Text | Padding] = [Padding(Text(f"- {printable(e)}"), (0, 0, 0, 2)) for e in finding.evidence]
    for remedy in finding.remedies:
        recipe = ((f"{remedy.recipe}  ", "bold cyan"),) if remedy.recipe else ()
        lines.append(Padding(Text.assemble("→ ", *recipe, printable(remedy.text)), (0, 0, 0, 2)))
        if remedy.write:
            # Unbroken, as it is to be pasted; a `Padding` would cut it.
            write = "\n".join(f"      {printable(line)}" for line in remedy.write.splitlines())
            lines.append(Text(write, style="cyan", no_wrap=True, overflow="ignore"))
    return lines


def _waterfall(w: Waterfall) -> list[Text | Padding]:
    from entrokit.diagnose import clipping_said

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
    if w.kept < 1.0:
        lines.append(Text(f"  {clipping_said(w)}", style="dim"))
    return lines
