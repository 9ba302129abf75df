"""Rules about the numbers themselves: those that are none, and those that cannot be entropies."""

from __future__ import annotations

from .. import remedies
from ..facts import Facts
from ..finding import Finding
from ..remedies import RunWords
from ..thresholds import Thresholds


def broken_numbers(facts: Facts, t: Thresholds) -> Finding | None:
    """NaN and infinity in a metric that has a number at every step of a sound run (`broken`)."""
    run = facts.turned
    if run is None:
        return None
    evidence = []
    for name, b in run.metrics.items():
        last = "" if b.last_finite is None else f"; it was {b.last_finite:.4g} before"
        points = "one point" if b.count == 1 else f"{b.count} points"
        evidence.append(f"{name} is {_word(b.kind)} from step {b.first_step:g} on, {points}{last}")
    if len(run.metrics) > 1:
        first = " and ".join(run.first)
        evidence.append(f"{first} turned first" + (", at one step" if len(run.first) > 1 else ""))
    if run.for_good:
        cause = f"{', '.join(run.first)} turned {_word(run.metrics[run.first[0]].kind)} at step {run.step:g}"
        evidence += run.spikes
        if any(len(s) for s in facts.log.series.values()):
            evidence.append(f"everything else here is judged by the steps before {run.step:g}")
    else:
        cause = "updates break and come back"
        evidence += run.spikes
    return Finding(
        "broken-numbers",
        cause,
        tuple(evidence),
        remedies.against_broken_numbers(RunWords.of(facts.log), run.step, run.first[0]),
        run.step,
    )


def impossible_entropy(facts: Facts, t: Thresholds) -> Finding | None:
    doubt = facts.doubt
    if doubt is None:
        return None
    then = "the entropies were left out, and the rest was judged"
    evidence = [doubt.said, f"usual cause: {doubt.usual}"] + ([] if doubt.usable else [then])
    return Finding(
        "impossible-entropy",
        "what is logged as entropy is none" if not doubt.usable else "the logged entropy never moves",
        tuple(evidence),
        remedies.against_impossible_entropy(RunWords.of(facts.log), doubt.kind),
        doubt.onset,
    )


def _word(kind: str) -> str:
    return "NaN" if kind == "nan" else "infinite"
