"""Lion-K: weight decay is a constraint, and K says which; a function that falls while the loss does not."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from entrokit.optim.lion_k import kkt_gap
from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._quadratics import BOUNDED, CONSTANT_STEPS, HUBER, STEPS, Fall, Run, descend, distances, fall, rate


def miniature(budget: Budget) -> Iterator[Shown]:
    runs = descend(budget.seeds)
    yield _constrained(runs)
    yield _regularised(runs)
    yield _without_decay(runs)
    yield _feasible(runs)
    yield _stationary(runs)
    falls = [fall(seed) for seed in budget.seeds]
    yield _lyapunov(falls)
    steps = list(range(0, CONSTANT_STEPS, 5))
    first = falls[0]
    yield Chart(
        "Lion on a quadratic in a box, lr 0.02, from 0",
        "step",
        "above the least value in the box",
        (
            Series("loss", steps, [first.losses[s] for s in steps]),
            Series("Lyapunov value", steps, [first.levels[s] for s in steps]),
        ),
    )
    shown = list(range(0, 600, 5))
    yield Chart(
        "Distance to the feasible set, seed 0",
        "step",
        "beyond the bound, relative to it",
        tuple(
            Series(
                f"{name}, λ = {member.weight_decay:g}", shown, distances(runs[0].paths[name], member)[shown].tolist()
            )
            for name, member in BOUNDED.items()
        ),
    )


def _constrained(runs: list[Run]) -> Finding:
    apart = {name: [run.apart(name, name) for run in runs] for name in ("Lion", "l2")}
    on_bound = [float((run.paths["Lion"][-1].abs() > 1.0 - 1e-3).double().mean()) for run in runs]
    return Finding(
        "With weight decay λ, Lion minimises f subject to ‖x‖_∞ ≤ 1/λ, and with K = ‖·‖_2 subject to ‖x‖_2 ≤ 1/λ.",
        "20 dimensions, 20 000 steps, every seed, in sup norm: Lion (λ = 1) ends within 1e-3 of the solution by "
        "projected gradients, l2 (λ = 0.5) within 1e-6",
        f"Lion {max(apart['Lion']):.1e} away at most, {sum(on_bound) / len(on_bound):.0%} of coordinates on the bound; "
        f"l2 {max(apart['l2']):.1e}",
        all(max(apart[name]) < BOUNDED[name].within for name in apart),
        "independent check: 1.3e-5, 65 % on the bound; l2 below 1e-6",
        {**{f"{name}, distance": own for name, own in apart.items()}, "share on the bound": on_bound},
    )


def _regularised(runs: list[Run]) -> Finding:
    apart = [run.apart("Huber", "Huber") for run in runs]
    from_box = [run.apart("Huber", "Huber's box alone") for run in runs]
    return Finding(
        "Where K* is more than a constraint, it is minimised too: f + (eλ/2)‖x‖² in the box for Huber's K.",
        "λ = 0.25, e = 0.5, every seed: within 1e-6 of that minimiser, at least 0.1 from the one of f alone in the box",
        f"{max(apart):.1e} away at most, {min(from_box):.2f} at least from the box alone",
        max(apart) < HUBER.within and min(from_box) >= 0.1,
        "independent check: below 1e-6",
        {"distance": apart, "distance from the box alone": from_box},
    )


def _without_decay(runs: list[Run]) -> Finding:
    apart = {name: [run.apart("no decay", name) for run in runs] for name in BOUNDED}
    least = min(min(own) for own in apart.values())
    return Finding(
        "It is the decay that bounds: without it Lion ends elsewhere.",
        "λ = 0, every seed: more than 0.1 from all three solutions",
        f"{least:.2f} away at least",
        least > 0.1,
        raw={f"distance from {name}": own for name, own in apart.items()},
    )


def _feasible(runs: list[Run]) -> Finding:
    worst: dict[str, list[float]] = {}
    rates = torch.tensor([rate(step) for step in range(STEPS)], dtype=torch.float64)
    for name, member in BOUNDED.items():
        worst[name] = []
        for run in runs:
            distance = distances(run.paths[name], member)
            beyond = distance[1:] - (1.0 - rates * member.weight_decay) * distance[:-1]
            worst[name].append(float(beyond.max()))
    return Finding(
        "The feasible set is reached at a linear rate.",
        "every step of every run: the distance to it falls by the factor 1 − ελ at least, to 1e-12",
        f"largest excess {max(max(own) for own in worst.values()):.1e}",
        max(max(own) for own in worst.values()) <= 1e-12,
        raw={f"{name}, largest excess": own for name, own in worst.items()},
    )


def _stationary(runs: list[Run]) -> Finding:
    gaps: dict[str, list[float]] = {}
    for name, member in BOUNDED.items():
        ends = [(run.paths[name][-1], run.f) for run in runs]
        gaps[name] = [kkt_gap(x, f.slope(x), member.convex, member.weight_decay) for x, f in ends]
    every = [gap for own in gaps.values() for gap in own]
    return Finding(
        "Where it ends is stationary: K(−∇f) + K*(λx) + λ⟨x, ∇f⟩ is 0 there.",
        "every seed of Lion, l2 and Huber: at the end the gap is not below 0 (−1e-9 for rounding), and below 1e-2",
        ", ".join(f"{name} {max(own):.1e}" for name, own in gaps.items()) + " at most",
        min(every) >= -1e-9 and max(every) < 1e-2,
        raw=gaps,
    )


def _lyapunov(falls: list[Fall]) -> Finding:
    levels, losses = ([one.rises(getattr(one, name)) for one in falls] for name in ("levels", "losses"))
    return Finding(
        "Inside the feasible set a Lyapunov value falls although the loss may rise.",
        f"Lion, λ = 1, lr 0.02, {CONSTANT_STEPS} steps from 0, every seed: no step raises the value by more than "
        "L‖Δx‖²/2 (what the discrete theorem allows), and some steps raise the loss by more",
        f"steps that raise the value by more: {max(levels)} at most; the loss: {min(losses)} to {max(losses)}",
        max(levels) == 0 and min(losses) > 0,
        raw={"steps that raise the value": levels, "steps that raise the loss": losses},
    )


PAPER = Paper(
    slug="lion-k",
    title="Lion Secretly Solves Constrained Optimization: As Lyapunov Predicts",
    arxiv="2310.05898",
    year=2023,
    family="optim",
    claim="Lion with weight decay λ minimises f subject to ‖x‖_∞ ≤ 1/λ; another convex K, f + K*(λx)/λ.",
    names=(
        "entrokit.optim.lion_k.LionK",
        "entrokit.optim.lion_k.convex",
        "entrokit.optim.lion_k.lionk_lyapunov",
        "entrokit.optim.lion_k.kkt_gap",
        "entrokit.optim.lion_k.feasibility",
        "entrokit.optim.lion_k.LionKMonitor",
        "entrokit.optim.lion_k.lionk_callback",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.optim.lion_k import LionK\n"
        "lion = LionK([x := torch.zeros(2, requires_grad=True)], lr=0.01, weight_decay=2.0)\n"
        "x.grad = torch.tensor([1.0, -0.001])  # of a linear loss, which has no minimum\n"
        "print([lion.step() or x.tolist() for _ in range(400)][::100])  # bound: 1 / 2"
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=1.0,
            criterion="on quadratics in every seed Lion, l2 and Huber end at the optima that theory names, and without "
            "decay elsewhere; distance to the feasible set, KKT gap and Lyapunov value do what theorems say",
        ),
    },
)
