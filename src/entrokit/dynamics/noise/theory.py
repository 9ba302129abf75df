"""What the perceptron comes to where noise rules: constants and exponents of its stopping.

Derived from the model of Dissecting the Effects of SGD Noise (arXiv 2301.13703), for αT ≫ 1 and λ = w_1/‖w_⊥‖ ≫ 1.
With u = λ|x_1| a point is unfitted with probability Φ(−u), so that the share n(λ) = c A λ^{−(1+χ)}, with
A = ∫ u^χ Φ(−u) du; unfitted points pull w_⊥ back with c B λ^{−(1+χ)}/√d, B = ∫ u^χ φ(u) du, against the noise that they
are. Training ends where n = 1/P.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class PerceptronTheory:
    """Predictions for points of density ∝ |x_1|^χ e^{−x²/2}, where noise rules.

    Finite P and d lower the exponents that a run shows.

    Raises:
        ValueError: χ ≤ −1, where there is no density.
    """

    chi: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.chi) and self.chi > -1):
            raise ValueError(f"chi must be finite and above -1, got {self.chi}")

    @property
    def density(self) -> float:
        """c: the density of |x_1| is c |x_1|^χ near 0."""
        return 2 / (2 ** ((self.chi + 1) / 2) * math.gamma((self.chi + 1) / 2))

    @property
    def unfitted_integral(self) -> float:
        """A = ∫ u^χ Φ(−u) du, which is E|z|^{χ+1} / (2(χ+1))."""
        return _absolute_moment(self.chi + 1) / (2 * (self.chi + 1))

    @property
    def drift_integral(self) -> float:
        """B = ∫ u^χ φ(u) du."""
        return _absolute_moment(self.chi) / 2

    @property
    def signal_exponent(self) -> float:
        """γ: w_1 ∝ T P^γ at the end, and λ ∝ P^γ."""
        return 1 / (1 + self.chi)

    @property
    def time_exponent(self) -> float:
        """b: t* ∝ T P^b."""
        return (3 + self.chi) / (1 + self.chi)

    @property
    def growth_exponent(self) -> float:
        """w_1 ∝ t to this power, before the end."""
        return 1 / (3 + self.chi)

    @property
    def critical_exponent(self) -> float:
        """a: T_c ∝ P^{−a}, with a = γ/δ and δ = 1."""
        return self.signal_exponent

    def unfitted_share(self, ratio: float) -> float:
        """n(λ) at a ratio λ ≫ 1."""
        return self.density * self.unfitted_integral / math.pow(ratio, 1 + self.chi)

    def stopping_ratio(self, P: float) -> float:
        """λ where one point of P is left."""
        return math.pow(P * self.density * self.unfitted_integral, self.signal_exponent)

    def noise_norm(self, temp: float, d: int) -> float:
        """‖w_⊥‖ where noise and pull balance: T √d (d−1)/d · A/(2B)."""
        return temp * math.sqrt(d) * (d - 1) / d * self.unfitted_integral / (2 * self.drift_integral)


def _absolute_moment(p: float) -> float:
    """E|z|^p of a standard normal z."""
    return 2 ** (p / 2) * math.gamma((p + 1) / 2) / math.sqrt(math.pi)
