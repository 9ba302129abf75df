"""Lion-K: weight decay is a constraint, and K says which; a function that falls while the loss does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from entrokit.optim.lion_k import ConvexK, LionK, LionKMonitor, convex, kkt_gap
from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

DIMENSIONS, STEPS, LR, START = 20, 20_000, 0.02, 5.0
CONSTANT_STEPS = 2_000


@dataclass(frozen=True)
class Member:
    """A K with its weight decay; ``within``: how near its run must come to the optimum, in sup norm."""

    K: str
    weight_decay: float
    within: float
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def convex(self) -> ConvexK:
        return convex(self.K, **self.options)


LION, BALL = Member("l1", 1.0, 1e-3), Member("l2", 0.5, 1e-6)
HUBER = Member("huber", 0.25, 1e-6, {"e": 0.5})
NO_DECAY = Member("l1", 0.0, 1e-3)
BOUNDED = {"Lion": LION, "l2": BALL, "Huber": HUBER}


@dataclass(frozen=True)
class Quadratic:
    """f = ½ xᵀAx − bᵀx, its least value far outside of every bound here."""

    A: Tensor
    b: Tensor

    @classmethod
    def of(cls, seed: int) -> Quadratic:
        generator = torch.Generator().manual_seed(seed)
        root, far = (torch.randn(DIMENSIONS, n, generator=generator, dtype=torch.float64) for n in (DIMENSIONS, 1))
        A = root @ root.T / DIMENSIONS + 0.1 * torch.eye(DIMENSIONS, dtype=torch.float64)
        return cls(A, A @ (5.0 * far[:, 0]))

    def value(self, x: Tensor) -> float:
        return float(0.5 * x @ self.A @ x - self.b @ x)

    def slope(self, x: Tensor) -> Tensor:
        return self.A @ x - self.b

    @property
    def lipschitz(self) -> float:
        return float(torch.linalg.matrix_norm(self.A, 2))

    def optimum(self, project: Callable[[Tensor], Tensor], ridge: float = 0.0) -> Tensor:
        """The least value of f + ridge ‖x‖²/2 on a convex set, by projected gradients."""
        x, size = torch.zeros(DIMENSIONS, dtype=torch.float64), 1.0 / (self.lipschitz + ridge)
        for _ in range(20_000):
            before, x = x, project(x - size * (self.slope(x) + ridge * x))
            if float((x - before).abs().max()) < 1e-15:
                break
        return x


def ball(radius: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x * min(1.0, radius / float(x.norm()))


def box(radius: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x.clamp(-radius, radius)


@dataclass
class Run:
    """Of one seed: the quadratic, the members' parameters ``[STEPS + 1, 20]`` by name, and the optima of theory."""

    f: Quadratic
    paths: dict[str, Tensor]
    optima: dict[str, Tensor]

    def apart(self, name: str, optimum: str) -> float:
        """Sup distance of where a member ended from an optimum."""
        return float((self.paths[name][-1] - self.optima[optimum]).abs().max())


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
                f"{name}, λ = {member.weight_decay:g}", shown, _distances(runs[0].paths[name], member)[shown].tolist()
            )
            for name, member in BOUNDED.items()
        ),
    )


def descend(seeds: Sequence[int]) -> list[Run]:
    """All members from 5·1 on a quadratic a seed, lr falling linearly to 0; by one optimiser, blocks being apart."""
    members = {**BOUNDED, "no decay": NO_DECAY}
    quadratics = [Quadratic.of(seed) for seed in seeds]
    A, b = torch.stack([f.A for f in quadratics]), torch.stack([f.b for f in quadratics])
    # A row of these is a parameter, and its gradient.
    here = torch.full((len(members), len(seeds), DIMENSIONS), START, dtype=torch.float64)
    slopes = torch.empty_like(here)
    groups = []
    for own, slope, one in zip(here, slopes, members.values(), strict=True):
        params = [torch.nn.Parameter(row) for row in own]
        for param, row in zip(params, slope, strict=True):
            param.grad = row
        groups.append({"params": params, "K": one.K, "K_kwargs": one.options, "weight_decay": one.weight_decay})
    optimizer = LionK(groups, lr=LR)
    paths = torch.empty(STEPS + 1, *here.shape, dtype=torch.float64)
    for step in range(STEPS):
        paths[step] = here
        slopes.copy_(torch.einsum("sij,ksj->ksi", A, here) - b)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
    paths[STEPS] = here
    return [
        Run(f, {name: paths[:, k, i] for k, name in enumerate(members)}, _optima(f)) for i, f in enumerate(quadratics)
    ]


def _optima(f: Quadratic) -> dict[str, Tensor]:
    of_huber = box(1 / HUBER.weight_decay)
    return {
        "Lion": f.optimum(box(1 / LION.weight_decay)),
        "l2": f.optimum(ball(1 / BALL.weight_decay)),
        "Huber": f.optimum(of_huber, ridge=0.5 * HUBER.weight_decay),
        "Huber's box alone": f.optimum(of_huber),
    }


def rate(step: int) -> float:
    return LR * (1.0 - step / STEPS)


@dataclass(frozen=True)
class Fall:
    """Loss and Lyapunov value before every step, above the least loss in the box, and what a step may add to either."""

    losses: list[float]
    levels: list[float]
    allowed: list[float]

    def rises(self, course: list[float]) -> int:
        """Steps that raised it by more than the theorem allows."""
        steps = zip(pairwise(course), self.allowed, strict=True)
        return sum(after - before > allowed + 1e-9 for (before, after), allowed in steps)


def fall(seed: int) -> Fall:
    """Lion with λ = 1 and a constant lr, from 0, watched."""
    f = Quadratic.of(seed)
    param = torch.nn.Parameter(torch.zeros(DIMENSIONS, dtype=torch.float64))
    optimizer = LionK([param], LR, weight_decay=LION.weight_decay)
    monitor, lipschitz = LionKMonitor(optimizer), f.lipschitz
    least, allowed = f.value(f.optimum(box(1 / LION.weight_decay))), []
    for _ in range(CONSTANT_STEPS):
        before = param.detach().clone()
        param.grad = f.slope(before)
        monitor.on_step(f.value(before) - least)
        optimizer.step()
        allowed.append(0.5 * lipschitz * float((param.detach() - before).square().sum()))
    losses = [float(record.loss or 0.0) for record in monitor.history]
    return Fall(losses, [loss + one.excess for loss, one in zip(losses, monitor.history, strict=True)], allowed[:-1])


def _distances(path: Tensor, member: Member) -> Tensor:
    """How far each point ``[T, 20]`` of a path is outside, over the bound: ``[T]``."""
    scaled = member.weight_decay * path
    size = scaled.norm(dim=1) if member.K == "l2" else scaled.abs().amax(1)
    return (size - 1.0).clamp(min=0.0)


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
            distance = _distances(run.paths[name], member)
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
