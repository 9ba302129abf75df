"""The law of entropy and reward, ``R = -a e^H + b`` (arXiv 2505.22617, Eq. 6), and the ceiling it predicts.

The paper's box that prints ``-a exp(H + b)`` is a misprint (sheet).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


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


def fit_entropy_reward_law(entropy: Sequence[float], reward: Sequence[float]) -> EntropyRewardLaw:
    """Least-squares fit of the law; linear in ``e^H``.

    Args:
        entropy: mean policy entropy (nats) at each point of a run. reward: mean reward at the same points.

    Raises:
        ValueError: lengths that differ, fewer than three finite points, or entropies that are all equal.
    """
    H, R = np.asarray(entropy, dtype=np.float64), np.asarray(reward, dtype=np.float64)
    if H.shape != R.shape or H.ndim != 1:
        raise ValueError(f"fit_entropy_reward_law: entropy {H.shape} and reward {R.shape} must be 1-D of one length")
    finite = np.isfinite(H) & np.isfinite(R)
    H, R = H[finite], R[finite]
    if len(H) < 3 or np.ptp(H) == 0.0:
        raise ValueError(
            f"fit_entropy_reward_law: needs at least three finite points at different entropies, got {len(H)}"
        )
    design = np.stack([-np.exp(H), np.ones_like(H)], axis=1)
    (a, b), *_ = np.linalg.lstsq(design, R, rcond=None)
    residual = float(np.sum((R - design @ np.array([a, b])) ** 2))
    total = float(np.sum((R - R.mean()) ** 2))
    return EntropyRewardLaw(float(a), float(b), 1.0 - residual / total if total > 0 else 1.0)
