"""Maximum entropy: the law that knows its constraints and nothing else.

Information Theory and Statistical Mechanics Revisited (arXiv 1105.5662; equations from the maximum-entropy literature
that its abstract describes). With reference weights m(x) and required averages F of observables f, in nats:

    p(x) = m(x) exp(-λ·f(x)) / Z,    ∂(-ln Z)/∂λ = <f>,    ∂²(-ln Z)/∂λ∂λ = -Cov f,    S = ln Z + λ·F,    ∂S/∂F = λ

λ minimises the convex dual ln Z + λ·F, by damped Newton steps, in units of each observable's range. There is such a λ
for averages inside the border of what laws can have (its relative interior); on the border only a limit of infinite λ
has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entrokit.extras import missing

from .._arrays import Floats
from .moment_space import BORDER, border_direction, free_directions, in_units_of_range, least_miss

_TOLERANCE, _MOST_STEPS = 1e-10, 100
_BACKTRACK, _ARMIJO, _RIDGE, _ROUNDING = 0.5, 1e-4, 1e-12, 1e-14
# Nats by which a last step may move any log-probability: on the border each step moves some by 1, however small the
# gradient has become. The step is taken, and Newton's error after it is about this squared.
_SETTLED = 1e-6
# On the border a combination of variance 1 over X states has at most 2 sqrt(X) _TOLERANCE left: far less than this.
_SUSPECT = 1e-6
_SHOWN = 5


class InfeasibleError(ValueError):
    """No law with finite multipliers has the required averages.

    The message names those that no law at all can have, and how near one can come; or the combination of them that is
    on the border, and the states that have it.
    """


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
        """Finds λ with ``<f> = targets`` ``[K]``, to 1e-10 of each observable's range; returns it.

        Redundant observables are allowed: λ is then one of many, the law is the only one. What is within 1e-9 of the
        border (of the range) counts as on it.

        Raises:
            InfeasibleError: no law on the allowed states has these averages, or they lie on the border of what one can
                have, where λ is infinite. λ is 0 afterwards.
            ValueError: another number of targets, or one that is not finite.
            ImportError: several observables at or beyond the border, and no scipy to say which of them.
        """
        F = np.asarray(targets, dtype=np.float64)
        if F.shape != self.multipliers.shape or not np.isfinite(F).all():
            raise ValueError(f"MaxEntModel.fit: expected {len(self.multipliers)} finite targets, got {F}")
        self.multipliers = np.zeros_like(self.multipliers)
        g, ranges = in_units_of_range(self.features[self._allowed], F)
        found = self._minimise(g)
        if found is None or self._near_border(g, found):
            self._refuse(F, g, ranges)
        if found is None:
            raise RuntimeError(
                f"MaxEntModel.fit: no convergence in {_MOST_STEPS} Newton steps for {self._list(F)}, which a law can "
                "have; are some observables redundant but for rounding?"
            )
        self.multipliers = found / ranges
        return self.multipliers

    def _law(self, g: Floats, multipliers: Floats) -> tuple[Floats, float]:
        exponent = self._reference[self._allowed] - g @ multipliers
        top = float(exponent.max())
        weights = np.exp(exponent - top)
        total = float(weights.sum())
        return weights / total, top + float(np.log(total))

    def _minimise(self, g: Floats) -> Floats | None:
        """λ in units of the ranges; None if the steps do not settle, as on the border and beyond."""
        multipliers = np.zeros(g.shape[1])
        p, dual = self._law(g, multipliers)
        for _ in range(_MOST_STEPS):
            gradient = -(p @ g)
            centred = g + gradient
            covariance = (centred * p[:, None]).T @ centred
            step = np.linalg.lstsq(covariance + _RIDGE * np.eye(len(covariance)), gradient, rcond=None)[0]
            if np.abs(gradient).max() <= _TOLERANCE and np.abs(centred @ step).max() <= _SETTLED:
                return np.asarray(multipliers - step)
            slope, size, before = float(step @ gradient), 1.0, multipliers
            while True:
                multipliers = before - size * step
                p, reached = self._law(g, multipliers)
                # Near the end the dual falls by less than its own rounding.
                if reached <= dual - _ARMIJO * size * slope + _ROUNDING * max(1.0, abs(dual)) or size < 1e-12:
                    break
                size *= _BACKTRACK
            dual = reached
        return None

    def _near_border(self, g: Floats, multipliers: Floats) -> bool:
        """Whether a combination of the observables has next to no variance left, although it differs between states."""
        p, _ = self._law(g, multipliers)
        centred = g - p @ g
        # Ranges are 1, so a combination of variance 1 has at least 4 / K of squared weights.
        least = float(np.linalg.eigvalsh((centred * p[:, None]).T @ centred)[0]) * 4.0 / g.shape[1]
        if least > _SUSPECT:
            return False
        h = centred @ free_directions(g)
        return bool(h.shape[1]) and float(np.linalg.eigvalsh((h * p[:, None]).T @ h)[0]) < _SUSPECT

    def _refuse(self, F: Floats, g: Floats, ranges: Floats) -> None:
        """Raises, if no law has the averages, or only one on the border."""
        try:
            miss, border = least_miss(g), border_direction(g)
        except ImportError as error:
            raise missing(
                f"MaxEntModel.fit: {self._list(F)} are at or beyond the border of what a law can have; to say which of "
                "them, it",
                ["scipy"],
            ) from error
        if miss.any():
            near = ", ".join(
                f"{self.names[k]} = {F[k] + miss[k] * ranges[k]:.6g} instead of {F[k]:.6g}"
                for k in np.flatnonzero(miss)
            )
            raise InfeasibleError(f"MaxEntModel.fit: no law has {self._list(F)}; the nearest has {near}")
        if border is None:
            return
        left = np.flatnonzero(self._allowed)[g @ border <= BORDER]
        states = ", ".join(map(str, left[:_SHOWN])) + (", …" if len(left) > _SHOWN else "")
        raise InfeasibleError(
            f"MaxEntModel.fit: {self._list(F)} lie on the border of what a law can have, where λ is infinite: "
            f"{self._combination(border, F, ranges)} that it can be, and only {len(left)} of {len(g)} states have that "
            f"({states}). Move the averages inwards, or set log_reference to -inf for the other states"
        )

    def _combination(self, direction: Floats, F: Floats, ranges: Floats) -> str:
        lead = int(np.abs(direction).argmax())
        used = np.flatnonzero(np.abs(direction) > BORDER * abs(direction[lead]))
        weights = direction / ranges * (ranges[lead] / direction[lead])
        terms = " + ".join(f"<{self.names[k]}>" if k == lead else f"{weights[k]:.6g} <{self.names[k]}>" for k in used)
        end = "smallest" if direction[lead] > 0 else "largest"
        return f"{terms.replace('+ -', '- ')} = {float(weights[used] @ F[used]):.6g} is the {end}"

    def _list(self, F: Floats) -> str:
        return ", ".join(f"<{name}> = {value:.6g}" for name, value in zip(self.names, F, strict=True))

    @property
    def _reference(self) -> Floats:
        assert self.log_reference is not None
        return self.log_reference

    @property
    def _allowed(self) -> NDArray[np.bool_]:
        return np.isfinite(self._reference)

    @property
    def _unnormalised(self) -> Floats:
        return np.asarray(self._reference - self.features @ self.multipliers)

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
        """``∂λ/∂F``, ``[K, K]``: minus the inverse of the covariance.

        Redundant observables have none: then a symmetric one of the many R with ``Cov R Cov = -Cov``.

        Raises:
            ValueError: λ is so large that the law has no spread left in float64 along some combination of observables:
                the response is infinite there.
        """
        g, ranges = in_units_of_range(self.features[self._allowed], self.mean)
        free = free_directions(g)
        p = self.prob[self._allowed]
        h = (g - p @ g) @ free
        covariance = (h * p[:, None]).T @ h
        spread = np.linalg.eigvalsh(covariance)
        if len(spread) and not spread[0] > len(spread) * np.finfo(np.float64).eps * spread[-1]:
            raise ValueError(
                "MaxEntModel.response: the law has no spread left along a combination of observables, and the response "
                f"is infinite there; λ = {self.multipliers} is too large"
            )
        return np.asarray(-(free @ np.linalg.inv(covariance) @ free.T) / np.outer(ranges, ranges))
