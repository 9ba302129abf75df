"""Weight of evidence, information value and population stability, with standard errors and tests that hold.

An Information-Theoretic Framework for Credit Risk Modeling (arXiv 2509.09855). Over bins with shares p_g of the good
and p_b of the bad accounts, in nats:

    WoE_j = ln(p_b,j / p_g,j),    IV = Σ_j (p_b,j - p_g,j) WoE_j = KL(b|g) + KL(g|b)

This is Jeffreys' divergence (`entrokit.distributions.jeffreys_divergence`, for tensors), and the population stability
index is the same of a reference and a current sample. Without any difference IV is
not normal but ``IV / (1/n_g + 1/n_b)`` is χ² with B - 1 degrees of freedom: that is the test here. The paper's z-test
rejects 97 % of such cases at 5 %, and its intervals cover 68 % instead of 95 %.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import Floats

STANDARD_ERRORS = ("full", "library", "paper")


@dataclass(frozen=True)
class InformationValue:
    """IV or PSI with its uncertainty.

    Attributes:
        iv: in nats. se: standard error. ci: interval at the asked confidence, cut off at 0.
        chi2, dof, p_value: the test that the two distributions are one. critical: IV at which it rejects.
        contributions: of each bin, ``[B]``. smoothing: what was added to every cell because one was empty, else 0.
    """

    iv: float
    se: float
    ci: tuple[float, float]
    chi2: float
    dof: int
    p_value: float
    critical: float
    contributions: Floats
    smoothing: float

    @property
    def z(self) -> float:
        """IV / SE, the paper's statistic; it is not normal where IV is 0, and no test here uses it."""
        return self.iv / self.se if self.se > 0 else math.inf


def woe(good: ArrayLike, bad: ArrayLike, smoothing: float = 0.0) -> tuple[Floats, Floats]:
    """Weight of evidence for bad, ``[B]`` in nats, and its standard error (the prior log-odds taken as known).

    Args:
        good, bad: counts ``[B]``. smoothing: added to every cell of both, if any is empty.

    Raises:
        ValueError: counts that are not ones, a class without accounts, or an empty cell without smoothing.
    """
    g, b, _ = _counts(good, bad, smoothing, ("good", "bad"))
    return np.log(b / b.sum()) - np.log(g / g.sum()), np.sqrt(1.0 / g + 1.0 / b)


def information_value(
    good: ArrayLike, bad: ArrayLike, se: str = "full", *, alpha: float = 0.05, smoothing: float = 0.0
) -> InformationValue:
    """How well bins tell bad from good.

    Args:
        good, bad, smoothing: as for `woe`.
        se: "full" (multinomial delta method), "library" (fastwoe) or "paper"; the last two are too small.
        alpha: 1 - confidence of the interval, and level of the critical value.

    Raises:
        ValueError: see `woe`; another se, or alpha outside (0, 1).
    """
    return _jeffreys(*_counts(good, bad, smoothing, ("good", "bad")), se, alpha)


def psi(
    reference: ArrayLike,
    current: ArrayLike,
    se: str = "full",
    *,
    alpha: float = 0.05,
    smoothing: float = 0.0,
    reference_fixed: bool = False,
) -> InformationValue:
    """Population stability index of counts per bin, ``[B]`` each; rules of thumb (0.1, 0.25) know no sample size.

    Args:
        reference_fixed: whether the reference's shares are known rather than sampled. Others: as `information_value`.

    Raises:
        ValueError: see `information_value`.
    """
    g, b, added = _counts(reference, current, smoothing, ("reference", "current"))
    return _jeffreys(g, b, added, se, alpha, 0.0 if reference_fixed else 1.0)


def _counts(good: ArrayLike, bad: ArrayLike, smoothing: float, names: tuple[str, str]) -> tuple[Floats, Floats, float]:
    g, b = (np.asarray(x, dtype=np.float64) for x in (good, bad))
    for name, x in zip(names, (g, b), strict=True):
        if x.ndim != 1 or not len(x) or not np.isfinite(x).all() or (x < 0).any():
            raise ValueError(f"{name}: expected counts [B] of at least 0, got shape {x.shape}")
        if not x.any():
            raise ValueError(f"{name}: there are no accounts at all")
    if len(g) != len(b):
        raise ValueError(f"{names[0]} has {len(g)} bins and {names[1]} {len(b)}; they must be the same bins")
    if smoothing < 0:
        raise ValueError(f"smoothing must be at least 0, got {smoothing}")
    empty = np.nonzero((g == 0) | (b == 0))[0]
    if not len(empty):
        return g, b, 0.0
    if not smoothing:
        raise ValueError(
            f"bins {empty.tolist()} are empty on one side, so their evidence is infinite; merge them, or add "
            "smoothing=0.5 to every cell"
        )
    return g + smoothing, b + smoothing, smoothing


def _jeffreys(g: Floats, b: Floats, added: float, se: str, alpha: float, sampled: float = 1.0) -> InformationValue:
    from scipy.stats import chi2, norm

    if se not in STANDARD_ERRORS:
        raise ValueError(f"se must be one of {STANDARD_ERRORS}, got {se!r}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    if se == "paper":
        warnings.warn("se='paper' is about half the standard error; its intervals cover too little", stacklevel=3)
    p, q = g / g.sum(), b / b.sum()
    evidence = np.log(q / p)
    contributions = (q - p) * evidence
    iv, error = float(contributions.sum()), math.sqrt(_variance(g, b, evidence, se, sampled))
    noise, dof = float(sampled / g.sum() + 1.0 / b.sum()), len(g) - 1
    half = float(norm.ppf(1.0 - alpha / 2.0)) * error
    return InformationValue(
        iv,
        error,
        (max(0.0, iv - half), iv + half),
        chi2=iv / noise,
        dof=dof,
        p_value=float(chi2.sf(iv / noise, dof)) if dof else 1.0,
        critical=float(chi2.ppf(1.0 - alpha, dof)) * noise if dof else 0.0,
        contributions=contributions,
        smoothing=added,
    )


def _variance(g: Floats, b: Floats, evidence: Floats, se: str, sampled: float) -> float:
    """``sampled`` is 0 where g's shares are known."""
    p, q = g / g.sum(), b / b.sum()
    if se == "full":
        a, c = evidence + 1.0 - p / q, 1.0 - evidence - q / p
        spread_b = (q * a**2).sum() - (q * a).sum() ** 2
        spread_g = (p * c**2).sum() - (p * c).sum() ** 2
        return float(max(0.0, spread_b / b.sum() + sampled * spread_g / g.sum()))
    held = ((q - p) ** 2 * (sampled / g + 1.0 / b)).sum()
    if se == "paper":
        return float(held)
    return float(held + (evidence**2 * (q * (1.0 - q) / b.sum() + sampled * p * (1.0 - p) / g.sum())).sum())
