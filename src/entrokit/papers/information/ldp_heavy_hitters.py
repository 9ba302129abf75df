"""Heavy hitters of several parties under local privacy: one tree for the first levels, an adaptive one after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from entrokit.information.private import (
    ConsensusPruning,
    FixedExtension,
    PrefixTreeHeavyHitters,
    SeededSource,
    f1_at_k,
    ncr,
)
from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

BITS, ITEMS, K, SIZES, REPEATS = 16, 2000, 10, (100_000, 10_000, 5_000, 5_000), 5
EPSILONS = (1.0, 2.0, 4.0)
_Scores = NDArray[np.float64]


def miniature(budget: Budget) -> Iterator[Shown]:
    draws = [REPEATS * s + r for s in budget.seeds for r in range(REPEATS)]

    def drawn(method: str, epsilon: float) -> _Scores:
        return np.array([scores(method, epsilon, d) for d in draws])

    base, tap = drawn("FedPEM", 2.0), drawn("TAP", 2.0)
    yield _tree(base, tap)
    by_epsilon = {eps: (tap if eps == 2.0 else drawn("TAP", eps))[:, 0] for eps in EPSILONS}
    yield _privacy(by_epsilon)
    yield _pruning(tap, drawn("TAPS", 2.0))
    yield Chart(
        "The ten most frequent items of four parties",
        "ε of each user",
        "F1, mean",
        (
            Series("TAP", list(EPSILONS), [float(f1.mean()) for f1 in by_epsilon.values()]),
            Series("FedPEM", [2.0], [float(base[:, 0].mean())], marks=True),
        ),
    )


def parties(seed: int) -> tuple[list[NDArray[np.int64]], list[int]]:
    """Items of four parties' users, and the ten items that are most frequent among all, in order.

    2000 items at random codes, Zipf with exponent 1.1; each party likes ten random items of its own as much as the ten
    most popular ones (the setting of an independent check).
    """
    rng = np.random.default_rng(seed)
    codes = rng.choice(2**BITS, ITEMS, replace=False)
    popular = np.arange(1, ITEMS + 1) ** -1.1
    found = []
    for n in SIZES:
        own = popular / popular.sum()
        own[rng.choice(ITEMS, K, replace=False)] += own[:K]
        found.append(codes[rng.choice(ITEMS, n, p=own / own.sum())])
    items, counts = np.unique(np.concatenate(found), return_counts=True)
    return found, [int(v) for v in items[np.argsort(-counts, kind="stable")[:K]]]


def scores(method: str, epsilon: float, seed: int) -> tuple[float, float]:
    """F1 and NCR of one run."""
    users, truth = parties(seed)
    tree = PrefixTreeHeavyHitters(
        K,
        BITS,
        shared_levels=0 if method == "FedPEM" else 2,
        epsilon=epsilon,
        extension=FixedExtension() if method == "FedPEM" else None,
        pruning=ConsensusPruning() if method == "TAPS" else None,
        source=SeededSource(seed),
    ).fit(users)
    found = tree.items_.tolist()
    return f1_at_k(found, truth), ncr(found, truth)


def _tree(base: _Scores, tap: _Scores) -> Finding:
    gap = tap[:, 0] - base[:, 0]
    se = gap.std(ddof=1) / np.sqrt(len(gap))
    return Finding(
        "A shared tree that extends adaptively finds more of the heavy hitters than each party's own.",
        f"four parties, ε = 2, {len(gap)} draws: mean F1 of TAP at least 0.03 above FedPEM's",
        f"F1 {tap[:, 0].mean():.3f} against {base[:, 0].mean():.3f}, difference {gap.mean():+.3f} ± {se:.3f}; NCR "
        f"{tap[:, 1].mean():.3f} against {base[:, 1].mean():.3f}",
        bool(gap.mean() > 0.03),
        "independent check: F1 0.795 to 0.860 against 0.720 to 0.755",
        _by_draw({"F1, TAP": tap[:, 0], "F1, FedPEM": base[:, 0], "NCR, TAP": tap[:, 1], "NCR, FedPEM": base[:, 1]}),
    )


def _privacy(by_epsilon: Mapping[float, _Scores]) -> Finding:
    f1 = [float(found.mean()) for found in by_epsilon.values()]
    return Finding(
        "More privacy costs heavy hitters.",
        "mean F1 of TAP rises over ε = 1, 2, 4",
        ", ".join(f"ε = {eps:g}: {f:.3f}" for eps, f in zip(EPSILONS, f1, strict=True)),
        f1[0] < f1[1] < f1[2],
        "independent check: 0.50, 0.83, 0.94",
        _by_draw({f"F1, ε = {eps:g}": found for eps, found in by_epsilon.items()}),
    )


def _pruning(tap: _Scores, taps: _Scores) -> Finding:
    gap = taps[:, 0] - tap[:, 0]
    se = float(gap.std(ddof=1) / np.sqrt(len(gap)))
    return Finding(
        "Dropping what earlier parties found infrequent, if the own users agree, helps (TAPS, rule reconstructed).",
        f"the same {len(gap)} draws: mean F1 of TAPS above TAP's by more than 2 standard errors",
        f"difference {gap.mean():+.4f} ± {se:.4f}",
        bool(gap.mean() > 2 * se),
        "independent check: the reconstructed rule was neutral",
        _by_draw({"F1, TAPS": taps[:, 0], "F1, TAP": tap[:, 0]}),
    )


def _by_draw(found: Mapping[str, _Scores]) -> dict[str, list[float]]:
    """Scores ``[seed * draw]`` by name: one list a draw, one number a seed."""
    return {f"{name}, draw {r + 1}": x[r::REPEATS].tolist() for name, x in found.items() for r in range(REPEATS)}


PAPER = Paper(
    slug="ldp-heavy-hitters",
    title="Federated Heavy Hitter Analytics with Local Differential Privacy",
    arxiv="2412.14832",
    year=2024,
    family="information",
    claim="A prefix tree shared in its first levels and adaptive after finds heavy hitters across parties privately.",
    names=(
        "entrokit.information.private.PrefixTreeHeavyHitters",
        "entrokit.information.private.KRR",
        "entrokit.information.private.OUE",
        "entrokit.information.private.OLH",
        "entrokit.information.private.AdaptiveExtension",
        "entrokit.information.private.ConsensusPruning",
    ),
    recipes=(),
    example=(
        "import numpy as np\n"
        "from entrokit.information.private import PrefixTreeHeavyHitters\n"
        "parties = [np.random.default_rng(n).zipf(1.5, n).clip(max=255) for n in (20_000, 5_000)]\n"
        "tree = PrefixTreeHeavyHitters(k=3, bits=8, levels=4, epsilon=2.0).fit(parties)\n"
        "print(tree.items_, tree.frequencies_)"
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.2,
            criterion="over all draws TAP finds 0.03 more of F1 than FedPEM, F1 rises with ε, and TAPS lies above TAP "
            "by more than 2 standard errors",
        ),
    },
)
