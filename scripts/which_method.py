"""The tables of docs/which-method.md: what the scoreboards tell apart from their baseline, wish by wish."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from entrokit.bench.contestants import BASELINE, contestants
from entrokit.bench.measured import load_scores
from entrokit.bench.scoreboard import ATTEMPTS, LEVELS, Score, Scoreboard
from entrokit.diagnose import PairedDifference, paired_difference
from entrokit.rlvr import recipe

RESULTS = Path(__file__).parents[1] / "results"
BENCHES = ("tabular", "pocket")
CONFIDENCE = 0.95
NEAR = "\u00a0"


@dataclass(frozen=True)
class Wish:
    """What one may want of a method, and the number that says it."""

    title: str
    value: Callable[[Score], float | None]


WISHES = {
    "entropy": Wish("entropy at equal accuracy", lambda s: s.entropy_matched),
    "accuracy": Wish("accuracy at the end", lambda s: s.accuracy),
    "coverage": Wish(f"pass@{ATTEMPTS} at the end", lambda s: s.pass_at_k),
}


@dataclass(frozen=True)
class Told:
    """A recipe's difference to another on one board.

    Attributes:
        gap: in pairs of equal seeds.
        side: 1 where the interval lies above 0, -1 where below, 0 where it holds 0.
        at_once: whether it still leaves out 0 at Bonferroni's confidence, all recipes of the board compared at once.
    """

    gap: PairedDifference
    side: int
    at_once: bool


@cache
def boards() -> dict[str, Scoreboard]:
    """The boards in the repository, by bench."""
    return {bench: load_scores(RESULTS / "scoreboard", bench) for bench in BENCHES}


def recipes(board: Scoreboard) -> list[str]:
    """All recipes with a score for every seed, without the baseline, in the order of the contestants."""
    every = dict.fromkeys(r for c in contestants() for r in c.recipes)
    return [r for r in every if r != BASELINE and len(board.of(r)) == len(board.seeds)]


def told(board: Scoreboard, wish: Wish, spec: str, other: str = BASELINE) -> Told | None:
    """A recipe beside another; None where one of them has no such number for some seed."""
    own, base = ([wish.value(s) for s in board.of(r)] for r in (spec, other))
    if len(own) < len(board.seeds) or None in own or None in base:
        return None
    values, baseline = [x for x in own if x is not None], [x for x in base if x is not None]
    gap = paired_difference(values, baseline, confidence=CONFIDENCE)
    strict = paired_difference(values, baseline, confidence=1.0 - (1.0 - CONFIDENCE) / len(recipes(board)))
    return Told(gap, _side(gap), _side(strict) != 0)


def _side(gap: PairedDifference) -> int:
    return (gap.low > 0) - (gap.high < 0)


def wish_table(key: str) -> str:
    """Recipes told from the baseline by a gain on either board, and what of them is told from the first."""
    wish, found = WISHES[key], []
    for spec in dict.fromkeys(r for board in boards().values() for r in recipes(board)):
        own = {bench: told(board, wish, spec) for bench, board in boards().items()}
        sides = [0 if t is None else t.side for t in own.values()]
        if 1 in sides:
            means = [0.0 if t is None else t.gap.mean for t in own.values()]
            found.append((-sum(sides), -means[0], spec, own))
    heads = [f"{bench}, {len(board.seeds)} seeds" for bench, board in boards().items()]
    costs = [] if key == "accuracy" else [f"accuracy, {' / '.join(BENCHES)}"]
    lines = [f"| {' | '.join(['recipe', *heads, *costs, 'knobs', 'runs in'])} |"]
    lines.append("|---" * (3 + len(heads) + len(costs)) + "|")
    for *_, spec, own in sorted(found, key=lambda row: row[:2]):
        cells = [_cell(own[bench], spec, bench) for bench in BENCHES]
        if costs:
            paid = [told(board, WISHES["accuracy"], spec) for board in boards().values()]
            cells.append(" / ".join("–" if t is None else f"{t.gap.mean:+.3f}" for t in paid))
        lines.append(f"| {' | '.join([f'`{spec}`', *cells, _knobs(spec), ', '.join(carried_by(spec))])} |")
    return "\n".join([*lines, "", *(_ties(board, wish) for board in boards().values())]) + "\n"


def _cell(own: Told | None, spec: str, bench: str) -> str:
    if own is None:
        why = next((c.impossible_on.get(bench) for c in contestants() if spec in c.recipes), None)
        return "not on this bench" if why else "not reached"
    return f"**{own.gap}**{NEAR + '‡' if own.at_once else ''}" if own.side else f"{own.gap}"


def _knobs(spec: str) -> str:
    return "ours" if any(spec == c.tuned for c in contestants()) else "the paper's"


def _ties(board: Scoreboard, wish: Wish) -> str:
    """Which recipe is first on a board, and which are not told from it."""
    own = {spec: t for spec in recipes(board) if (t := told(board, wish, spec)) is not None}
    if not any(t.side > 0 for t in own.values()):
        return f"- On the {board.bench} board no recipe is told from `{BASELINE}` by a gain."
    first = max(own, key=lambda spec: own[spec].gap.mean)
    tied = [s for s in own if s != first and (t := told(board, wish, first, s)) is not None and t.side == 0]
    named = ", ".join(f"`{s}`" for s in tied)
    if len(tied) > 4:
        named = f"{len(tied)} of the {len(own) - 1} others that have this number"
    return f"- First on the {board.bench} board: `{first}`; not told from it: {named or 'none'}."


def told_table() -> str:
    """How many recipes each board tells from the baseline, one by one and all at once."""
    lines = ["| board | recipes | seeds | what | told up | told down | up, all at once ‡ | down, all at once ‡ |"]
    lines.append("|---" * 8 + "|")
    for bench, board in boards().items():
        for wish in WISHES.values():
            own = [t for spec in recipes(board) if (t := told(board, wish, spec)) is not None]
            counts = [
                sum(t.side == side and (t.at_once or not all_) for t in own) for all_ in (0, 1) for side in (1, -1)
            ]
            what = wish.title.replace("equal accuracy", f"accuracy {LEVELS[bench]:g}")
            cells = [bench, str(len(own)), str(len(board.seeds)), what, *map(str, counts)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def carried_by(spec: str) -> list[str]:
    """The engines that carry a recipe: of verl as it was measured, of Tinker and prime-rl as they refuse.

    Raises:
        ModuleNotFoundError: ``tinker`` is not installed.
    """
    # Here, not above: pages are loaded where Tinker's SDK is not installed.
    from entrokit.engines.prime_rl import loss_of
    from entrokit.engines.tinker.carried import refuse

    chosen = recipe(spec)
    measured = json.loads((RESULTS / "tables" / "engines.json").read_text(encoding="utf-8"))
    at = next(i for i, column in enumerate(measured["columns"]) if column.startswith("verl"))
    parts = [chosen.base_part.name, *(i.name for i in chosen.interventions)]
    verl = all(measured["deviations"].get(part, ["refused"] * (at + 1))[at] != "refused" for part in parts)
    tests: dict[str, Callable[[], object]] = {
        "Tinker": lambda: refuse(chosen, reference=True, max_length=1),
        "prime-rl": lambda: loss_of(spec, aggregation="token-mean"),
    }
    return ["TRL", *(["verl"] if verl else []), *(name for name, test in tests.items() if _passes(test))]


def _passes(test: Callable[[], object]) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whose advantages are used is said on the engine's page
            test()
    except ValueError:
        return False
    return True
