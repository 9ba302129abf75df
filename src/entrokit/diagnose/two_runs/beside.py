"""`beside`: two runs side by side. What went apart first, at which step, and by how many standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from entrokit.runs import TrainingLog

from ..diagnosis import diagnose
from ..facts import bounded
from ..thresholds import Thresholds
from .aligned import Pair, aligned
from .apart import FEWEST, onset_of, spikes
from .comparison import Apart, Comparison, ComparisonVerdict, OneBroken
from .words import OF_THE_MACHINE, listed, sentence

_ABSENT = "(not set)"
# Of two equal rates, counts this far apart in standard errors are seen once in ten thousand pairs.
_MORE_SPIKES, _FEWEST_SPIKES = 4.0, 5


def beside(a: TrainingLog, b: TrainingLog, thresholds: Thresholds | None = None) -> Comparison:
    """Puts two runs side by side.

    A metric counts as apart where its difference over some stretch lies beyond what the noise of both runs allows, with
    all metrics and all steps looked at together: of two runs of one law, at most one pair in twenty is said to be apart
    (simulated: `docs/diagnose.md`). Chance means noise from step to step; what a recipe's seeds differ by in the long
    run a single pair of runs does not tell.

    Args:
        a, b: as `entrokit.runs.read_log` gives them.
        thresholds: of the rules by which each run is judged on its own.
    """
    names = _names(a, b)
    a, b = bounded(a), bounded(b)
    common = [k for k in a.series if k in b.series and (len(a.series[k]) or len(b.series[k]))]
    left_out = {k: "of the machine, not of the training" for k in common if k in OF_THE_MACHINE}
    all_pairs = {k: aligned(a.series[k], b.series[k]) for k in common if k not in left_out}
    left_out |= {k: f"{len(p)} common points; {FEWEST} are needed" for k, p in all_pairs.items() if len(p) < FEWEST}
    pairs = {k: p for k, p in all_pairs.items() if k not in left_out}
    tests = sum(len(p) for p in pairs.values())
    found = [
        Apart(k, o.step, o.sigmas, o.a, o.b, o.lasting)
        for k, p in pairs.items()
        if (o := onset_of(p, tests)) is not None
    ]
    # A clearer difference comes first among those of one step.
    apart = tuple(sorted(found, key=lambda x: (x.step, -(math.inf if x.sigmas is None else x.sigmas), x.key)))
    broken = tuple(sorted(_broken(a, b), key=lambda x: x.step))
    same, same_until = _same(all_pairs)
    longest = {k: max(len(a.series[k]), len(b.series[k])) for k in all_pairs}
    verdict = _verdict(pairs, all_pairs, apart, broken, same, longest)
    spiky = tuple(_spiky(names, pairs))
    return Comparison(
        names,
        verdict,
        sentence(verdict, names, a, b, pairs=pairs, apart=apart, broken=broken, same_until=same_until, spiky=spiky),
        apart,
        broken,
        pairs,
        (
            tuple(sorted(k for k in a.series if k not in b.series)),
            tuple(sorted(k for k in b.series if k not in a.series)),
        ),
        left_out,
        same_until,
        _differing(a.config, b.config),
        tuple(_notes(names, a, b, pairs)),
        (diagnose(a, thresholds), diagnose(b, thresholds)),
    )


def _names(a: TrainingLog, b: TrainingLog) -> tuple[str, str]:
    plain = [log.run or log.where.name or str(log.where) for log in (a, b)]
    if plain[0] == plain[1]:
        plain = [f"{log.where.parent.name}/{name}" for log, name in zip((a, b), plain, strict=True)]
    return (plain[0], plain[1]) if plain[0] != plain[1] else (f"{plain[0]} (A)", f"{plain[1]} (B)")


def _broken(a: TrainingLog, b: TrainingLog) -> Iterator[OneBroken]:
    for key in sorted(a.series.keys() & b.series.keys()):
        both = (a.series[key].broken, b.series[key].broken)
        steps = [math.inf if x is None else x.first_step for x in both]
        first = 0 if steps[0] < steps[1] else 1
        which = both[first]
        if steps[0] != steps[1] and which is not None:
            other = steps[1 - first]
            yield OneBroken(key, which.first_step, first, which.kind, other if math.isfinite(other) else None)


def _same(pairs: Mapping[str, Pair]) -> tuple[bool, float | None]:
    """Whether every number is the same, and the last step up to which all are."""
    exact = [p for p in pairs.values() if len(p)]
    if not exact:
        return False, None
    first = [float(p.steps[i[0]]) for p in exact if len(i := np.flatnonzero(p.difference))]
    if not first:
        return True, float(max(p.steps[-1] for p in exact))
    before = [p.steps[p.steps < min(first)] for p in exact]
    last = [float(s[-1]) for s in before if len(s)]
    return False, max(last) if last and all(len(s) for s in before) else None


def _spiky(names: tuple[str, str], pairs: Mapping[str, Pair]) -> Iterator[str]:
    """What spikes in one run more often than chance allows, which no mean over steps tells."""
    for key, pair in pairs.items():
        found = [spikes(x) for x in (pair.a, pair.b)]
        more = 0 if len(found[0]) > len(found[1]) else 1
        most, least = len(found[more]), len(found[1 - more])
        if most >= _FEWEST_SPIKES and most - least > _MORE_SPIKES * math.sqrt(most + least) / 2:
            first = f"{pair.steps[found[more][0]]:g}"
            yield f"{key} spikes {most} times in {names[more]}, first at step {first}, and {least} in {names[1 - more]}"


def _verdict(
    pairs: Mapping[str, Pair],
    all_pairs: Mapping[str, Pair],
    apart: tuple[Apart, ...],
    broken: tuple[OneBroken, ...],
    same: bool,
    longest: Mapping[str, int],
) -> ComparisonVerdict:
    if apart or broken:
        return "apart"
    if not any(len(p) for p in all_pairs.values()):
        return "nothing-in-common"
    # A few common points of a longer run are no identity.
    if same and (pairs or all(len(p) == longest[k] for k, p in all_pairs.items())):
        return "identical"
    return "not-apart" if pairs else "too-short"


def _notes(names: tuple[str, str], a: TrainingLog, b: TrainingLog, pairs: Mapping[str, Pair]) -> Iterator[str]:
    last = [max((float(s.steps[-1]) for s in log.series.values() if len(s)), default=None) for log in (a, b)]
    if last[0] is not None and last[1] is not None and last[0] != last[1]:
        short = 0 if last[0] < last[1] else 1
        longer = f"{names[1 - short]} at {last[1 - short]:g}"
        yield f"{names[short]} ends at step {last[short]:g}, {longer}: compared as far as both go"
    for how in sorted({p.how for p in pairs.values()} - {"common steps"}):
        keys = [k for k, p in pairs.items() if p.how == how]
        yield f"{listed(keys)}: compared by {how}"
    for name, log in zip(names, (a, b), strict=True):
        if not log.config and (a.config or b.config):
            yield f"no settings of {name} were found: settings are not compared"
    if a.engine and b.engine and a.engine != b.engine:
        yield f"written by different engines ({a.engine}, {b.engine}): the same name may be measured differently"


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    if not a or not b:
        return {}
    flat = [dict(_flat(config)) for config in (a, b)]
    both = {k: (flat[0].get(k, _ABSENT), flat[1].get(k, _ABSENT)) for k in sorted(flat[0].keys() | flat[1].keys())}
    return {k: (x, y) for k, (x, y) in both.items() if x != y and repr(x) != repr(y)}


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}/")
        else:
            yield name, value
