"""AnyLoss: whether a loss made of a metric beats cross-entropy on it, and what a tuned threshold does to that."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

import torch

from entrokit.diagnose import paired_difference
from entrokit.report import Chart, Series

from ..claims import measured
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._anyloss_arms import SCORES, Found, linear_arms
from ._anyloss_tasks import TASKS, made

WORDS = {"accuracy": "accuracy", "f1": "F1", "gmean": "G-mean", "balanced_accuracy": "balanced accuracy"}
# Means over 102 data sets by BCE and AnyLoss, from the official tables of perceptrons.
PAPER_MEANS = {
    "accuracy": "BCE .881, AnyLoss .887",
    "f1": "BCE .561, AnyLoss .673",
    "gmean": "BCE .620, AnyLoss .810",
    "balanced_accuracy": "BCE .739, AnyLoss .814",
}
NETWORK_MEANS = {"f1": "BCE .615, AnyLoss .727", "balanced_accuracy": "BCE .771, AnyLoss .832"}
ALL_METRICS = "on each of accuracy, F1, G-mean and balanced accuracy"
ByTask = Mapping[str, Sequence[Found]]
"""By task and seed: metric, arm."""


def miniature(budget: Budget) -> Iterator[Shown]:
    from ._anyloss_networks import perceptron

    found = [perceptron(made(0.07, n_samples=1000)(seed), seed) for seed in budget.seeds]
    yield _on_every_seed(found, "balanced_accuracy", 0.04, "3 seeds: .777 to .831, .603 to .679, .609 to .821")
    yield _on_every_seed(found, "gmean", 0.05, "3 seeds: .742 to .811, .450 to .661, .461 to .813")
    own, other = ([run["f1"][arm] for run in found] for arm in ("AnyLoss", "BCE"))
    gap = paired_difference(own, other)
    yield Finding(
        "The F1 loss beats cross-entropy on F1.",
        "test F1, AnyLoss minus BCE: mean over seeds at least 0.03",
        measured(gap),
        gap.mean >= 0.03,
        "independent check of the same miniature, 3 seeds: mean .458 to .534, worse on one of them",
        {"AnyLoss": own, "BCE": other},
    )


def _on_every_seed(found: Sequence[Found], metric: str, bound: float, reference: str) -> Finding:
    own, other = ([run[metric][arm] for run in found] for arm in ("AnyLoss", "BCE"))
    gap = paired_difference(own, other)
    return Finding(
        f"The loss of {WORDS[metric]} beats cross-entropy on {WORDS[metric]}.",
        f"test {WORDS[metric]}, AnyLoss minus BCE: at least {bound} on every seed",
        f"{measured(gap)}; least {min(gap.values):+.4f}, below {bound} on "
        f"{sum(v < bound for v in gap.values)} of {len(gap.values)} seeds",
        min(gap.values) >= bound,
        f"independent check of the same miniature, {reference}",
        {"AnyLoss": own, "BCE": other},
    )


def datasets(budget: Budget) -> Iterator[Shown]:
    found = _on_every_task(_linear, budget)
    for metric in SCORES:
        yield _beats(found, metric, "BCE", reference=f"102 data sets: {PAPER_MEANS[metric]}")
    for metric in SCORES:
        yield _beats(found, metric, "BCE, tuned")
    yield _beats_everywhere(found, "AnyLoss", "weighted BCE")
    yield _beats_everywhere(found, "AnyLoss", "focal")
    yield _beats_everywhere(found, "AnyLoss, tuned", "BCE, tuned")
    yield _beats_everywhere(found, "AnyLoss, tuned", "AnyLoss")
    for metric in ("f1", "balanced_accuracy", "gmean", "accuracy"):
        yield _by_task(found, metric, ("BCE", "weighted BCE", "BCE, tuned"), "linear models")


def network(budget: Budget) -> Iterator[Shown]:
    from ._anyloss_networks import NETWORK_METRICS

    found = _on_every_task(_network, budget)
    for against in ("BCE", "weighted BCE", "BCE, tuned"):
        for metric in NETWORK_METRICS:
            reference = f"102 data sets: {NETWORK_MEANS[metric]}" if against == "BCE" else ""
            yield _beats(found, metric, against, reference=reference)
    for metric in NETWORK_METRICS:
        yield _by_task(found, metric, ("BCE", "weighted BCE", "BCE, tuned"), "networks")


def _on_every_task(run: Callable[[str, int], Found], budget: Budget) -> ByTask:
    """Tasks and seeds, as many at a time as the budget has jobs."""
    pairs = [(name, seed) for name in TASKS for seed in budget.seeds]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(budget.jobs, spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        each = list(pool.map(run, *zip(*pairs, strict=True)))
    seeds = len(budget.seeds)
    return {name: each[i * seeds : (i + 1) * seeds] for i, name in enumerate(TASKS)}


def _linear(name: str, seed: int) -> Found:
    return linear_arms(TASKS[name](seed), seed)


def _network(name: str, seed: int) -> Found:
    from ._anyloss_networks import networks

    return networks(TASKS[name](seed), seed)


def _means(found: ByTask, metric: str, arm: str) -> list[float]:
    """A task each, over seeds."""
    return [statistics.fmean(run[metric][arm] for run in runs) for runs in found.values()]


def _beats(found: ByTask, metric: str, against: str, *, reference: str = "") -> Finding:
    own, other = (_means(found, metric, arm) for arm in ("AnyLoss", against))
    gap = paired_difference(own, other)
    how = {"BCE, tuned": "cross-entropy with a tuned threshold", "weighted BCE": "weighted cross-entropy"}
    return Finding(
        f"Trained for {WORDS[metric]}, a model has more of it than by {how.get(against, 'cross-entropy')}.",
        f"test {WORDS[metric]}, mean over seeds, AnyLoss minus {against}: 95 % Student interval over the {len(own)} "
        "data sets above 0",
        f"{measured(gap)}; means {statistics.fmean(other):.3f} and {statistics.fmean(own):.3f}, AnyLoss not worse on "
        f"{sum(v >= 0 for v in gap.values)} of {len(own)}",
        gap.low > 0,
        reference,
        {"AnyLoss": own, against: other},
    )


def _beats_everywhere(found: ByTask, arm: str, against: str) -> Finding:
    gaps = {m: paired_difference(_means(found, m, arm), _means(found, m, against)) for m in SCORES}
    return Finding(
        f"{arm} beats {against} on the metric that AnyLoss is trained for.",
        f"test metric, mean over seeds, {arm} minus {against}: 95 % Student interval over the {len(found)} data sets "
        f"above 0 {ALL_METRICS}",
        "; ".join(f"{WORDS[m]} {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]" for m, gap in gaps.items()),
        all(gap.low > 0 for gap in gaps.values()),
        "",
        {f"{WORDS[m]}, {which}": _means(found, m, which) for m in SCORES for which in (arm, against)},
    )


def _by_task(found: ByTask, metric: str, against: Sequence[str], models: str) -> Chart:
    series = []
    for other in against:
        gaps = [
            paired_difference([run[metric]["AnyLoss"] for run in runs], [run[metric][other] for run in runs])
            for runs in found.values()
        ]
        low, high = ([getattr(gap, end) for gap in gaps] for end in ("low", "high"))
        series.append(Series(f"minus {other}", list(found), [gap.mean for gap in gaps], marks=True, low=low, high=high))
    return Chart(
        f"{WORDS[metric]} of {models} trained for it",
        "bars: 95 % Student intervals over seeds",
        f"{WORDS[metric]}: AnyLoss minus the other",
        tuple(series),
        y_line=0.0,
        height=420,
    )


PAPER = Paper(
    slug="anyloss",
    title="AnyLoss: Transforming Classification Metrics into Loss Functions",
    arxiv="2405.14745",
    year=2024,
    family="losses",
    claim="A metric of a soft confusion matrix as the loss gives more of that metric than cross-entropy.",
    names=(
        "entrokit.losses.anyloss.AnyLoss",
        "entrokit.losses.anyloss.soft_confusion",
        "entrokit.losses.anyloss.tune_threshold",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.losses.anyloss import AnyLoss\n"
        "y = torch.tensor([1.0, 1.0] + 18 * [0.0])\n"
        "never, once = torch.full((20,), -2.0), torch.tensor([2.0] + 19 * [-2.0])  # logits\n"
        'print([[1 - AnyLoss(m)(z, y) for z in (never, once)] for m in ("accuracy", "f1")])'
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=2.0,
            criterion="beats cross-entropy on balanced accuracy by 0.04 and on G-mean by 0.05 on every seed, and on F1 "
            "by 0.03 on the mean over seeds",
            needs=("information",),
        ),
        "datasets": Experiment(
            datasets,
            seeds=4,
            minutes=4.0,
            criterion="on twelve imbalanced data sets linear models have more of the metric that they were trained "
            "for than by cross-entropy, by a 95 % Student interval over data sets; and than by cross-entropy with a "
            "threshold tuned on inner folds, weighted and focal cross-entropy",
            needs=("information",),
        ),
        "network": Experiment(
            network,
            seeds=3,
            minutes=4.0,
            criterion="on the same data sets networks of one hidden layer have more F1 and balanced accuracy when "
            "trained for them, by a 95 % Student interval over data sets, than by cross-entropy, weighted "
            "cross-entropy and cross-entropy with a tuned threshold",
            needs=("information",),
        ),
    },
)
