"""From what the tools said to what it was worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .cases import HEALTHY, NOTHING, Case

OUTCOMES = ("found", "other alarm", "missed", "quiet", "false alarm", "unread", "crashed")


@dataclass(frozen=True)
class Answer:
    """What a tool said of a case: its labels, worst first; or why it took nothing from the log."""

    tool: str
    labels: tuple[str, ...] = ()
    unread: str | None = None
    crashed: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What an answer was worth.

    Attributes:
        what: one of `OUTCOMES`. first: the right kind was named first. beside: labels that name no right kind.
    """

    case: Case
    answer: Answer
    what: str
    first: bool
    beside: tuple[str, ...]


def outcome(
    case: Case, answer: Answer, kinds: Mapping[str, frozenset[str]], outside: frozenset[str] = frozenset()
) -> Outcome:
    """Judges by the most generous reading: one right label is enough, whatever stands beside it.

    Args:
        kinds: of each label of this tool.
        outside: kinds of which a word is no alarm, unless it is they that are right.

    Raises:
        LookupError: a label has no kinds; a new one of a tool must be given some before anything is counted.
    """
    if unknown := [label for label in answer.labels if label not in kinds]:
        raise LookupError(f"{answer.tool} said {unknown} of {case.id}: say in benchmarks/diagnosis.py what that means")
    labels = tuple(label for label in answer.labels if kinds[label] & case.right or not kinds[label] <= outside)
    answer = replace(answer, labels=labels)
    right = [bool(kinds[label] & case.right) for label in answer.labels]
    beside = tuple(label for label, is_right in zip(answer.labels, right, strict=True) if not is_right)
    return Outcome(case, answer, _what(case, answer, any(right)), bool(right and right[0]), beside)


def _what(case: Case, answer: Answer, found: bool) -> str:
    if answer.crashed is not None:
        return "crashed"
    if answer.unread is not None:
        return "quiet" if NOTHING in case.right else "unread"
    well = HEALTHY in case.right or NOTHING in case.right
    if not answer.labels:
        return "quiet" if well else "missed"
    if found and not well:
        return "found"
    if well:
        return "quiet" if found else "false alarm"
    return "other alarm"


def table(outcomes: Sequence[Outcome], tools: Sequence[str]) -> list[list[str]]:
    """A row a source and tool; `named first` is of `found`, `quiet` and `false alarm` are of the healthy logs."""
    header = ["logs", "tool", "failing", "found", "named first", "other alarm", "missed"]
    header += ["healthy", "quiet", "false alarm", "unread", "crashed", "labels beside the right one"]
    rows = [header]
    for source in dict.fromkeys(o.case.source for o in outcomes):
        for tool in tools:
            mine = [o for o in outcomes if o.case.source == source and o.answer.tool == tool]
            if not mine:
                continue
            count = Counter(o.what for o in mine)
            failing = [o for o in mine if not {HEALTHY, NOTHING} & o.case.right]
            found = [o for o in mine if o.what == "found"]
            beside = sum(len(o.beside) for o in found) / len(found) if found else 0.0
            cells = [source, tool, len(failing), count["found"], sum(o.first for o in found)]
            cells += [count["other alarm"], count["missed"], len(mine) - len(failing), count["quiet"]]
            cells += [count["false alarm"], count["unread"], count["crashed"], f"{beside:.1f}" if found else ""]
            rows.append([str(cell) for cell in cells])
    return rows


def summary(outcomes: Sequence[Outcome], tools: Sequence[str], outside: frozenset[str]) -> list[list[str]]:
    """A row a source, a column a tool: failures found, alarms on healthy logs, logs not read.

    Failures of which every kind is ``outside`` what is compared are left out.
    """
    rows = [["logs", *tools]]
    for source in dict.fromkeys(o.case.source for o in outcomes):
        cells = [source]
        for tool in tools:
            mine = [o for o in outcomes if (o.case.source, o.answer.tool) == (source, tool)]
            mine = [o for o in mine if not o.case.right <= outside]
            failing = sum(not {HEALTHY, NOTHING} & o.case.right for o in mine)
            count = Counter(o.what for o in mine)
            cell = f"{count['found']}/{failing} found, {count['false alarm']}/{len(mine) - failing} alarms"
            lost = count["unread"] + count["crashed"]
            cells.append("unread" if lost == len(mine) else cell + (f", {lost} unread" if lost else ""))
        rows.append(cells)
    return rows


def by_kind(outcomes: Sequence[Outcome], tools: Sequence[str]) -> list[list[str]]:
    """A row a kind of log: how many were right (found, or quiet where healthy) of how many, tool by tool."""
    rows = [["logs", "kind", *tools]]
    for source, kind in dict.fromkeys((o.case.source, o.case.kind) for o in outcomes):
        cells = []
        for tool in tools:
            mine = [o for o in outcomes if (o.case.source, o.case.kind, o.answer.tool) == (source, kind, tool)]
            good = sum(o.what in ("found", "quiet") for o in mine)
            unread = bool(mine) and all(o.what in ("unread", "crashed") for o in mine)
            cells.append("unread" if unread else f"{good}/{len(mine)}")
        rows.append([source, kind, *cells])
    return rows


def confusions(outcomes: Sequence[Outcome], tool: str) -> list[list[str]]:
    """What a tool said instead of what is right, or on healthy logs; how often, most often first."""
    wrong = Counter(
        (o.case.source, o.case.kind, " + ".join(o.answer.labels))
        for o in outcomes
        if o.answer.tool == tool and o.what in ("other alarm", "false alarm")
    )
    return [["logs", "kind", "said", "times"], *([*key, str(n)] for key, n in wrong.most_common())]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
