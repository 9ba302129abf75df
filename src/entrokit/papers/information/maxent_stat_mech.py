"""Statistical mechanics as inference: responses out of fluctuations alone, far from equilibrium."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from entrokit.information.maxent import ProcessEnsemble, poisson, pore_count
from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

PATHS, PUSH = 200_000, 0.2
# Closed, open, inactivated; every jump across the gate counts, outwards and inwards.
KERNEL = np.array([[0.8, 0.2, 0.0], [0.15, 0.75, 0.1], [0.0, 0.05, 0.95]])
GATE = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
START, STEPS = np.array([1.0, 0.0, 0.0]), 6
_SECOND_ORDER = 0.004


def miniature(budget: Budget) -> Iterator[Shown]:
    pairs = [push(s) for s in budget.seeds]
    excess = [float((np.abs(moved - predicted) - 3 * error).max()) for predicted, moved, error in pairs]
    yield Finding(
        "How a channel's current answers to a push can be read from its fluctuations without one.",
        "200 000 paths without and with a push of 0.2 on the first step; at all six times, every seed: change of "
        "the mean current within 3 standard errors + 0.004 of the prediction from fluctuations",
        f"largest excess over 3 standard errors {max(excess):+.5f}",
        max(excess) <= _SECOND_ORDER,
        raw={"largest excess over 3 standard errors": excess},
    )
    yield _question()
    predicted, moved, error = pairs[0]
    times = list(range(STEPS))
    yield Chart(
        "Answer of the current to a push at step 0, one seed",
        "step",
        "change of the mean current",
        (
            Series("from fluctuations", times, predicted.tolist()),
            Series(
                "measured, ± 3 standard errors",
                times,
                moved.tolist(),
                marks=True,
                low=(moved - 3 * error).tolist(),
                high=(moved + 3 * error).tolist(),
            ),
        ),
    )


def push(seed: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    """Predicted and measured change of the mean current at every step, and its standard error.

    The channel and the push are those of an independent check: the paper, a theory, simulates none.
    """
    rng = np.random.default_rng(seed)
    still = ProcessEnsemble(KERNEL, START, GATE, np.zeros(STEPS))
    pushed = ProcessEnsemble(KERNEL, START, GATE, PUSH * np.eye(STEPS)[0])
    before, after = (_currents(e.sample(PATHS, rng)) for e in (still, pushed))
    # Every path starts in the first state: what the kernel expects of its first step is a number.
    surprise = before[:, 0] - float(KERNEL[0] @ GATE[0])
    products = before * surprise[:, None]
    predicted = PUSH * products.mean(0)
    variance = before.var(0) + after.var(0) + PUSH**2 * products.var(0)
    return predicted, after.mean(0) - before.mean(0), np.sqrt(variance / PATHS)


def _currents(
    paths: np.ndarray[tuple[int, int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return GATE[paths[:, :-1], paths[:, 1:]]


def _question() -> Finding:
    counts, distances = (10, 100, 1000), []
    for particles in counts:
        law, limit = pore_count(particles, 1.5 / particles), poisson(1.5, particles)
        distances.append(0.5 * float(np.abs(law - limit).sum() + 1.0 - limit.sum()))
    return Finding(
        "Asking only how many particles are in the pore, labelled ones obey the law of indistinguishable ones.",
        "total variation of binomial and Poisson laws of mean 1.5 falls at least ninefold for tenfold particles",
        ", ".join(f"{d:.6f}" for d in distances) + " for 10, 100, 1000 particles",
        distances[0] >= 9 * distances[1] and distances[1] >= 9 * distances[2],
        "independent check: 0.041928, 0.003948, 0.000392",
        {"particles": counts, "total variation": distances},
    )


PAPER = Paper(
    slug="maxent-stat-mech",
    title="Information Theory and Statistical Mechanics Revisited",
    arxiv="1105.5662",
    year=2011,
    family="information",
    claim="Equilibrium, distinguishability and fluctuation-dissipation far from it follow from inference alone.",
    names=(
        "entrokit.information.maxent.MaxEntModel",
        "entrokit.information.maxent.IonChannel",
        "entrokit.information.maxent.ProcessEnsemble",
        "entrokit.information.maxent.entropy_production",
    ),
    recipes=(),
    example=(
        "import numpy as np\n"
        "from entrokit.information.maxent import MaxEntModel\n"
        'die = MaxEntModel(np.arange(1.0, 7.0)[:, None], names=("eyes",))\n'
        "multiplier = die.fit([4.5])  # all that is known of it: 4.5 eyes on average\n"
        "print(die.prob, die.entropy(), die.response())"
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.02,
            criterion="in every seed fluctuations tell the answer to a push at all times, within 3 standard errors + "
            "0.004; the law of labelled particles comes ninefold nearer the limit for tenfold particles",
        ),
    },
)
