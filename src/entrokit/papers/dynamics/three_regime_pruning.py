"""Three regimes of pruning: connected or not, alike or not, and which way to turn the temperature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from entrokit.dynamics.pruning import RegimeDiagram
from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._three_regime_digits import RETRAIN_EPOCHS, probes
from ._three_regime_grid import DENSITIES, EPOCHS, TEST_ERROR, Grid, lmc_or_floor, rank_correlation

DENSE, SPARSE = 0.5, 0.02
# Of the diagram on digits: checkpoints of one dense run, and shorter retraining than in the miniature.
TEMPS, LOADS, COPIES, RETRAIN = (3, 10, 20, 40), (0.02, 0.05, 0.1, 0.5), 2, 15
_NAMES = {
    "I": "I: a barrier",
    "II": "II: connected",
    "II-A": "II-A: connected, unlike",
    "II-B": "II-B: connected, alike",
}


def miniature(budget: Budget) -> Iterator[Shown]:
    runs = [probes(seed, (40,), (SPARSE, DENSE), 2, RETRAIN_EPOCHS)[0] for seed in budget.seeds]
    lmc, cka = (
        {density: np.array([run[i][0].means()[name] for run in runs]) for i, density in enumerate((SPARSE, DENSE))}
        for name in ("lmc", "cka")
    )
    yield Finding(
        "Copies retrained from a mildly pruned network are connected and alike; from a sparse one they are neither.",
        "batch-normed MLP on digits, every seed: at density 0.5 LMC > -0.05 and CKA > 0.99, at density 0.02 "
        "LMC < -0.08 and CKA < 0.97",
        "; ".join(
            f"density {d}: LMC {lmc[d].mean():.3f} ({lmc[d].min():.3f} to {lmc[d].max():.3f}), CKA {cka[d].mean():.3f} "
            f"({cka[d].min():.3f} to {cka[d].max():.3f})"
            for d in (DENSE, SPARSE)
        ),
        bool(
            (lmc[DENSE] > -0.05).all()
            and (cka[DENSE] > 0.99).all()
            and (lmc[SPARSE] < -0.08).all()
            and (cka[SPARSE] < 0.97).all()
        ),
        "independent check, 2 seeds: LMC -0.004 and -0.001, CKA 0.999; LMC -0.347 and -0.119, CKA 0.889 and 0.936",
        {f"{name}, density {d}": by[d].tolist() for name, by in (("LMC", lmc), ("CKA", cka)) for d in (DENSE, SPARSE)},
    )
    yield Chart(
        "Two copies retrained from one pruned network, a seed each",
        "linear mode connectivity",
        "CKA of softmax outputs",
        tuple(Series(f"density {d}", lmc[d].tolist(), cka[d].tolist(), marks=True) for d in (DENSE, SPARSE)),
        x_line=-0.1,
    )


def published(budget: Budget) -> Iterator[Shown]:
    diagram = RegimeDiagram(EPOCHS, DENSITIES, lmc_or_floor())
    yield _hotter(diagram, TEST_ERROR, "published heat maps, ResNet-20 on CIFAR-10")
    yield _transition(EPOCHS[3:], DENSITIES, TEST_ERROR[3:], "published heat maps, 40 to 160 epochs")
    yield chart(diagram, "Regimes of ResNet-20 on CIFAR-10, the published grid")


def diagram_on_digits(budget: Budget) -> Iterator[Shown]:
    runs = [probes(seed, TEMPS, LOADS, COPIES, RETRAIN) for seed in budget.seeds]
    lmc, cka = (
        np.mean([[[probe.means()[name] for probe, _ in row] for row in run] for run in runs], 0)
        for name in ("lmc", "cka")
    )
    error = np.mean([[[e for _, e in row] for row in run] for run in runs], 0)
    diagram = RegimeDiagram(TEMPS, LOADS, lmc, cka)
    labels = np.array(diagram.labels())
    yield Finding(
        "Regime I is a matter of low density.",
        "MLP on digits, means over seeds: the lowest density is in regime I after the longest dense training, and the "
        "highest in none of the rows",
        "cells in regime I by density: "
        + ", ".join(f"{d}: {n}" for d, n in zip(LOADS, (labels == "I").sum(0), strict=True)),
        bool(labels[-1, 0] == "I" and (labels[:, -1] != "I").all()),
        "published grid: all 42 cells of regime I have densities up to 10 %",
        {f"LMC after {t} epochs, by density": row.tolist() for t, row in zip(TEMPS, lmc, strict=True)},
    )
    yield _hotter(diagram, error, "MLP on digits, means over seeds")
    yield _transition(TEMPS, LOADS, error, "MLP on digits, means over seeds")
    yield chart(diagram, "Regimes of an MLP on digits")
    yield Chart(
        "Test error of pruned and retrained networks on digits",
        "epochs of dense training",
        "error (%)",
        tuple(
            Series(f"density {d}", [str(t) for t in TEMPS], (100 * column).tolist())
            for d, column in zip(LOADS, error.T, strict=True)
        ),
    )


def chart(diagram: RegimeDiagram, title: str) -> Chart:
    """The diagram as a picture: a point for every cell, a series for every regime; hotter is lower."""
    labels = diagram.labels()
    cells = [
        (label, f"{100 * density:g} %", temp, f"LMC {diagram.lmc[i, j]:.3f}")
        for j, density in enumerate(diagram.densities)
        for i, temp in enumerate(diagram.temps)
        if (label := labels[i][j])
    ]
    present = dict.fromkeys(label for label, *_ in cells)  # from the lowest density on, so that the axis is in order
    return Chart(
        title,
        "density of the pruned network",
        "epochs of dense training (fewer: hotter)",
        tuple(
            Series(
                _NAMES[label],
                [x for own, x, _, _ in cells if own == label],
                [y for own, _, y, _ in cells if own == label],
                marks=True,
                hints=[hint for own, _, _, hint in cells if own == label],
            )
            for label in present
        ),
    )


def _hotter(diagram: RegimeDiagram, error: Grid, where: str) -> Finding:
    """Rows are from hot to cold."""
    cells = [(i, j) for i, row in enumerate(diagram.labels()) for j, label in enumerate(row) if label == "I"]
    gains = [float(error[i, j] - error[:i, j].min()) if i else 0.0 for i, j in cells]
    better = sum(gain > 0 for gain in gains)
    return Finding(
        "In regime I a hotter dense training gives a better pruned network.",
        f"{where}: there are cells in regime I, and for at least 85 % of them some hotter row of the same density has "
        "a smaller test error",
        f"{better} of {len(cells)} cells",
        bool(cells and better >= 0.85 * len(cells)),
        "published heat maps: 37 of 42",
        {"error above that of the best hotter row, by cell of regime I": gains or [0.0]},
    )


def _transition(temps: Sequence[float], densities: Sequence[float], error: Grid, where: str) -> Finding:
    rho = [rank_correlation(temps, column) for column in error.T.tolist()]
    return Finding(
        "Longer dense training makes a sparse pruned network worse and a dense one better.",
        f"{where}: Spearman's correlation of epochs and test error is at least 0.7 at the lowest density and at most "
        "-0.5 at the highest",
        ", ".join(f"{d}: {r:+.2f}" for d, r in zip(densities, rho, strict=True)),
        bool(rho[0] >= 0.7 and rho[-1] <= -0.5),
        "published heat maps: 0.88 at 5 %, -0.78 at 80 %, 0.05 at 14 %",
        {"Spearman's correlation, by density": rho},
    )


PAPER = Paper(
    slug="three-regime-pruning",
    title="A Three-regime Model of Network Pruning",
    arxiv="2305.18383",
    year=2023,
    family="dynamics",
    claim="Connectivity and similarity of retrained copies say whether dense training should be hotter or colder.",
    names=(
        "entrokit.dynamics.pruning.linear_mode_connectivity",
        "entrokit.dynamics.pruning.linear_cka",
        "entrokit.dynamics.pruning.prune_magnitude",
        "entrokit.dynamics.pruning.probe_pruning",
        "entrokit.dynamics.pruning.classify_regime",
        "entrokit.dynamics.pruning.RegimeDiagram",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.dynamics.pruning import classify_regime, linear_cka\n"
        "copy, other, change = torch.randn(3, 200, 10)  # what retrained copies say\n"
        "unlike, alike = linear_cka(copy, other), linear_cka(copy, copy + 0.001 * change)\n"
        "print([classify_regime(*at) for at in ((-0.3, unlike), (0.0, unlike), (0.0, alike))])"
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=2.5,
            criterion="in every seed copies of a network on digits are connected and alike at density 0.5 (LMC > "
            "-0.05, CKA > 0.99), and neither at 0.02 (LMC < -0.08, CKA < 0.97)",
            needs=("information",),
        ),
        "published": Experiment(
            published,
            seeds=2,
            minutes=0.1,
            criterion="on the published grid a hotter row is better for 85 % of the cells of regime I, and the effect "
            "of longer dense training turns its sign between low and high density; seeds play no part",
        ),
        "digits": Experiment(
            diagram_on_digits,
            seeds=3,
            minutes=2.0,
            criterion="the same on a grid of our own on digits, where regime I must be a matter of low density",
            needs=("information",),
        ),
    },
)
