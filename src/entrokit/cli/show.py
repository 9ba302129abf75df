"""How the command line shows things: progress, tables, explanations."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from entrokit.papers import Experiment, Paper, PaperResults
    from entrokit.report import Spread, Summary

_WARMING_UP = "warming up the pocket policy (once)"


class WarmUpProgress:
    """A bar that appears only if a pocket policy has to be made; lines where the output is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn(_WARMING_UP),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None

    def update(self, step: int, steps: int, loss: float) -> None:
        if not self._console.is_terminal:
            if step == 1 or step * 10 // steps > (step - 1) * 10 // steps:
                self._console.print(f"{_WARMING_UP}: step {step} of {steps}, loss {loss:.3f}", highlight=False)
            return
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("warm-up", total=steps, loss=loss)
        self._progress.update(self._task, completed=step, loss=loss)
        if step == steps:
            self.stop()

    def stop(self) -> None:
        """Of a warm-up that ends early, too."""
        if self._task is not None:
            self._progress.stop()


def warm_pocket(console: Console, task: str = "countdown") -> None:
    """Makes the pocket policy of a task before anything waits for it."""
    from entrokit.training import models

    progress = WarmUpProgress(console)
    try:
        models.warm_pocket(task, progress.update)
    finally:
        progress.stop()


def _bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn("line"),
        TextColumn("{task.description}", table_column=Column(overflow="ellipsis", no_wrap=True, max_width=24)),
        BarColumn(bar_width=8),
        TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True, min_width=44)),
        TimeRemainingColumn(compact=True),
        console=console,
    )


def _numbers(row: Mapping[str, float], tokens_per_second: float | None = None) -> str:
    passes = sorted((int(n.removeprefix("pass@")), n) for n in row if n.startswith("pass@"))
    shown = [("reward", "reward"), ("entropy", "H"), *((n, n) for _, n in passes[1:][-1:])]
    text = " ".join(f"{label} {row[name]:.2f}" for name, label in shown if name in row)
    return text + (f" {tokens_per_second:,.0f} tok/s" if tokens_per_second else "")


class TrainProgress:
    """One bar with the numbers that matter; a line for each batch where the output is no terminal."""

    def __init__(self, console: Console, name: str, steps: int) -> None:
        self._console, self._name, self._steps = console, name, steps
        self._progress = _bars(console) if console.is_terminal else None
        self._task: TaskID | None = None
        self._evaluation: TaskID | None = None
        self._last: tuple[float, float] | None = None
        self._rate: float | None = None

    def __enter__(self) -> TrainProgress:
        if self._progress is None:
            self._console.print(f"{self._name}: loading", highlight=False)
        else:
            self._task = self._progress.add_task(self._name, total=self._steps, numbers="loading")
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def evaluated(self, done: int, total: int) -> None:
        """Held-out completions so far: a bar of their own, which goes when all are there."""
        said = f"{done:,} of {total:,} completions"
        if self._progress is None:
            self._console.print(f"held-out: {said}", highlight=False)
            return
        if self._evaluation is None:
            self._evaluation = self._progress.add_task("held-out", total=total, numbers="")
        self._progress.update(self._evaluation, completed=done, numbers=said)
        if done >= total:
            self._progress.remove_task(self._evaluation)
            self._evaluation = None

    def update(self, step: int, row: Mapping[str, float]) -> None:
        if "entropy" not in row:
            return
        if "num_tokens" in row:
            now = (time.monotonic(), row["num_tokens"])
            if self._last is not None and now[0] > self._last[0]:
                self._rate = (now[1] - self._last[1]) / (now[0] - self._last[0])
            self._last = now
        numbers = _numbers(row, self._rate)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step, numbers=numbers)
        else:
            self._console.print(f"step {step} of {self._steps}: {numbers}", highlight=False)


def summary_table(summaries: Sequence[Summary]) -> Group:
    """The comparison in lines of 80 characters: recipe names are too long for a column."""
    from entrokit.report import in_brackets

    first = summaries[0]
    several = first.seeds > 1
    spread = "; ± standard deviation over seeds" if several else ""
    heads = ("entropy (nats)", "accuracy", f"pass@{first.k}")
    lines: list[Text] = [
        Text(f"Held-out prompts, start → end ({first.seeds} seed{'s' if several else ''}{spread})"),
        Text("  " + "".join(f"{h:<26}" for h in heads), style="dim"),
    ]
    for s in summaries:
        lines += [Text(s.recipe, style="bold"), Text("  " + "".join(f"{c:<26}" for c in s.courses).rstrip())]
        if several and s is not first:
            ends = (s.entropy_end, s.accuracy_end, s.pass_end), (first.entropy_end, first.accuracy_end, first.pass_end)
            gaps = [_difference(own, base) for own, base in zip(*ends, strict=True)]
            lines.append(Text("  " + "".join(f"{gap:<26}" for gap in gaps), style="dim"))
    lines.append(Text("Entropy when accuracy on training batches first reaches a level"))
    for s in summaries:
        lines.append(Text(s.recipe, style="bold"))
        for own, base in zip(s.matched, first.matched, strict=True):
            reached = f"   {len(own.entropy.by_seed)} of {s.seeds} seeds reach it" if several else ""
            gap = f"   {_difference(own.entropy, base.entropy)}" if several and s is not first else ""
            lines.append(Text(f"  at {own.accuracy:.2f}: {own}{gap}{reached}"))
    if several and len(summaries) > 1:
        brackets = in_brackets(summaries)
        what = f"; in brackets its {brackets}" if brackets else ""
        lines.append(Text(f"Δ: difference to {first.recipe}, paired by seed{what}.", style="dim"))
    return Group(*lines)


def _difference(own: Spread, base: Spread) -> str:
    gap = own.minus(base)
    return f"Δ {gap:+.2f}" if gap else "no common seeds"


def explanation(name: str) -> Group:
    """A recipe's stages, needs, extra passes and state."""
    from entrokit.rlvr import recipe, stages_of
    from entrokit.rlvr.intervention import implements

    chosen = recipe(name)
    base = chosen.base
    table = Table("part", "stage", "what", title=str(chosen))
    table.add_row(Text(str(chosen.base_part)), "advantage", base.advantage.name)
    owner = next((i.name for i in chosen.interventions if implements(i, "surrogate")), None)
    replaced = f" (replaced by {owner}: {chosen.surrogate.name})" if owner else ""
    table.add_row("", "surrogate", base.surrogate.name + replaced)
    table.add_row("", "aggregation", base.aggregation)
    for intervention in chosen.interventions:
        summary = (type(intervention).__doc__ or "").strip().split("\n\n")[0]
        for i, stage in enumerate(stages_of(intervention)):
            table.add_row(
                Text(intervention.name) if i == 0 else "", stage, Text(" ".join(summary.split())) if i == 0 else ""
            )
    state = {k: v for k, v in chosen.state_dict().items() if v}
    facts = [
        f"Statistics per token: {', '.join(sorted(chosen.needs))} (one pass over the vocabulary)",
        "Extra passes: one without gradient per generation batch, for the behaviour policy's statistics"
        + ("; one of the reference policy" if any(i.needs_reference for i in chosen.interventions) else ""),
        f"State that a checkpoint keeps: {', '.join(state) if state else 'none'}",
    ]
    return Group(table, *map(Text, facts))


def paper(entry: Paper, measured: PaperResults) -> Group:
    """One entry of the catalogue, and what was measured of it."""
    lines = [
        Text(entry.title, style="bold"),
        Text(" · ".join(filter(None, (entry.slug, entry.family, str(entry.year), entry.url))), style="dim"),
        Text(entry.claim),
        # As they are, whatever the width: they are there to be pasted.
        *([Text(f"\n{entry.lines}\n", style="cyan", no_wrap=True, overflow="ignore")] if entry.lines else ()),
        Text("code:    " + "\n         ".join(entry.names)),
        *([Text("recipes: " + "\n         ".join(entry.recipes))] if entry.recipes else ()),
        *([Text("for:     " + "; ".join(entry.symptoms))] if entry.symptoms else ()),
        Text("its claims, run: " + "\n                 ".join(map(_experiment, entry.experiments.items()))),
        *_measured(entry, measured),
    ]
    return Group(*lines)


def _measured(entry: Paper, measured: PaperResults) -> Iterator[Text]:
    """Every claim that was measured, with its verdict, in the entry's order."""
    names = [name for name in entry.experiments if name in measured.experiments]
    findings = [(f, name) for name in names for f in measured.experiments[name].findings]
    if not findings:
        yield Text("not measured yet")
        return
    yield Text(f"measured: {sum(f.passed for f, _ in findings)} of {len(findings)} claims hold")
    for finding, name in findings:
        verdict = Text(f"  {finding.verdict:6} ", style="green" if finding.passed else "red")
        seeds = len(measured.experiments[name].seeds)
        yield verdict.append(finding.claim, style="default").append(
            f" {finding.measured} ({name}, {seeds} seeds; holds if {finding.criterion})", style="bright_black"
        )


def _experiment(named: tuple[str, Experiment]) -> str:
    name, experiment = named
    return f"{name}: {experiment.criterion} ({experiment.seeds} seeds, about {experiment.minutes:g} min)"


def warnings(console: Console, name: str, updates: int) -> None:
    """Says what in a recipe cannot act with so many updates per rollout."""
    from entrokit.rlvr import recipe

    for reason in recipe(name).cannot_act(updates):
        console.print(Text(f"warning: {reason}", style="yellow"))
