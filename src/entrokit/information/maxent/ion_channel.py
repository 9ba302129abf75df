"""Models of an ion channel in increasing complexity, from how many ions are in the pore to where each one sits.

Information Theory and Statistical Mechanics Revisited (arXiv 1105.5662). Asking only how many of N labelled,
independent particles are in a pore gives a binomial law, and a Poisson law in the limit: the 1/n! comes of the question
(`pore_count`). With sites, energies and repulsion of neighbours (`IonChannel`), in units of k_B T:

    p(x) ∝ exp(-E(x) + Σ_s μ_s n_s(x)),    E = Σ_i e_{i, x_i} + J · (pairs of occupied neighbours) - φ Σ_i z d_i
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import lgamma

import numpy as np

from .._arrays import Floats
from .model import MaxEntModel

_MOST_STATES = 1_000_000


def pore_count(particles: int, share: float) -> Floats:
    """Law of how many of N independent particles are in a pore that takes ``share`` of the volume, ``[N + 1]``."""
    if particles < 0 or not 0.0 <= share <= 1.0:
        raise ValueError(f"pore_count: needs particles >= 0 and a share in [0, 1], got {particles} and {share}")
    n = np.arange(particles + 1)
    log_choose = np.array([lgamma(particles + 1) - lgamma(k + 1) - lgamma(particles - k + 1) for k in n])
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(n > 0, n * np.log(share), 0.0) + np.where(
            n < particles, (particles - n) * np.log1p(-share), 0.0
        )
    return np.asarray(np.exp(log_choose + terms))


def poisson(mean: float, most: int) -> Floats:
    """The law in the limit of many particles, of 0 to ``most``."""
    n = np.arange(most + 1)
    return np.asarray(np.exp(n * np.log(mean) - mean - np.array([lgamma(k + 1) for k in n])))


@dataclass(frozen=True)
class IonChannel:
    """L sites in a row, each empty or taken by one of S species.

    Attributes:
        energies: ``[L, S]``. coupling: J, of two occupied neighbours. mu: ``[S]``, chemical potentials.
        voltage: φ. charges: ``[S]``. distances: ``[L]``, of every site along the field.
    """

    energies: Floats
    coupling: float
    mu: Floats
    voltage: float = 0.0
    charges: Floats | None = None
    distances: Floats | None = None

    @cached_property
    def _weights(self) -> Floats:
        """Log-weight of every site's state, ``[L, S + 1]``; state 0 is empty."""
        e, mu = np.asarray(self.energies, np.float64), np.asarray(self.mu, np.float64)
        if e.ndim != 2 or mu.shape != e.shape[1:]:
            raise ValueError(f"IonChannel: expected energies [L, S] and mu [S], got {e.shape} and {mu.shape}")
        own = mu - e
        if self.voltage:
            if self.charges is None or self.distances is None:
                raise ValueError("IonChannel: a voltage needs charges [S] and distances [L]")
            own = own + self.voltage * np.outer(self.distances, self.charges)
        return np.pad(own, ((0, 0), (1, 0)))

    def log_xi(self) -> float:
        """ln of the grand partition sum, by transfer matrices: O(L (S + 1)²)."""
        return float(np.logaddexp.reduce(self._counts_free()))

    def _counts_free(self) -> Floats:
        alpha = self._weights[0]
        for site in self._weights[1:]:
            alpha = np.logaddexp.reduce(alpha[:, None] + self._pair + site[None, :], axis=0)
        return np.asarray(alpha)

    @property
    def _pair(self) -> Floats:
        taken = np.arange(self._weights.shape[1]) > 0
        return np.asarray(-self.coupling * np.outer(taken, taken))

    def occupancy(self) -> Floats:
        """Law of how many sites are taken, ``[L + 1]``, by transfer matrices."""
        sites, states = self._weights.shape
        taken = (np.arange(states) > 0).astype(int)
        # By count of taken sites and state of the last.
        alpha = np.full((sites + 1, states), -np.inf)
        for s in range(states):
            alpha[taken[s], s] = self._weights[0, s]
        for site in self._weights[1:]:
            moved = np.full_like(alpha, -np.inf)
            for s in range(states):
                into = np.logaddexp.reduce(alpha + self._pair[:, s], axis=1) + site[s]
                moved[taken[s] :, s] = into[: sites + 1 - taken[s]]
            alpha = moved
        total = np.logaddexp.reduce(alpha, axis=1)
        return np.asarray(np.exp(total - np.logaddexp.reduce(total)))

    def states(self) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Every state, ``[(S + 1)^L, L]``: the species of each site, 0 for none.

        Raises:
            ValueError: more than a million; `log_xi` and `occupancy` need no list.
        """
        sites, species = self._weights.shape
        if species**sites > _MOST_STATES:
            raise ValueError(f"IonChannel: {species}^{sites} states are too many to list")
        return np.array(list(product(range(species), repeat=sites)))

    def model(self) -> MaxEntModel:
        """As a maximum-entropy law over `states`: observables are the numbers of each species, λ is -μ."""
        states = self.states()
        sites, species = self._weights.shape
        counts = np.stack([(states == s).sum(1) for s in range(1, species)], 1).astype(np.float64)
        energy = self._weights[np.arange(sites), states].sum(1) - counts @ np.asarray(self.mu, np.float64)
        pairs = ((states[:, 1:] > 0) & (states[:, :-1] > 0)).sum(1)
        model = MaxEntModel(counts, energy - self.coupling * pairs, tuple(f"n{s}" for s in range(1, species)))
        model.multipliers = -np.asarray(self.mu, np.float64)
        return model

    def pmf(self) -> Floats:
        """Law over `states`."""
        return self.model().prob
