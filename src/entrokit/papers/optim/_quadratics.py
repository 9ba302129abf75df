"""Quadratics that Lion-K descends, in the box, in the ball and without a bound, and the optima that theory names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from entrokit.optim.lion_k import ConvexK, LionK, LionKMonitor, convex

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


def distances(path: Tensor, member: Member) -> Tensor:
    """How far each point ``[T, 20]`` of a path is outside, over the bound: ``[T]``."""
    scaled = member.weight_decay * path
    size = scaled.norm(dim=1) if member.K == "l2" else scaled.abs().amax(1)
    return (size - 1.0).clamp(min=0.0)
