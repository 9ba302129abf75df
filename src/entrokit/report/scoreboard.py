"""A scoreboard as a table, a picture and a page: who is how good, and how much entropy and coverage that left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from entrokit.bench.contestants import BASELINE, contestants, not_ranked
from entrokit.bench.scoreboard import ATTEMPTS, LEVELS, Score, Scoreboard, recipes_of
from entrokit.diagnose import PairedDifference, paired_difference, what_is_shown

from . import Chart, Series, document, embed, figure, write_document

_EXPLODED = 2.0


@dataclass(frozen=True)
class Standing:
    """A recipe over all seeds: means, and differences from the baseline in pairs of equal seeds.

    Attributes:
        name: of the method. tuned: whether at the knobs that suit the bench.
        accuracy, pass_at_k, coverage_kept: means. entropy_kept: mean of entropy at the end over that at the start.
        accuracy_gap, pass_gap, matched_gap, coverage_gap: None for the baseline; ``matched_gap`` also where a seed
            falls short of the accuracy at which entropies are compared.
        time_ratio: time of a step over the baseline's, geometric mean over seeds.
        front: no other recipe has as much of both accuracy and entropy kept, and more of one.
    """

    name: str
    recipe: str
    tuned: bool
    accuracy: float
    pass_at_k: float
    entropy_kept: float
    coverage_kept: float
    time_ratio: float
    accuracy_gap: PairedDifference | None = None
    pass_gap: PairedDifference | None = None
    matched_gap: PairedDifference | None = None
    coverage_gap: PairedDifference | None = None
    front: bool = False


def standings(board: Scoreboard) -> list[Standing]:
    """Of every recipe that has a score for every seed, in the order of the contestants.

    Raises:
        ValueError: the baseline is not complete yet.
    """
    base = board.of(BASELINE)
    if len(base) < len(board.seeds):
        raise ValueError(
            f"scoreboard: {BASELINE}, with which all are compared, has {len(base)} of {len(board.seeds)} runs"
        )
    found, seen = [], set()
    for contestant in contestants():
        for spec in contestant.recipes:
            own = board.of(spec)
            if spec not in seen and len(own) == len(board.seeds):
                seen.add(spec)
                found.append(_standing(contestant.name, spec, spec == contestant.tuned, own, base))
    return [_marked(s, found) for s in found]


def _standing(name: str, spec: str, tuned: bool, own: Sequence[Score], base: Sequence[Score]) -> Standing:
    def mean(value: Callable[[Score], float]) -> float:
        return float(np.mean([value(s) for s in own]))

    def gap(value: Callable[[Score], float | None]) -> PairedDifference | None:
        a, b = ([value(s) for s in scores] for scores in (own, base))
        if spec == BASELINE or None in a or None in b:
            return None
        return paired_difference([x for x in a if x is not None], [x for x in b if x is not None])

    ratios = [math.log(s.seconds / b.seconds) for s, b in zip(own, base, strict=True)]
    return Standing(
        name,
        spec,
        tuned,
        accuracy=mean(lambda s: s.accuracy),
        pass_at_k=mean(lambda s: s.pass_at_k),
        entropy_kept=mean(lambda s: s.entropy_end / s.entropy_start),
        coverage_kept=mean(lambda s: s.coverage_kept),
        time_ratio=math.exp(float(np.mean(ratios))),
        accuracy_gap=gap(lambda s: s.accuracy),
        pass_gap=gap(lambda s: s.pass_at_k),
        matched_gap=gap(lambda s: s.entropy_matched),
        coverage_gap=gap(lambda s: s.coverage_kept),
    )


def _marked(own: Standing, every: Sequence[Standing]) -> Standing:
    beaten = any(
        o.accuracy >= own.accuracy
        and o.entropy_kept >= own.entropy_kept
        and (o.accuracy > own.accuracy or o.entropy_kept > own.entropy_kept)
        for o in every
    )
    return Standing(**vars(own) | {"front": not beaten})


def markdown(board: Scoreboard) -> str:
    """The table, in order of accuracy; a difference whose 95 % Student interval leaves out 0 is bold."""
    every = standings(board)
    brackets = _in_brackets(every)
    minus = f"minus {BASELINE}{f' [{brackets}]' if brackets else ''}"
    header = [
        "recipe",
        "accuracy",
        minus,
        f"pass@{ATTEMPTS}",
        minus,
        f"entropy at accuracy {LEVELS[board.bench]:g}, {minus}",
        "entropy kept",
        "coverage kept",
        "step time",
    ]
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for s in sorted(every, key=lambda s: -s.accuracy):
        own = s.recipe == BASELINE
        cells = [
            f"`{s.recipe}`{' ◆' if s.front else ''}",
            f"{s.accuracy:.3f}",
            "" if own else _gap(s.accuracy_gap),
            f"{s.pass_at_k:.3f}",
            "" if own else _gap(s.pass_gap),
            "" if own else _gap(s.matched_gap),
            f"{s.entropy_kept:.2f}",
            f"{s.coverage_kept:.2f}",
            f"{s.time_ratio:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _in_brackets(every: Sequence[Standing]) -> str:
    gaps = (gap for s in every for gap in (s.accuracy_gap, s.pass_gap, s.matched_gap))
    return what_is_shown(gap for gap in gaps if gap is not None)


def _gap(gap: PairedDifference | None) -> str:
    if gap is None:
        return "not reached"
    return f"**{gap}**" if gap.low > 0 or gap.high < 0 else f"{gap}"


def not_shown(bench: str) -> list[str]:
    """One line for each method that the bench cannot show, and why."""
    impossible = {c.name: c.impossible_on[bench] for c in contestants() if bench in c.impossible_on} | not_ranked()
    return [f"`{name}`: {why}" for name, why in impossible.items()]


def picture(board: Scoreboard) -> Chart:
    """Accuracy against entropy kept; the Pareto front as a line, with those of its names for which there is room.

    A policy whose entropy more than doubled is named below instead: it would push all others into a corner.
    """
    every = standings(board)
    found = [s for s in every if s.entropy_kept <= _EXPLODED]
    outside = "".join(
        f"; {s.recipe} at {s.entropy_kept:.1f}, {s.accuracy:.2f} outside" for s in every if s not in found
    )
    named = _with_room(found)

    def points(name: str, chosen: Sequence[Standing]) -> Series:
        return Series(
            name,
            [s.entropy_kept for s in chosen],
            [s.accuracy for s in chosen],
            marks=True,
            labels=[s.name if s.recipe in named else "" for s in chosen],
            hints=[s.recipe for s in chosen],
        )

    front = sorted((s for s in found if s.front), key=lambda s: s.entropy_kept)
    return Chart(
        f"Accuracy against entropy kept, {board.bench} bench",
        f"entropy at the end over entropy at the start{outside}",
        "accuracy at the end, mean over seeds",
        (
            points("the paper's knobs", [s for s in found if not s.tuned and s.recipe != BASELINE]),
            points("knobs that suit the bench", [s for s in found if s.tuned]),
            points(BASELINE, [s for s in found if s.recipe == BASELINE]),
            Series("Pareto front", [s.entropy_kept for s in front], [s.accuracy for s in front]),
        ),
        height=560,
    )


def _with_room(found: Sequence[Standing]) -> set[str]:
    """Recipes whose names can stand beside their points: the baseline's, then the front's, none upon another."""
    width, height = (max(v) - min(v) or 1.0 for v in zip(*((s.entropy_kept, s.accuracy) for s in found), strict=True))
    placed: list[Standing] = []
    for s in sorted(found, key=lambda s: (s.recipe != BASELINE, -s.accuracy)):
        if (s.front or s.recipe == BASELINE) and all(
            abs(s.accuracy - o.accuracy) > 0.03 * height or abs(s.entropy_kept - o.entropy_kept) > 0.2 * width
            for o in placed
        ):
            placed.append(s)
    return {s.recipe for s in placed}


def write_scoreboard(boards: Sequence[Scoreboard], folder: str | Path) -> Path:
    """Writes ``scoreboard.html``, and a table ``<bench>.md`` of each board; returns the page's path."""
    sections = []
    for board in boards:
        table = markdown(board)
        (Path(folder) / f"{board.bench}.md").write_text(table, encoding="utf-8")
        runs, whole = len(board.scores), len(recipes_of(board.bench)) * len(board.seeds)
        sections.append(
            f"<section><h2>{board.bench} bench, {len(board.seeds)} seeds</h2>"
            f'<p class="note">{runs} of {whole} runs. ◆: on the Pareto front. Differences are paired by seed, '
            "and bold where their 95 % Student interval leaves out 0.</p>"
            f'<div class="charts wide">{embed(figure(picture(board)))}</div>'
            f'<div class="scroll">{_html(table)}</div></section>'
        )
    body = f"<header><h1>Scoreboard</h1></header>{''.join(sections)}"
    return write_document(Path(folder) / "scoreboard.html", document("scoreboard", body))


def _html(table: str) -> str:
    """A Markdown table of ours as HTML."""
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]

    def cell(text: str, tag: str) -> str:
        bold = text.startswith("**")
        plain = text.strip("*").replace("`", "").replace("+", "+<wbr>") if "`" in text else text.strip("*")
        return f"<{tag}>{f'<b>{plain}</b>' if bold else plain}</{tag}>"

    head = "".join(cell(t, "th") for t in rows[0])
    body = "".join(f"<tr>{''.join(cell(t, 'td') for t in row)}</tr>" for row in rows[2:])
    return f'<table class="standings"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
