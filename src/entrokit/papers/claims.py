"""Judges what a recipe does on a bench: the criteria and pictures that the papers of the RLVR shelf share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from entrokit.bench import Bench, PocketBench
from entrokit.diagnose import Course, PairedDifference, paired_difference, what_is_shown
from entrokit.report import Chart, Series
from entrokit.runs import Run

from .evidence import Finding, Raw


def entropy_gap(
    bench: Bench, spec: str, against: str, *, claim: str, bound: float, raises: bool = True, reference: str = ""
) -> Finding:
    """Whether ``spec`` has more (or, with ``raises=False``, less) entropy than ``against`` at the bench's accuracy.

    On the tabular bench the mean paired difference must lie beyond ``bound`` (nats), which an independent check of the
    same miniature gave. On the pocket bench, for which there is none, its 95 % Student interval must lie beyond 0.
    """
    courses = bench.courses(spec, against)
    own, other = ([c.entropy_at(bench.level) for c in courses[name]] for name in (spec, against))
    what = f"entropy of {spec} minus {against} at accuracy {bench.level:g}"
    if bench.name != "tabular":
        raw = {spec: own, against: other}
        return judge_interval(claim, what, "nats", own, other, raw, above=raises, reference=reference)
    criterion = f"{what}: mean over seeds {'>' if raises else '<'} {bound:+g} nats"
    gap, missing = _paired(own, other)
    passed = gap is not None and not missing and (gap.mean > bound if raises else gap.mean < bound)
    return Finding(claim, criterion, measured(gap, missing, "nats"), passed, reference, {spec: own, against: other})


def accuracy_gap(
    bench: Bench, spec: str, against: str, *, claim: str, raises: bool = True, reference: str = ""
) -> Finding:
    """Whether ``spec`` ends with a higher (or lower) accuracy, by a 95 % Student interval beyond 0."""
    courses = bench.courses(spec, against)
    own, other = ([float(c.accuracy[-1]) for c in courses[name]] for name in (spec, against))
    what = f"accuracy of {spec} minus {against} at the end"
    raw = {spec: own, against: other}
    return judge_interval(claim, what, "", own, other, raw, above=raises, reference=reference)


def metric_gap(
    bench: PocketBench,
    spec: str,
    against: str,
    metric: str,
    *,
    claim: str,
    raises: bool = True,
    bound: float = 0.0,
    reference: str = "",
) -> Finding:
    """Whether a logged metric ends higher (or lower) than ``against`` by more than ``bound``, by Student's interval.

    Args:
        metric: of the training batches (the mean of the last 15), or ``eval_...``, of the held-out prompts at the end.
    """
    runs = bench.runs(spec, against)
    own, other = ([final(run, metric) for run in runs[name]] for name in (spec, against))
    what = f"{metric} of {spec} minus {against} at the end"
    raw = {spec: own, against: other}
    return judge_interval(claim, what, "", own, other, raw, above=raises, bound=bound, reference=reference)


def final(run: Run, metric: str) -> float:
    """The last value of an ``eval_`` metric, or the mean over the last 15 training batches."""
    values = run.series(metric)[1]
    return values[-1] if metric.startswith("eval_") else float(np.mean(values[-15:]))


def ends_better(bench: Bench, spec: str, against: str, method: str, *, reference: str) -> Finding:
    """Whether a method that keeps entropy up ends with a higher accuracy."""
    claim = f"With the entropy kept, the policy ends better than that of {against} ({method})."
    return accuracy_gap(bench, spec, against, claim=claim, reference=reference)


def steps_gap(bench: Bench, spec: str, against: str, level: float, *, claim: str, reference: str = "") -> Finding:
    """Whether ``spec`` needs no more steps to an accuracy than ``against``, on the mean over seeds."""
    courses = bench.courses(spec, against)
    own, other = ([c.steps_to(level) for c in courses[name]] for name in (spec, against))
    criterion = f"steps of {spec} minus {against} to accuracy {level:g}: mean over seeds <= 0"
    gap, missing = _paired(own, other)
    passed = gap is not None and not missing and gap.mean <= 0
    raw: Raw = {spec: own, against: other}
    return Finding(claim, criterion, measured(gap, missing, "steps", ".1f"), passed, reference, raw)


def judge_interval(
    claim: str,
    what: str,
    unit: str,
    own: Sequence[float | None],
    other: Sequence[float | None],
    raw: Raw,
    *,
    above: bool,
    bound: float = 0.0,
    reference: str = "",
) -> Finding:
    """Whether the 95 % Student interval of the paired difference lies beyond ``bound``."""
    criterion = f"{what}: 95 % Student interval over seeds {'above' if above else 'below'} {bound:g}"
    gap, missing = _paired(own, other)
    passed = gap is not None and not missing and (gap.low > bound if above else gap.high < bound)
    return Finding(claim, criterion, measured(gap, missing, unit), passed, reference, raw)


def _paired(own: Sequence[float | None], other: Sequence[float | None]) -> tuple[PairedDifference | None, int]:
    """The difference over the seeds that both reach, and the number of seeds that either misses."""
    pairs = [(a, b) for a, b in zip(own, other, strict=True) if a is not None and b is not None]
    if not pairs:
        return None, len(own)
    a, b = zip(*pairs, strict=True)
    return paired_difference(a, b), len(own) - len(pairs)


def measured(gap: PairedDifference | None, missing: int = 0, unit: str = "", digits: str = ".4f") -> str:
    """A difference in words: mean ± standard error, of few seeds the range, and the interval that judges.

    Args:
        gap: at 95 % confidence; None where no seed has both sides. missing: seeds short of the accuracy.
        unit: behind the mean, or empty. digits: format of a number without its sign.
    """
    lost = f"; {missing} seed{'s' if missing > 1 else ''} short of that accuracy" if missing else ""
    if gap is None:
        return f"no difference{lost}"
    if len(gap.values) == 1:
        return f"{gap.mean:+{digits}}{' ' + unit if unit else ''}, one seed{lost}"
    spans = f"95 % Student interval {gap.low:+{digits}} to {gap.high:+{digits}}"
    if gap.few:
        low, high = gap.range
        spans = f"{what_is_shown([gap])} {low:+{digits}} to {high:+{digits}}, {spans}"
    return f"{gap.mean:+{digits}} ± {gap.std_error:{digits}}{' ' + unit if unit else ''}, {spans}{lost}"


def matched_chart(bench: Bench, specs: Sequence[str]) -> Chart:
    """Entropy against accuracy: who pays more entropy for the same accuracy."""
    courses = bench.courses(*specs)
    return Chart(
        "Entropy against accuracy",
        "accuracy",
        "entropy (nats)",
        tuple(Series(spec, *_mean_course(courses[spec])) for spec in specs),
        x_line=bench.level,
    )


def gap_chart(bench: Bench, specs: Sequence[str], against: str) -> Chart:
    """Paired differences of entropy at the bench's accuracy, with ranges or intervals, as the axis says."""
    courses = bench.courses(*specs, against)
    base = _entropies(courses, against, bench.level)
    series, gaps = [Series(against, [against], [0.0], marks=True)], []
    for spec in specs:
        gap, _ = _paired(_entropies(courses, spec, bench.level), base)
        if gap is not None:
            gaps.append(gap)
            low, high = ([end] for end in gap.shown) if len(gap.values) > 1 else (None, None)
            series.append(Series(spec, [spec], [gap.mean], marks=True, low=low, high=high))
    bars = what_is_shown(gaps)
    title, below = f"Entropy at accuracy {bench.level:g}", f"bars: {bars}" if bars else ""
    return Chart(title, below, "nats more than the first", tuple(series), y_line=0.0)


def _entropies(courses: Mapping[str, Sequence[Course]], spec: str, level: float) -> list[float | None]:
    return [c.entropy_at(level) for c in courses[spec]]


def _mean_course(courses: Sequence[Course]) -> tuple[list[float], list[float]]:
    """Mean entropy over seeds at accuracies that all of them reach, by the first time that each reaches them."""
    start = max(float(c.accuracy[0]) for c in courses)
    end = min(float(c.accuracy.max()) for c in courses)
    grid = [float(a) for a in np.linspace(start, max(start, end), 60)]
    return grid, [float(np.mean([c.entropy_at(a) for c in courses])) for a in grid]
