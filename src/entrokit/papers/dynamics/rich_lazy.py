"""Rich or lazy learning by the rank of the initial weights: a theorem on linear nets, and recurrent networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from entrokit.dynamics.laziness import (
    aligned_init_,
    expected_alignment,
    kernel_alignment,
    linear_flow,
    two_layer_kernel,
)
from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._rate_networks import DECISION, MINIATURE, Setting, learn

D, TASKS, SCALE = 30, 20, 1e-3
RANKS = (1, 3, 10, 30)
_STARTS = (*(f"rank {r}" for r in RANKS), "Gaussian")
# The flow ends within this share of its target; an alignment is then right to far more digits than are judged.
_ARRIVED = 1e-5

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Reports = dict[int, list[dict[str, float]]]


def linear(budget: Budget) -> Iterator[Shown]:
    simulated, theory = zip(*(turned(seed) for seed in budget.seeds), strict=True)
    found, expected = np.array(simulated), np.array(theory)
    yield _theorem(found, expected)
    yield _laziest(found)
    yield _aligned(np.array([aligned(seed) for seed in budget.seeds]), found)
    means = found[:, :4].mean(2)
    curve = [1.0 + 29.0 * i / 100 for i in range(101)]
    yield Chart(
        "Tangent kernel of a linear net, end against start",
        "effective rank at the start (bars: range over seeds)",
        "kernel alignment",
        (
            Series("theory", curve, [(1 + 1 / D) * math.sqrt(pr / (D + 3)) for pr in curve]),
            Series(
                "simulated",
                list(RANKS),
                means.mean(0).tolist(),
                marks=True,
                low=means.min(0).tolist(),
                high=means.max(0).tolist(),
            ),
        ),
    )


def turned(seed: int) -> tuple[list[list[float]], list[float]]:
    """Alignments of the kernel after learning with that before, of 20 tasks from each start, and what theory expects.

    Starts are 30 by 30, of norm 1e-3 and with w_2 = 0: four with equal singular values, and a Gaussian one.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    starts = []
    for rank in RANKS:
        U, V = (torch.linalg.qr(normal(D, D))[0] for _ in range(2))
        starts.append(U[:, :rank] @ V[:, :rank].T)
    starts.append(normal(D, D))
    W1 = torch.stack([SCALE * W / W.norm() for W in starts])
    beta = normal(TASKS, D)
    ends = two_layer_kernel(
        *linear_flow(W1[:, None], W1.new_zeros(D), beta / beta.norm(dim=1)[:, None], tolerance=_ARRIVED)
    )
    found = [[kernel_alignment(W.T @ W, M) for M in own] for W, own in zip(W1, ends, strict=True)]
    return found, [expected_alignment(torch.linalg.svdvals(W), D) for W in W1]


def aligned(seed: int) -> tuple[float, float]:
    """Alignment from a start of rank one that points at the task: with w_2 balanced, and with w_2 = 0."""
    generator = torch.Generator().manual_seed(seed)
    beta = torch.randn(D, dtype=torch.float64, generator=generator)
    beta = beta / beta.norm()
    found = []
    for balanced in (True, False):
        W1, w2 = torch.empty(D, D, dtype=torch.float64), torch.empty(D, dtype=torch.float64)
        aligned_init_(W1, w2, beta, SCALE, balanced=balanced, generator=generator)
        end = two_layer_kernel(*linear_flow(W1, w2, beta, tolerance=_ARRIVED))
        found.append(kernel_alignment(two_layer_kernel(W1, w2), end))
    return found[0], found[1]


def _theorem(found: Numbers, theory: Numbers) -> Finding:
    seeds = len(found)
    gap = found - theory[:, :, None]
    means = gap.mean((0, 2))
    errors = gap.transpose(1, 0, 2).reshape(len(_STARTS), -1).std(1, ddof=1) / math.sqrt(seeds * TASKS)
    return Finding(
        "Kernel alignment of a linear net is (1 + 1/d) √PR / √(d + 3), PR the participation ratio it starts with.",
        f"d = N = {D}, scale {SCALE:g}, {TASKS} tasks a seed, ranks 1, 3, 10, 30 and Gaussian: mean simulated minus "
        "theory within 4 standard errors and 0.003",
        "; ".join(
            f"{start}: {own.mean():.4f}, theory {want.mean():.4f}"
            for start, own, want in zip(_STARTS, found.transpose(1, 0, 2), theory.T, strict=True)
        ),
        bool((abs(means) < 4 * errors + 0.003).all()),
        "independent check: .1822, .3116, .5691, .9852; Gaussian .69902 for .69915",
        {
            **{f"simulated, {start}": own for start, own in zip(_STARTS, found.mean(2).T.tolist(), strict=True)},
            **{f"theory, {start}": own for start, own in zip(_STARTS, theory.T.tolist(), strict=True)},
        },
    )


def _laziest(found: Numbers) -> Finding:
    means = found[:, :4].mean(2)
    rises = np.diff(means, axis=1)
    return Finding(
        "At one norm a start of higher rank learns lazier.",
        "mean kernel alignment over tasks rises from rank 1 to 3 to 10 to 30, in every seed",
        f"least rise {rises.min():.3f}; {', '.join(f'{m:.3f}' for m in means.mean(0))}",
        bool((rises > 0).all()),
        "",
        {f"alignment, rank {r}": own for r, own in zip(RANKS, means.T.tolist(), strict=True)},
    )


def _aligned(ends: Numbers, found: Numbers) -> Finding:
    random = found[:, 0].mean(1)
    return Finding(
        "A start of rank one that points at its task is lazy after all.",
        f"every seed: alignment 1 within 1e-6 from a balanced start; 2 / √(d + 3) = {2 / math.sqrt(D + 3):.4f} within "
        "0.001 with w_2 = 0, above the mean from random rank one",
        f"balanced {ends[:, 0].min():.8f} at least; w_2 = 0: {ends[:, 1].mean():.4f}; random {random.mean():.4f}",
        bool(
            (abs(ends[:, 0] - 1) < 1e-6).all()
            and (abs(ends[:, 1] - 2 / math.sqrt(D + 3)) < 1e-3).all()
            and (ends[:, 1] > random).all()
        ),
        "independent check: 1 and .348155",
        {"balanced": ends[:, 0].tolist(), "w_2 = 0": ends[:, 1].tolist(), "random": random.tolist()},
    )


def miniature(budget: Budget) -> Iterator[Shown]:
    reports = _reports(budget, MINIATURE)
    low, high = ([own["weight_change"] for own in reports[r]] for r in (1, 64))
    larger = sum(a > b for a, b in zip(low, high, strict=True))
    ratio = float(np.mean(low) / np.mean(high))
    yield Finding(
        "Recurrent weights of low rank move farther than those of full rank.",
        "64 units, decision at the last step: mean change of weight at rank 1 at least 1.08 times that at rank 64, and "
        "larger in three of four seeds",
        f"{np.mean(low):.3f} against {np.mean(high):.3f}, ratio {ratio:.3f}; larger in {larger} of {len(low)}",
        ratio >= 1.08 and larger >= 0.75 * len(low),
        "independent check: 2.00 against 1.73, larger in four of four",
        _raw(reports),
    )
    yield _moved(reports, MINIATURE)


def decision(budget: Budget) -> Iterator[Shown]:
    reports = _reports(budget, DECISION)
    yield _trend(reports, "weight_change", "Recurrent weights of higher rank move less.", rises=False)
    yield _trend(reports, "representation_alignment", "Representations from weights of higher rank turn less.")
    yield _trend(reports, "kernel_alignment", "Tangent kernels of weights of higher rank turn less.")
    yield _moved(reports, DECISION)
    yield Chart(
        f"Alignment of {DECISION.hidden} recurrent units, end against start",
        "rank of W_rec at the start (bars: range over seeds)",
        "alignment",
        tuple(
            _series(name, reports, key)
            for name, key in (
                ("tangent kernel", "kernel_alignment"),
                ("representation", "representation_alignment"),
                ("representation's signs", "sign_similarity"),
            )
        ),
    )


def _reports(budget: Budget, setting: Setting) -> Reports:
    return {rank: [learn(seed, rank, setting) for seed in budget.seeds] for rank in setting.ranks}


def _trend(reports: Reports, key: str, claim: str, *, rises: bool = True) -> Finding:
    means = [float(np.mean([own[key] for own in reports[rank]])) for rank in DECISION.ranks]
    low, high = ([own[key] for own in reports[rank]] for rank in (DECISION.ranks[0], DECISION.ranks[-1]))
    agree = sum((b > a) == rises for a, b in zip(low, high, strict=True))
    passed = (means[-1] > means[0]) == rises and 3 * agree >= 2 * len(low)
    what = key.replace("_", " ")
    return Finding(
        claim,
        f"{DECISION.hidden} units, {DECISION.iterations} iterations: mean {what} {'rises' if rises else 'falls'} from "
        f"rank 1 to {DECISION.hidden}, and in two of three seeds",
        f"{', '.join(f'rank {r}: {m:.3f}' for r, m in zip(DECISION.ranks, means, strict=True))}; in {agree} of "
        f"{len(low)} seeds",
        passed,
        "paper: in figures alone, after 10 000 iterations",
        _raw(reports, key),
    )


def _raw(reports: Reports, *keys: str) -> dict[str, Sequence[float]]:
    measured = ("weight_change", "representation_alignment", "kernel_alignment")
    return {
        f"{key.replace('_', ' ')}, rank {rank}": [own[key] for own in every]
        for key in (*(keys or measured), "accuracy", "spectral_radius")
        for rank, every in reports.items()
    }


def _moved(reports: Reports, setting: Setting) -> Chart:
    return Chart(
        f"How far {setting.hidden} recurrent units move",
        "rank of W_rec at the start (bars: range over seeds)",
        "‖ΔW‖",
        (_series("change of weight", reports, "weight_change"),),
    )


def _series(name: str, reports: Reports, key: str) -> Series:
    values = [[own[key] for own in every] for every in reports.values()]
    ranks = [str(rank) for rank in reports]
    return Series(
        name, ranks, [float(np.mean(v)) for v in values], True, [min(v) for v in values], [max(v) for v in values]
    )


PAPER = Paper(
    slug="rich-lazy",
    title="How connectivity structure shapes rich and lazy learning in neural circuits",
    arxiv="2310.08513",
    year=2023,
    family="dynamics",
    claim="At one scale, weights of low rank learn richly and those of high rank lazily, unless they fit the task.",
    names=(
        "entrokit.dynamics.laziness.LazinessTracker",
        "entrokit.dynamics.laziness.tangent_kernel",
        "entrokit.dynamics.laziness.kernel_alignment",
        "entrokit.dynamics.laziness.representation_alignment",
        "entrokit.dynamics.laziness.effective_rank",
        "entrokit.dynamics.laziness.low_rank_init_",
        "entrokit.dynamics.laziness.aligned_init_",
        "entrokit.dynamics.laziness.expected_alignment",
        "entrokit.dynamics.laziness.linear_flow",
        "entrokit.dynamics.laziness.RateRNN",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.dynamics.laziness import expected_alignment, low_rank_init_\n"
        "kept = lambda weight: expected_alignment(torch.linalg.svdvals(weight), 64)\n"
        "print([kept(low_rank_init_(torch.empty(64, 64), r)) for r in (1, 8, 64)])  # 1 is lazy"
    ),
    experiments={
        "linear": Experiment(
            linear,
            seeds=8,
            minutes=0.5,
            criterion="simulated alignments of linear nets are those of theory within 4 standard errors and 0.003, "
            "rise with rank in every seed, and are 1 where the start is balanced and points at the task",
        ),
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=2,
            criterion="64 recurrent units: mean change of weight at rank 1 at least 1.08 times that at rank 64, and "
            "larger in three of four seeds",
        ),
        "decision": Experiment(
            decision,
            seeds=3,
            minutes=4,
            criterion="300 recurrent units with the official hyper-parameters but 2000 iterations: from rank 1 to 300 "
            "change of weight falls, representation and kernel alignment rise, in the mean and in two of three seeds",
        ),
    },
)
