"""A comparison's verdict as a sentence."""

from __future__ import annotations

from collections.abc import Mapping

from entrokit.runs import TrainingLog

from .aligned import Pair
from .apart import FEWEST
from .comparison import Apart, ComparisonVerdict, OneBroken

OF_THE_MACHINE = ("seconds", "tokens_per_second")
"""How fast the machine was says nothing of what was learnt."""

_FOLLOWED = 3


def sentence(
    verdict: ComparisonVerdict,
    names: tuple[str, str],
    a: TrainingLog,
    b: TrainingLog,
    *,
    pairs: Mapping[str, Pair],
    apart: tuple[Apart, ...],
    broken: tuple[OneBroken, ...],
    same_until: float | None,
    spiky: tuple[str, ...],
) -> str:
    """What happened, in one sentence."""
    longest = max((len(p) for p in pairs.values()), default=0)
    counted = f"{len(pairs)} series" if len(pairs) != 1 else f"{next(iter(pairs))}, the only common series"
    if verdict == "apart":
        said = [s for s in (_broken_words(names, broken), _apart_words(apart)) if s]
        if apart and broken and apart[0].step <= broken[0].step:
            said.reverse()
        if same_until is not None:
            said.append(f"up to step {same_until:g} every number is the same")
        return "; ".join([*said, *spiky[:_FOLLOWED]])
    if verdict == "nothing-in-common":
        return _nothing(names, a, b)
    if verdict == "identical":
        return f"identical: every number of every common series is the same, up to step {same_until:g}"
    if verdict == "too-short":
        return f"too short to tell: no common series has {FEWEST} common points"
    known = f"; up to step {same_until:g} every number is the same" if same_until is not None else ""
    same = f"not apart: {counted} of up to {longest} common points differ by no more than their noise allows{known}"
    return "; ".join([same, *spiky[:_FOLLOWED]])


def _apart_words(apart: tuple[Apart, ...]) -> str:
    if not apart:
        return ""
    first = apart[0]
    together = [x.key for x in apart[1:] if x.step == first.step]
    with_it = f" (with {listed(together)})" if together else ""
    later = [x for x in apart if x.step > first.step]
    followed = ", ".join(f"{x.key} at {x.step:g}" for x in later[:_FOLLOWED])
    more = f" and {len(later) - _FOLLOWED} more" if len(later) > _FOLLOWED else ""
    then = f"; followed by {followed}{more}" if later else ""
    return f"{first.key} went apart first{with_it}, at step {first.step:g} ({first.words()}){then}"


def _broken_words(names: tuple[str, str], broken: tuple[OneBroken, ...]) -> str:
    if not broken:
        return ""
    first = broken[0]
    also = [x.key for x in broken[1:] if (x.step, x.run, x.other) == (first.step, first.run, first.other)]
    what = ", ".join([first.key, *also[:_FOLLOWED]])
    kind = "NaN" if first.kind == "nan" else "infinite"
    other = "not" if first.other is None else f"at step {first.other:g}"
    return f"{what} turned {kind} at step {first.step:g} in {names[first.run]}, {other} in {names[1 - first.run]}"


def _nothing(names: tuple[str, str], a: TrainingLog, b: TrainingLog) -> str:
    has = [sorted(k for k, s in log.series.items() if len(s)) for log in (a, b)]
    for name, keys in zip(names, has, strict=True):
        if not keys:
            return f"nothing to compare: {name} holds no numbers that are known"
    if not set(has[0]) & set(has[1]):
        return f"nothing to compare: {names[0]} has {listed(has[0])}, and {names[1]} has {listed(has[1])}"
    if not set(has[0]) & set(has[1]) - set(OF_THE_MACHINE):
        return (
            f"nothing to compare: both have {listed(sorted(set(has[0]) & set(has[1])))} alone, which is of the machine"
        )
    spans = [
        f"{name} goes from step {min(s.steps[0] for s in log.series.values() if len(s)):g} to "
        f"{max(s.steps[-1] for s in log.series.values() if len(s)):g}"
        for name, log in zip(names, (a, b), strict=True)
    ]
    return f"nothing to compare: no steps in common; {' and '.join(spans)}"


def listed(keys: list[str], most: int = 5) -> str:
    """The first few of some names, and how many more there are."""
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
