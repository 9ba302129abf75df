"""Entropy-Guided Attention: what attention entropy does without LayerNorm and activations, and with the repairs."""

from __future__ import annotations

import math
import multiprocessing
import os
import platform
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from typing import Any

import torch

from entrokit.report import Chart, Series

from ..claims import judge_interval
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._copying import copying
from ._source import HELD_OUT, TRAIN, characters, unigram_perplexity
from ._source_arms import ARMS, CONTEXT, learn_source

WEIGHTS = {"without": 0.0, "with": 1e-4}
ORDER = ("SM+LN+GELU", "SM+GELU", "SM+LN", "SM+ScFuFFN", "SM")
QUARTERS = ("lowest quarter", "second", "third", "highest quarter")


def miniature(budget: Budget) -> Iterator[Shown]:
    found = {name: [copying(seed, weight) for seed in budget.seeds] for name, weight in WEIGHTS.items()}
    accuracy = {name: [run["accuracy"] for run in runs] for name, runs in found.items()}
    smallest = {name: [run["smallest"] for run in runs] for name, runs in found.items()}
    right = min(min(values) for values in accuracy.values())
    yield Finding(
        "The regulariser costs no accuracy on a copying task.",
        "accuracy on the second half at least 0.99 in every seed, with and without",
        f"least with {min(accuracy['with']):.4f}, without {min(accuracy['without']):.4f}",
        right >= 0.99,
        "independent check, 3 seeds: at least .99 in both",
        {f"accuracy, {name}": values for name, values in accuracy.items()},
    )
    yield Finding(
        "The regulariser keeps every head from collapsing.",
        "smallest head entropy, every seed: at least 0.9 nats with it, at most 0.7 without",
        ", ".join(
            f"{name} {statistics.fmean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
            for name, values in smallest.items()
        ),
        min(smallest["with"]) >= 0.9 and max(smallest["without"]) <= 0.7,
        "independent check, 3 seeds: 1.08, 1.27, 1.31 with; .33, .46, .55 without",
        {f"smallest entropy, {name}": values for name, values in smallest.items()},
    )
    yield Chart(
        "The smallest head entropy",
        "a mark a seed",
        "nats",
        tuple(Series(name, [name] * len(values), values, marks=True) for name, values in smallest.items()),
        y_line=0.9,
    )


def held(budget: Budget) -> Iterator[Shown]:
    found = _at_once(copying, [(seed, WEIGHTS["with"], False) for seed in budget.seeds], budget)
    smallest, accuracy = ([run[name] for run in found] for name in ("smallest", "accuracy"))
    yield Finding(
        "With thresholds that are held the regulariser keeps every head from collapsing.",
        "smallest head entropy, every seed: at least 0.9 nats with thresholds of 0.5 that are not learnt (looked at "
        "after the miniature had failed)",
        f"{statistics.fmean(smallest):.2f} ({min(smallest):.2f} to {max(smallest):.2f}), accuracy at least "
        f"{min(accuracy):.4f}",
        min(smallest) >= 0.9,
        "",
        {"smallest entropy": smallest, "accuracy": accuracy},
    )


def source(budget: Budget) -> Iterator[Shown]:
    found = _every_arm(budget)
    unigram = unigram_perplexity(characters(TRAIN), characters(HELD_OUT))
    yield _order(found, unigram)
    yield _diverges(found, unigram)
    yield _better(found, "SM+ScFuFFN", "The temperatures and the regulariser improve on scaled linear FFNs alone.")
    yield _better(found, "SM(t)+ScFuFFN", "The regulariser does so beyond the temperatures.")
    yield _more(found, 3, "SM+GELU", "SM+LN+GELU", "Without LayerNorm more heads are overloaded.", "58 % of SM+GELU")
    yield _more(found, 0, "SM", "SM+LN+GELU", "The softmax-only network has more collapsed heads.", "33 % of SM")
    yield _more(found, 3, "SM+ScFuFFN", "EReg", "The regulariser leaves fewer heads overloaded.", "2.08 % with γ = .2")
    yield _perplexities(found)
    yield _quarters(found)
    yield _layers(found)


def _every_arm(budget: Budget) -> dict[str, list[dict[str, Any]]]:
    """By arms, a run a seed."""
    runs = [(name, seed) for seed in budget.seeds for name in ARMS]
    given = dict(zip(runs, _at_once(learn_source, runs, budget), strict=True))
    return {name: [given[name, seed] for seed in budget.seeds] for name in ARMS}


def _at_once(
    run: Callable[..., dict[str, Any]], arguments: list[tuple[Any, ...]], budget: Budget
) -> list[dict[str, Any]]:
    """As many at a time as there are cores, each on one."""
    workers = min(budget.jobs or os.cpu_count() or 1, len(arguments))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(run, *zip(*arguments, strict=True)))


def _values(runs: list[dict[str, Any]]) -> list[float | None]:
    return [run["perplexity"] for run in runs]


def _logs(runs: list[dict[str, Any]]) -> list[float | None]:
    return [None if value is None else math.log(value) for value in _values(runs)]


def _share(runs: list[dict[str, Any]], quarter: int) -> list[float | None]:
    return [None if run["quarters"] is None else run["quarters"][quarter] for run in runs]


def _mean(values: list[float | None]) -> float:
    """Over seeds; infinite where one diverged."""
    return statistics.fmean(math.inf if value is None else value for value in values)


def _order(found: dict[str, list[dict[str, Any]]], unigram: float) -> Finding:
    means = {name: _mean(_values(runs)) for name, runs in found.items()}
    text = (
        f"{len(characters(TRAIN)):,} characters of Python {platform.python_version()}'s standard library, "
        f"{len(characters(HELD_OUT)):,} held out (perplexity by shares of characters {unigram:.1f}): "
    )
    return Finding(
        "LayerNorm and GELU each lower the perplexity of a small decoder on Python source.",
        "mean held-out perplexity of a character over seeds, in the paper's order: " + " < ".join(ORDER),
        text + ", ".join(f"{name} {value:.3f}" for name, value in means.items()),
        all(means[a] < means[b] for a, b in pairwise(ORDER)),
        "GPT-2 small, CodeParrot, T = 128: 2.69, 3.20, 3.38, 3.478, diverges; EReg 3.21",
        {f"perplexity, {name}": _values(runs) for name, runs in found.items()},
    )


def _diverges(found: dict[str, list[dict[str, Any]]], unigram: float) -> Finding:
    values = _values(found["SM"])
    return Finding(
        "The softmax-only network diverges.",
        "every seed of SM: a training loss that is not finite, or a held-out perplexity not below that by shares of "
        f"characters, {unigram:.1f}",
        "perplexity " + ", ".join("none" if value is None else f"{value:.3f}" for value in values),
        all(value is None or value >= unigram for value in values),
        "diverges, 12 layers",
        {"perplexity, SM": values},
    )


def _better(found: dict[str, list[dict[str, Any]]], other: str, claim: str) -> Finding:
    own, against = _logs(found["EReg"]), _logs(found[other])
    return judge_interval(
        claim,
        f"log of held-out perplexity, EReg minus {other}",
        "",
        own,
        against,
        {"log perplexity, EReg": own, f"log perplexity, {other}": against},
        above=False,
        reference="log(3.21 / 3.478) = -0.080 against SM+ScFuFFN",
    )


def _more(
    found: dict[str, list[dict[str, Any]]], quarter: int, name: str, other: str, claim: str, reference: str
) -> Finding:
    own, against = _share(found[name], quarter), _share(found[other], quarter)
    return judge_interval(
        claim,
        f"share of heads in the {QUARTERS[quarter]} of the largest entropy, {name} minus {other}",
        "",
        own,
        against,
        {name: own, other: against},
        above=True,
        reference=f"12 layers of 12 heads: {reference}",
    )


def _bar(name: str, x: str, values: list[float | None]) -> Series:
    known = [value for value in values if value is not None]
    if not known:
        return Series(name, [], [], marks=True)
    return Series(name, [x], [statistics.fmean(known)], marks=True, low=[min(known)], high=[max(known)])


def _perplexities(found: dict[str, list[dict[str, Any]]]) -> Chart:
    return Chart(
        "Held-out perplexity of a character",
        "bars: range over seeds",
        "perplexity",
        tuple(_bar(name, name, _values(runs)) for name, runs in found.items()),
    )


def _quarters(found: dict[str, list[dict[str, Any]]]) -> Chart:
    """Mean over seeds of the shares, an arm a place."""
    series = []
    for quarter, label in enumerate(QUARTERS):
        shares = {name: [v for v in _share(runs, quarter) if v is not None] for name, runs in found.items()}
        known = {name: statistics.fmean(values) for name, values in shares.items() if values}
        series.append(Series(label, list(known), list(known.values()), marks=True))
    return Chart("Heads by entropy", "quarters of the largest in the network", "share of heads", tuple(series))


def _layers(found: dict[str, list[dict[str, Any]]]) -> Chart:
    """Every head of the first seed, a little apart by arms."""
    shown = ("SM+LN+GELU", "SM+GELU", "SM", "EReg")
    series = []
    for i, name in enumerate(shown):
        heads = found[name][0]["heads"] or []
        places = [layer + 1 + 0.12 * (i - 1.5) for layer, own in enumerate(heads) for _ in own]
        entropies = [value / math.log(CONTEXT) for own in heads for value in own]
        series.append(Series(name, places, entropies, marks=True))
    return Chart("Every head's entropy, by layer", "layer", "share of log T", tuple(series))


PAPER = Paper(
    slug="entropy-guided-attention",
    title="Entropy-Guided Attention for Private LLMs",
    arxiv="2501.03489",
    year=2025,
    family="attention",
    claim="Without LayerNorm and activations attention entropy collapses or overloads; a learnable temperature and a "
    "band that each head's entropy is held in repair what they can.",
    symptoms=("attention collapses", "NaN"),
    names=(
        "entrokit.attention.entropy.watch_attention",
        "entrokit.attention.entropy.attention_entropy_qk",
        "entrokit.attention.entropy.attention_entropy",
        "entrokit.attention.entropy.head_entropy_histogram",
        "entrokit.attention.entropy.entropic_overload",
        "entrokit.attention.entropy.entropy_collapse",
        "entrokit.attention.entropy.EntropyRegularizer",
        "entrokit.attention.entropy.attention_entropy_callback",
        "entrokit.attention.entropy.temper_attention",
        "entrokit.attention.entropy.TemperedSoftmax",
        "entrokit.attention.entropy.TemperedAttention",
        "entrokit.attention.entropy.ScaledLinearFFN",
        "entrokit.attention.entropy.swapped_modules",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.attention.entropy import attention_entropy_qk\n"
        "query, key = torch.randn(2, 1, 4, 50, 16)  # a batch of one, four heads, 50 tokens\n"
        "query *= torch.tensor([0.01, 1.0, 3.0, 9.0]).view(4, 1, 1)  # ever sharper heads\n"
        'print(attention_entropy_qk(query, key).mean(-1), "nats of", torch.tensor(50).log())'
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=3,
            criterion="a decoder without LayerNorm learns to copy a string (accuracy at least 0.99) with and without "
            "the regulariser, and its smallest head entropy is at least 0.9 nats with it and at most 0.7 without, in "
            "every seed",
        ),
        "held": Experiment(
            held,
            seeds=3,
            minutes=1.5,
            criterion="in the miniature, with thresholds that are not learnt, the smallest head entropy is at least "
            "0.9 nats in every seed; written after the miniature's result, and after a look at one other seed",
        ),
        "source": Experiment(
            source,
            seeds=3,
            minutes=4,
            criterion="on Python source, perplexities of small decoders are in the paper's order (SM+LN+GELU < "
            "SM+GELU < SM+LN < SM+ScFuFFN < SM), SM diverges, EReg is below SM+ScFuFFN and below SM(t)+ScFuFFN, more "
            "heads are in the highest quarter without LayerNorm and fewer with EReg, and more in the lowest in SM, "
            "each difference by a 95 % Student interval",
        ),
    },
)
