"""Which right answers training kept, lost and found, and how much variety is left.

The Invisible Leash: Why RLVR May or May Not Escape Its Origin (arXiv 2507.14843). Its Theorem C.6(a) (tilting never
raises entropy) is false as stated; `reward_tilt` and the tests hold what is true (docs/errata.md).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .coverage import Interval

_RESAMPLES = 2000


@dataclass(frozen=True)
class SupportReport:
    """Counts of units (problems, or right answers) by whether they are in the support before and after training.

    Attributes:
        preserved, expanded, shrunk, outside: in both, only after, only before, in neither (the paper's P, E, S, O).
    """

    preserved: int
    expanded: int
    shrunk: int
    outside: int

    @property
    def retention(self) -> float:
        """SRR = P / (P + S); NaN where nothing was in the support before."""
        return _ratio(self.preserved, self.preserved + self.shrunk)

    @property
    def discovery(self) -> float:
        """NDR = E / (P + E); NaN where nothing is in the support after."""
        return _ratio(self.expanded, self.preserved + self.expanded)

    @property
    def dynamics(self) -> float:
        """SDS, the harmonic mean of retention and discovery; 0 where both are 0, NaN where nothing was ever inside."""
        p, e, s = self.preserved, self.expanded, self.shrunk
        return _ratio(2 * p * e, p * p + 2 * p * e + e * s) if p and e else (0.0 if p + e + s else math.nan)

    @property
    def net_change(self) -> float:
        """NSCR = (E - S) / (P + E + S), in [-1, 1]: below 0 more was lost than found."""
        return _ratio(self.expanded - self.shrunk, self.preserved + self.expanded + self.shrunk)


def support_dynamics(base_correct: ArrayLike, new_correct: ArrayLike, *, unit: str = "problem") -> SupportReport:
    """What became of the support, from who was right before and after.

    Args:
        base_correct, new_correct: ``[N]`` bool or counts: whether a problem was solved in any of k attempts, the same k
            before and after; or ``[N, C]``, whether each of C right answers was found.
        unit: ``problem`` counts rows, ``answer`` the entries of ``[N, C]``.

    Raises:
        ValueError: shapes that differ, no problems, or an unknown unit.
    """
    base, new = (np.asarray(x) > 0 for x in (base_correct, new_correct))
    if base.shape != new.shape or base.ndim not in (1, 2) or not base.size:
        raise ValueError(f"support_dynamics: expected two [N] or [N, C] of one shape, got {base.shape} and {new.shape}")
    if unit not in ("problem", "answer"):
        raise ValueError(f"support_dynamics: unit must be 'problem' or 'answer', got {unit!r}")
    if unit == "problem" and base.ndim == 2:
        base, new = np.asarray(base.any(1)), np.asarray(new.any(1))
    return SupportReport(
        int((base & new).sum()), int((~base & new).sum()), int((base & ~new).sum()), int((~base & ~new).sum())
    )


def net_change_interval(base_correct: ArrayLike, new_correct: ArrayLike, *, seed: int = 0) -> Interval:
    """NSCR of problems with its 95 % bootstrap interval over problems; both ``[N]``, as in `support_dynamics`.

    Simulated, it covers 93 to 95 % from 64 problems on, 89 to 93 % with 32, and 65 to 77 % with 16.
    """
    base, new = (np.asarray(x) > 0 for x in (base_correct, new_correct))
    value = support_dynamics(base, new).net_change
    drawn = np.random.default_rng(seed).integers(len(base), size=(_RESAMPLES, len(base)))
    before, after = base[drawn], new[drawn]
    ever = (before | after).sum(1)
    rates = (after.astype(int).sum(1) - before.astype(int).sum(1))[ever > 0] / ever[ever > 0]
    if not len(rates):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(rates, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def empirical_support(probs: ArrayLike, correct: ArrayLike, eps: float) -> NDArray[np.bool_]:
    """Right answers of probability above ``eps``: ``correct & (probs > eps)``."""
    return np.asarray(correct, dtype=bool) & (np.asarray(probs, dtype=np.float64) > eps)


def answer_entropy(answers: Sequence[Hashable]) -> float:
    """Entropy (nats) of the distinct answers among N completions; give completions without one a class of their own.

    Raises:
        ValueError: no answers.
    """
    if not len(answers):
        raise ValueError("answer_entropy: no answers")
    shares = np.array(list(Counter(answers).values()), dtype=np.float64) / len(answers)
    return float(-(shares * np.log(shares)).sum())


def token_entropy(entropy: ArrayLike, mask: ArrayLike) -> float:
    """Mean over each sequence's tokens first, then over sequences, from ``[B, T]``; sequences without tokens left out.

    Raises:
        ValueError: no tokens at all.
    """
    h, m = np.asarray(entropy, dtype=np.float64), np.asarray(mask, dtype=bool)
    count = m.sum(1)
    if not count.any():
        raise ValueError("token_entropy: the mask is empty")
    return float((np.where(m, h, 0.0).sum(1)[count > 0] / count[count > 0]).mean())


def reward_tilt(q: ArrayLike, reward: ArrayLike, beta: float) -> NDArray[np.float64]:
    """``π_β ∝ q exp(β R)``, ``[...,]``: the law nearest to q in KL among those of its reward; zeros of q stay zeros."""
    base, r = np.asarray(q, dtype=np.float64), np.asarray(reward, dtype=np.float64)
    with np.errstate(divide="ignore"):
        z = np.log(base) + beta * r
    p = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(p / p.sum(-1, keepdims=True))


def beta_for_target(q: ArrayLike, reward: ArrayLike, rho: float) -> float:
    """The β at which `reward_tilt` of a 0/1 reward has expected reward ``rho``.

    Raises:
        ValueError: ``rho`` or the base's own expected reward not inside (0, 1).
    """
    mass = float((np.asarray(q, dtype=np.float64) * np.asarray(reward, dtype=np.float64)).sum())
    if not (0.0 < rho < 1.0 and 0.0 < mass < 1.0):
        raise ValueError(f"beta_for_target: rho and the base's mass on right answers must lie in (0, 1): {rho}, {mass}")
    return math.log(rho * (1.0 - mass) / (mass * (1.0 - rho)))


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan
