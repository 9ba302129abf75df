"""The perceptron whose data are depleted at the boundary, trained exactly and without idle steps.

Dissecting the Effects of SGD Noise (arXiv 2301.13703), its teacher-student model: f = w·x/√d, labels sign(x_1), and
a density ∝ |x_1|^χ e^{−x_1²/2}. A batch of fitted points moves nothing, and late in training nearly all are: the number
of steps until a batch has unfitted points is geometric, and how many it then has is hypergeometric. Both are drawn,
and idle steps are passed over. The law of the trajectory is that of SGD, and the stopping time is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .draws import Booleans, Integers, Reals, distinct, hits
from .loss import check_labels
from .observables import signal_noise

_CHUNK = 256


def depleted_sign(P: int, d: int, chi: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points ``[P, d]`` float64 with density ∝ |x_1|^χ e^{−x²/2}, and their labels sign(x_1) ``[P]``.

    χ = 0 is a Gaussian; the larger χ, the fewer points lie at the boundary. E x_1² = χ + 1.

    Raises:
        ValueError: sizes below 1, or χ ≤ −1, where there is no density.
    """
    if P < 1 or d < 1:
        raise ValueError(f"depleted_sign needs at least one point and one dimension, got P={P}, d={d}")
    if not (math.isfinite(chi) and chi > -1):
        raise ValueError(f"chi must be finite and above -1, got {chi}")
    x = torch.randn(P, d, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 2, (P,), generator=generator).double() * 2 - 1
    # Torch draws no gamma from a generator of one's own.
    seed = int(torch.randint(2**62, (), generator=generator))
    gamma = np.random.default_rng(seed).standard_gamma((chi + 1) / 2, P)
    x[:, 0] = y * torch.from_numpy(np.sqrt(2 * gamma))
    return x, y


@dataclass(frozen=True, eq=False)
class PerceptronRuns:
    """What R runs came to.

    Attributes:
        w: change of the weights ``[R, d]`` float64. steps: SGD's, idle ones counted, ``[R]``. time: η · steps ``[R]``.
        moves: steps that moved the weights ``[R]``. fitted: False where ``max_steps`` came first: the run is censored,
            and its time is a lower bound.
    """

    w: Tensor
    steps: Tensor
    time: Tensor
    moves: Tensor
    fitted: Tensor

    @property
    def signal(self) -> Tensor:
        """w_1 ``[R]``, along the teacher."""
        return self.w[:, 0]

    @property
    def noise(self) -> Tensor:
        """‖w_⊥‖ ``[R]``."""
        teacher = torch.zeros_like(self.w[0])
        teacher[0] = 1.0
        return signal_noise(self.w, torch.zeros_like(self.w), teacher)[1]


def train_perceptrons(
    X: Tensor,
    y: Tensor,
    *,
    alpha: float | Tensor,
    temp: float | Tensor,
    batch_size: int = 2,
    seeds: Sequence[int],
    max_steps: int = 10**8,
) -> PerceptronRuns:
    """SGD on the hinge of margin 1/α until all points are fitted, R runs side by side, in float64 on the CPU.

    η = T B; a batch is drawn without replacement, anew every step. Outputs start at 0. A run does not depend on which
    others are beside it.

    Args:
        X: ``[R, P, d]``. y: ±1, ``[R, P]``. alpha, temp: one number, or one a run ``[R]``.
        seeds: of the batches, one a run; whole batches (B = P) do not depend on them.
        max_steps: from here on a run is censored.

    Raises:
        ValueError: shapes that do not fit, points that are not finite, labels other than ±1, α, T or ``max_steps`` that
            are not positive, a batch larger than P. OverflowError: weights left float64, at a temperature or points
            near its largest number.
    """
    alphas, rates = _checked(X, y, alpha, temp, batch_size, seeds, max_steps)
    runs = _Runs(X, y, 1 / alphas, rates, seeds, batch_size)
    w = np.zeros((len(X), X.shape[2]))
    steps, moves, fitted = (np.zeros(len(X), dtype=np.int64) for _ in range(3))
    while len(runs.alive):
        waited, done = runs.wait()
        # In floating point: a wait can be longer than an int64 holds.
        late = ~done & (runs.steps + waited > max_steps)
        if (gone := done | late).any():
            at = runs.alive[gone]
            w[at], moves[at], fitted[at] = runs.w[gone], runs.moves[gone], done[gone]
            steps[at] = np.where(done, runs.steps, max_steps)[gone]
            runs.keep(~gone)
            waited = waited[~gone]
        runs.move(waited)
    given = [torch.from_numpy(a) for a in (w, steps, steps * rates, moves, fitted.astype(bool))]
    return PerceptronRuns(*given)


class _Runs:
    """The runs that still go on: their points ``[A, P, d]`` with labels multiplied in, weights, clocks and draws."""

    def __init__(self, X: Tensor, y: Tensor, margin: Reals, rates: Reals, seeds: Sequence[int], batch: int) -> None:
        self.points: Reals = (X.double() * y.double()[..., None]).numpy() / math.sqrt(X.shape[2])
        self.margin, self.rates, self.batch = margin[:, None], rates[:, None] / batch, batch
        self.alive = np.arange(len(X))
        self.w = np.zeros((len(X), X.shape[2]))
        self.steps, self.moves = np.zeros(len(X)), np.zeros(len(X), dtype=np.int64)
        self.sources = [np.random.default_rng(seed) for seed in seeds]
        self.table = hits(X.shape[1], batch)
        self.left = 0
        self.draws: Reals = np.empty((len(X), 0, batch + 2))

    def wait(self) -> tuple[Reals, Booleans]:
        """Steps up to and with the next that moves ``[A]``, and which runs have nothing left to fit ``[A]``."""
        with np.errstate(over="ignore", invalid="ignore"):
            reached = (self.points @ self.w[:, :, None])[..., 0]
        if not np.isfinite(reached).all():
            raise OverflowError("train_perceptrons: outputs left float64; lower temp, or scale the points down")
        self.unfitted = reached < self.margin
        self.counts: Integers = self.unfitted.sum(1)
        idle = self.table[self.counts, 0]
        done = self.counts == 0
        with np.errstate(divide="ignore"):
            # log 0 = −∞: with no idle batch, the wait is one step.
            waited = np.ceil(np.log1p(-self._next()[:, 0]) / np.where(done, -1.0, np.log(idle)))
        return np.maximum(waited, 1.0), done

    def move(self, waited: Reals) -> None:
        """The step that moves: how many unfitted points its batch has, which, and their push."""
        if not len(self.alive):
            return
        uniforms = self.draws[:, self.left]
        cumulated = self.table[self.counts]
        idle = cumulated[:, :1]
        hit: Integers = (idle + (1 - idle) * uniforms[:, 1:2] >= cumulated).sum(1)
        hit = np.clip(hit, 1, np.minimum(self.counts, self.batch))
        ranks = distinct(uniforms[:, 2:], self.counts, hit)
        columns, first = np.nonzero(self.unfitted)[1], np.cumsum(self.counts) - self.counts
        meant = np.arange(self.batch) < hit[:, None]
        rows = columns[np.where(meant, first[:, None] + ranks, 0)]
        pushed = self.points[np.arange(len(rows))[:, None], rows]
        self.w += self.rates * (pushed * meant[..., None]).sum(1)
        self.steps += waited
        self.moves += 1

    def keep(self, stay: Booleans) -> None:
        self.sources = [source for source, s in zip(self.sources, stay, strict=True) if s]
        for name in ("points", "margin", "rates", "alive", "w", "steps", "moves", "unfitted", "counts", "draws"):
            setattr(self, name, getattr(self, name)[stay])

    def _next(self) -> Reals:
        self.left += 1
        if self.left >= self.draws.shape[1]:
            self.draws = np.stack([source.random((_CHUNK, self.batch + 2)) for source in self.sources])
            self.left = 0
        return self.draws[:, self.left]


def _checked(
    X: Tensor,
    y: Tensor,
    alpha: float | Tensor,
    temp: float | Tensor,
    batch_size: int,
    seeds: Sequence[int],
    max_steps: int,
) -> tuple[Reals, Reals]:
    if X.dim() != 3 or y.shape != X.shape[:2] or not X.numel():
        raise ValueError(f"train_perceptrons needs X [R, P, d] and y [R, P], got {list(X.shape)} and {list(y.shape)}")
    if not bool(torch.isfinite(X).all()):
        raise ValueError("X holds NaN or inf; leave those points out")
    check_labels(y)
    if len(seeds) != len(X):
        raise ValueError(f"{len(X)} runs need as many seeds, got {len(seeds)}")
    if not 1 <= batch_size <= X.shape[1]:
        raise ValueError(f"batch_size must be 1 to P = {X.shape[1]}, got {batch_size}")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    found = []
    for name, value in (("alpha", alpha), ("temp", temp)):
        each = torch.as_tensor(value, dtype=torch.float64)
        if each.dim() and each.shape != X.shape[:1]:
            raise ValueError(f"{name} is one number or one a run [{len(X)}], got {list(each.shape)}")
        if not bool((torch.isfinite(each) & (each > 0)).all()):
            raise ValueError(f"{name} must be positive and finite, got {value}")
        found.append(each.expand(len(X)).numpy().copy())
    with np.errstate(over="ignore"):  # `_Runs.wait` says so
        return found[0], found[1] * batch_size
