"""Two mixtures on a line, what may be made of them, and the exact law of each at every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from entrokit.generative.feynman_kac import (
    FKCSampler,
    Particles,
    RewardTilt,
    anneal,
    cfg,
    product,
    reward_tilt,
    time_grid,
)
from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.noising import Noising, VariancePreserving

VP = VariancePreserving()
BINS, LOW, HIGH, END = 60, -6.0, 6.0, 1e-3


def mixture(weights: Sequence[float], means: Sequence[Sequence[float]], stds: Sequence[float]) -> GaussianMixture:
    """In float64."""
    return GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in (weights, means, stds)))


A = mixture([0.3, 0.7], [[-2.0], [2.0]], [0.5, 1.0])
B = mixture([0.6, 0.4], [[-1.0], [3.0]], [0.8, 0.6])


@dataclass(frozen=True)
class Wanted:
    """A combination of known laws of data under a noising process.

    Attributes:
        laws: q_i. exponents: b_i. tilt: a reward. noising: what makes noise of the data.
    """

    laws: tuple[GaussianMixture, ...]
    exponents: tuple[float, ...]
    tilt: RewardTilt | None = None
    noising: Noising = VP

    def log_density(self, x: Tensor, t: float) -> Tensor:
        """At time t, ``[K]``, not normalised, of points ``[K, D]``."""
        total = torch.zeros(len(x), dtype=torch.float64)
        for exponent, law in zip(self.exponents, self.laws, strict=True):
            total = total + exponent * law.noised_by(self.noising, t).log_prob(x)
        return total if self.tilt is None else total + self.tilt.strength(t) * self.tilt.reward(x)

    def log_z(self, t: float) -> float:
        """The log of the integral over a line, in nats."""
        points = torch.linspace(-14, 14, 28001, dtype=torch.float64)
        return float(self.log_density(points[:, None], t).logsumexp(0) + (points[1] - points[0]).log())

    def shares(self, t: float) -> Tensor:
        """Of `BINS` equal bins of [`LOW`, `HIGH`]; what they lack to 1 lies beyond."""
        inside = 200
        points = torch.linspace(LOW, HIGH, BINS * inside + 1, dtype=torch.float64)
        middles = (0.5 * (points[1:] + points[:-1]))[:, None]
        density = (self.log_density(middles, t) - self.log_z(t)).exp()
        return density.reshape(BINS, inside).sum(1) * (points[1] - points[0])

    def sampler(self, resample: str | None = "systematic", c: float = 1.0) -> FKCSampler:
        """With the exact scores."""
        scores = [law.score_under(self.noising) for law in self.laws]
        return FKCSampler(scores, self.exponents, self.noising, c=c, resample=resample, tilt=self.tilt)  # type: ignore[arg-type]


def total_variation(x: Tensor, weights: Tensor, shares: Tensor) -> float:
    """Of points ``[K, 1]`` with weights of sum 1 against exact shares of bins."""
    index = ((x.flatten().double() - LOW) / (HIGH - LOW) * len(shares)).floor().long()
    inside = (index >= 0) & (index < len(shares))
    found = torch.zeros_like(shares).index_add_(0, index[inside], weights[inside].double())
    return 0.5 * float((found - shares).abs().sum() + (found.sum() - shares.sum()).abs())


def liking(x: Tensor) -> Tensor:
    """A reward for the smaller mode of `A`."""
    return -0.25 * (x[:, 0] + 2.0).square()


SHEET = {
    "annealing": Wanted((A,), anneal(2.0)),
    "product": Wanted((A, B), product(2)),
    "guidance": Wanted((A, B), cfg(2.5)),
}
ALL = {**SHEET, "reward": Wanted((A,), anneal(1.0), reward_tilt(liking, 2.0))}


def courses(
    wanted: Wanted, count: int, steps: int, at: Sequence[int], seed: int
) -> tuple[list[float], dict[str, list[float]]]:
    """Times, and total variation at them: corrected, by clocks, by weights alone, and uncorrected."""
    times = time_grid(wanted.noising, steps, END, data_std=0.4)
    shares = [wanted.shares(float(times[i])) for i in at]
    found: dict[str, list[float]] = {}
    for name, resample in (("corrected", "systematic"), ("clocks", "birth_death"), ("weights alone", None)):
        generator = torch.Generator().manual_seed(seed)
        seen: list[Particles] = [
            particles
            for particles in wanted.sampler(resample).run(count, times, (1,), generator=generator)
            if particles.step in at
        ]
        pairs = list(zip(seen, shares, strict=True))
        found[name] = [total_variation(p.x, p.log_weights.softmax(0), exact) for p, exact in pairs]
        if resample is None:
            found["uncorrected"] = [total_variation(p.x, torch.full((count,), 1 / count), exact) for p, exact in pairs]
    return [float(times[i]) for i in at], found
