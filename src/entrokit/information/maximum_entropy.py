"""Maximum entropy: the law that knows its constraints and nothing else.

Information Theory and Statistical Mechanics Revisited (arXiv 1105.5662; equations from the maximum-entropy literature
that its abstract describes). With reference weights m(x) and required averages F of observables f, in nats:

    p(x) = m(x) exp(-λ·f(x)) / Z,    ∂(-ln Z)/∂λ = <f>,    ∂²(-ln Z)/∂λ∂λ = -Cov f,    S = ln Z + λ·F,    ∂S/∂F = λ

λ minimises the convex dual ln Z + λ·F, by damped Newton steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from .pmf import Floats

_TOLERANCE, _MOST_STEPS = 1e-10, 100
_BACKTRACK, _ARMIJO, _RIDGE, _ROUNDING = 0.5, 1e-4, 1e-12, 1e-14
# Of the features' scale: a smaller miss is the solver's rounding.
_BORDER = 1e-9


class InfeasibleError(ValueError):
    """No law has the required averages; the message names which of them, and how near one can come."""


@dataclass
class MaxEntModel:
    """A maximum-entropy law over X states.

    Attributes:
        features: ``[X, K]``, observables of every state. log_reference: ``[X]``, ln m, -inf for states that cannot be;
            uniform by default, not necessarily normalised.
        names: of the observables, for messages. multipliers: λ ``[K]``; 0 before `fit`.
    """

    features: Floats
    log_reference: Floats | None = None
    names: tuple[str, ...] = ()
    multipliers: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.features = np.asarray(self.features, dtype=np.float64)
        if self.features.ndim != 2 or not self.features.size or not np.isfinite(self.features).all():
            raise ValueError(f"MaxEntModel.features: expected finite [X, K], got shape {self.features.shape}")
        states, observables = self.features.shape
        self.names = self.names or tuple(f"f{k}" for k in range(observables))
        reference = np.zeros(states) if self.log_reference is None else np.asarray(self.log_reference, np.float64)
        if reference.shape != (states,) or np.isnan(reference).any() or not np.isfinite(reference).any():
            raise ValueError(
                f"MaxEntModel.log_reference: expected [{states}] with a finite entry, got {reference.shape}"
            )
        if len(self.names) != observables:
            raise ValueError(f"MaxEntModel.names: {len(self.names)} names for {observables} observables")
        self.log_reference = reference
        self.multipliers = np.zeros(observables)

    def fit(self, targets: ArrayLike) -> Floats:
        """Finds λ with ``<f> = targets`` ``[K]``, to 1e-10; returns it.

        On the border of what a law can have, where λ is infinite, it is as large as that precision asks for. Redundant
        observables are allowed: λ is then one of many, the law is the only one.

        Raises:
            InfeasibleError: no law on the allowed states has these averages.
            ValueError: another number of targets, or one that is not finite.
        """
        F = np.asarray(targets, dtype=np.float64)
        if F.shape != self.multipliers.shape or not np.isfinite(F).all():
            raise ValueError(f"MaxEntModel.fit: expected {len(self.multipliers)} finite targets, got {F}")
        self.multipliers = np.zeros_like(self.multipliers)
        dual = self.log_z
        for _ in range(_MOST_STEPS):
            gradient = F - self.mean
            if np.abs(gradient).max() <= _TOLERANCE:
                return self.multipliers
            step, slope = self._newton(gradient)
            size, before = 1.0, self.multipliers
            while True:
                self.multipliers = before - size * step
                reached = self.log_z + float(self.multipliers @ F)
                # Near the end the dual falls by less than its own rounding.
                if reached <= dual - _ARMIJO * size * slope + _ROUNDING * max(1.0, abs(dual)) or size < 1e-12:
                    break
                size *= _BACKTRACK
            dual = reached
        self.multipliers = np.zeros_like(self.multipliers)
        self._explain(F)
        raise InfeasibleError(
            f"MaxEntModel.fit: {self._list(F)} lie on the border of what a law can have, and λ grows without bound: "
            "move them inwards, or take away the states that the border excludes"
        )

    def _newton(self, gradient: Floats) -> tuple[Floats, float]:
        covariance = self.covariance()
        ridge = _RIDGE * max(np.trace(covariance), 1.0) / len(covariance)
        step = np.linalg.lstsq(covariance + ridge * np.eye(len(covariance)), gradient, rcond=None)[0]
        return step, float(step @ gradient)

    def _explain(self, F: Floats) -> None:
        """Raises, if no law has the averages: the least total miss over all laws, by linear programming."""
        try:
            from scipy.optimize import linprog
        except ImportError as error:
            raise ImportError(
                f"MaxEntModel.fit found no law with {self._list(F)}; to say which of them cannot be met it needs "
                "scipy: pip install 'entrokit[information]'"
            ) from error

        f = self.features[np.isfinite(self.log_reference)]  # type: ignore[arg-type]
        scale = np.abs(f).max(0).clip(min=1e-300)
        states, observables = f.shape
        # Variables: the law, and the amounts by which averages are above or below.
        equal = np.hstack([(f / scale).T, -np.eye(observables), np.eye(observables)])
        total = np.hstack([np.ones(states), np.zeros(2 * observables)])
        cost = np.hstack([np.zeros(states), np.ones(2 * observables)])
        found = linprog(cost, A_eq=np.vstack([equal, total]), b_eq=np.hstack([F / scale, 1.0]), method="highs")
        if found.fun <= _BORDER:
            return
        miss = (found.x[states : states + observables] - found.x[states + observables :]) * scale
        missed = [k for k in range(observables) if abs(miss[k]) > _BORDER * scale[k]]
        near = ", ".join(f"{self.names[k]} = {F[k] + miss[k]:.6g} instead of {F[k]:.6g}" for k in missed)
        raise InfeasibleError(f"MaxEntModel.fit: no law has {self._list(F)}; the nearest has {near}")

    def _list(self, F: Floats) -> str:
        return ", ".join(f"<{name}> = {value:.6g}" for name, value in zip(self.names, F, strict=True))

    @property
    def _unnormalised(self) -> Floats:
        assert self.log_reference is not None
        return np.asarray(self.log_reference - self.features @ self.multipliers)

    @property
    def log_z(self) -> float:
        """ln Z; minus the free energy Φ."""
        return float(np.logaddexp.reduce(self._unnormalised))

    @property
    def log_prob(self) -> Floats:
        """``[X]``."""
        return self._unnormalised - self.log_z

    @property
    def prob(self) -> Floats:
        """``[X]``."""
        return np.asarray(np.exp(self.log_prob))

    @property
    def mean(self) -> Floats:
        """``<f>``, ``[K]``."""
        return np.asarray(self.prob @ self.features)

    def covariance(self) -> Floats:
        """Of the observables, ``[K, K]``: minus the second derivatives of Φ."""
        p = self.prob
        centred = self.features - p @ self.features
        return np.asarray((centred * p[:, None]).T @ centred)

    def entropy(self) -> float:
        """``-Σ p ln(p / m)``, in nats, relative to the reference as it is given."""
        return self.log_z + float(self.multipliers @ self.mean)

    def response(self) -> Floats:
        """``∂λ/∂F``, ``[K, K]``: minus the inverse of the covariance (its pseudo-inverse if it has none)."""
        return np.asarray(-np.linalg.pinv(self.covariance(), hermitian=True))
