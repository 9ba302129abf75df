"""The law of entropy and reward, ``R = -a e^H + b`` (arXiv 2505.22617, Eq. 6), and the ceiling it predicts.

The paper's box that prints ``-a exp(H + b)`` is a misprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_RESAMPLES = 1000
# Points of a run are alike from step to step: blocks of neighbours are drawn, not single points.
_BLOCKS = 12


@dataclass(frozen=True)
class EntropyRewardLaw:
    """A fitted law: reward falls as ``e^H`` rises, and entropy spent to 0 buys at most ``ceiling``.

    Attributes:
        a: reward bought by one unit of ``e^H``.
        b: intercept.
        r2: share of the variance of the rewards that the law explains, at most 1.
    """

    a: float
    b: float
    r2: float

    @property
    def ceiling(self) -> float:
        """Reward at entropy 0: ``b - a``."""
        return self.b - self.a

    def predict(self, entropy: ArrayLike) -> NDArray[np.float64]:
        """Reward at the given entropies (nats)."""
        return self.b - self.a * np.exp(np.asarray(entropy, dtype=np.float64))


@dataclass(frozen=True)
class LawOfRun:
    """The law of one run, with its uncertainty and what speaks against trusting it.

    Attributes:
        law: fitted to all points.
        ceiling, a: 95 % intervals of the ceiling and of ``a``, by a moving-block bootstrap over the run. Twelve blocks
            are few: simulated on 120 points they cover 93 % with independent noise, and 90 % and 79 % (the ceiling)
            where neighbours correlate by 0.5 and 0.8.
        distance: how far the last tenth's mean reward lies below the ceiling.
        doubts: why the ceiling is not to be trusted; empty if nothing speaks against it.
    """

    law: EntropyRewardLaw
    ceiling: tuple[float, float]
    a: tuple[float, float]
    distance: float
    doubts: tuple[str, ...]

    @property
    def trusted(self) -> bool:
        return not self.doubts


def fit_entropy_reward_law(entropy: Sequence[float], reward: Sequence[float]) -> EntropyRewardLaw:
    """Least-squares fit of the law; linear in ``e^H``.

    Args:
        entropy: mean policy entropy (nats) at each point of a run. reward: mean reward at the same points.

    Raises:
        ValueError: lengths that differ, fewer than three finite points, or entropies that are all equal.
    """
    H, R = _finite(entropy, reward)
    if len(H) < 3 or np.ptp(H) == 0.0:
        raise ValueError(
            f"fit_entropy_reward_law: needs at least three finite points at different entropies, got {len(H)}"
        )
    a, b = _fit(H, R)
    residual = float(np.sum((R - (b - a * np.exp(H))) ** 2))
    total = float(np.sum((R - R.mean()) ** 2))
    return EntropyRewardLaw(a, b, 1.0 - residual / total if total > 0 else 1.0)


def law_of_run(entropy: Sequence[float], reward: Sequence[float], *, seed: int = 0) -> LawOfRun:
    """Fits the law to a run in order of its steps, as far as it has gone, and says how far it can be trusted.

    Args:
        entropy, reward: at the same points, in order of the steps. seed: of the resampling.

    Raises:
        ValueError: as `fit_entropy_reward_law`.
    """
    law = fit_entropy_reward_law(entropy, reward)
    H, R = _finite(entropy, reward)
    block = max(1, len(H) // _BLOCKS)
    starts = np.random.default_rng(seed).integers(len(H) - block + 1, size=(_RESAMPLES, -(-len(H) // block)))
    a, b = _fit_many(H, R, starts, block)
    ceilings, slopes = (_interval(x) for x in (b - a, a))
    last = float(R[-max(1, len(R) // 10) :].mean())
    doubts = []
    if law.a <= 0:
        doubts.append("reward does not fall as entropy rises")
    elif slopes[0] <= 0:
        doubts.append("the interval of a reaches 0")
    if law.r2 < 0.5:
        doubts.append(f"the law explains {max(law.r2, 0.0):.0%} of the reward's variance")
    if np.ptp(np.exp(H)) < 0.1:
        doubts.append(f"entropy has hardly moved ({H.min():.2f} to {H.max():.2f} nats)")
    if len(H) < 20:
        doubts.append(f"{len(H)} points are few")
    if ceilings[1] - ceilings[0] > max(float(np.ptp(R)), 1e-12):
        doubts.append("the ceiling's interval is wider than all that the reward has moved")
    return LawOfRun(law, ceilings, slopes, law.ceiling - last, tuple(doubts))


def law_words(law: LawOfRun) -> str | None:
    """The fitted law as text, ``R = -0.248 e^H + 0.618``; None where it means nothing.

    It means nothing where reward does not fall as entropy rises, or where it explains less than a tenth of the rewards.
    """
    fit = law.law
    if fit.a <= 0.0 or fit.r2 < 0.1:
        return None
    return f"R = -{fit.a:.3g} e^H {'+' if fit.b >= 0 else '-'} {abs(fit.b):.3g}"


def _finite(entropy: Sequence[float], reward: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    H, R = np.asarray(entropy, dtype=np.float64), np.asarray(reward, dtype=np.float64)
    if H.shape != R.shape or H.ndim != 1:
        raise ValueError(f"fit_entropy_reward_law: entropy {H.shape} and reward {R.shape} must be 1-D of one length")
    # Beyond these, e^H or a sum of squares overflows: no entropy and no reward of a run.
    finite = (np.abs(H) < 300.0) & (np.abs(R) < 1e100)
    return H[finite], R[finite]


def _fit(H: NDArray[np.float64], R: NDArray[np.float64]) -> tuple[float, float]:
    design = np.stack([-np.exp(H), np.ones_like(H)], axis=1)
    (a, b), *_ = np.linalg.lstsq(design, R, rcond=None)
    return float(a), float(b)


def _fit_many(
    H: NDArray[np.float64], R: NDArray[np.float64], starts: NDArray[np.int64], block: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fits of samples of ``N`` points at once, each put together from the blocks that begin at its ``starts [S, K]``.

    The last block is cut to fill ``N``. Sums over blocks are differences of running sums, so that neither time nor
    memory grows with ``S * N``. Samples at a single entropy are left out.
    """
    n = len(H)
    x = -np.exp(H)
    mean_x, mean_r = x.mean(), R.mean()
    dx, dr = x - mean_x, R - mean_r
    ends = starts + block
    ends[:, -1] -= starts.shape[1] * block - n

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        running = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray((running[ends] - running[starts]).sum(1))

    of_x, of_r = sums(dx), sums(dr)
    square = sums(dx * dx) - of_x**2 / n
    # What rounding leaves of a sample whose entropies are all equal is no spread.
    usable = square > max(1e-18, 1e-12 * float(np.sum(dx * dx)))
    a = (sums(dx * dr) - of_x * of_r / n)[usable] / square[usable]
    return a, mean_r + of_r[usable] / n - a * (mean_x + of_x[usable] / n)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return float("-inf"), float("inf")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
