"""A mixture of samplers, for events that lie in several places; fitted by expectation and maximisation.

    f(x; v) = Σ_j π_j f_j(x),   r_ij = π_j f_j(x_i) / f(x_i; v)
    π_j ∝ Σ_i w_i r_ij,   f_j = argmax Σ_i w_i r_ij ln f_j(x_i)

(Geyer, Papaioannou and Straub, Cross entropy-based importance sampling using Gaussian densities revisited, 2019.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from .protocol import Sampler, check_sampler, mixed, normalised, parameter, weighted_mean

F = TypeVar("F", bound=Sampler)

_ROUNDS, _STILL = 200, 1e-8
_SAME = 1e-9
_STARTS, _REFINED = 5, 20


@dataclass(frozen=True, eq=False)
class Mixture(Generic[F]):
    """Draws of ``components``, samplers of equal events, with probabilities ``shares`` ``[K]``; all are fitted.

    ``Mixture([law] * K)`` is the law itself, and its first fit finds K groups among the draws. A family whose width is
    fitted may shrink to a single draw; `ShiftedGaussian` does not.

    ``floor``: no share falls below it, from where it could never rise again.
    """

    components: Sequence[F]
    shares: Sequence[float] | Tensor | None = None
    floor: float = 1e-3

    def __post_init__(self) -> None:
        components = tuple(self.components)
        if not components:
            raise ValueError("Mixture.components must be one sampler at least")
        for j, component in enumerate(components):
            check_sampler(f"Mixture.components[{j}]", component)
        if not 0.0 < self.floor < 1.0 / max(2, len(components)):
            raise ValueError(f"Mixture.floor must lie between 0 and 1 / {max(2, len(components))}, got {self.floor}")
        given = [1.0 / len(components)] * len(components) if self.shares is None else self.shares
        shares = parameter("Mixture.shares", given)
        if shares.shape != (len(components),) or not bool((shares >= 0).all()) or not bool(shares.sum() > 0):
            raise ValueError(
                f"Mixture.shares must be {len(components)} numbers, at least 0 each and above 0 in sum, got {given}"
            )
        shares = (shares / shares.sum()).clamp(min=self.floor)
        object.__setattr__(self, "components", components)
        object.__setattr__(self, "shares", shares / shares.sum())

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        which = torch.multinomial(self._shares.to(generator.device), n, replacement=True, generator=generator)
        counts = which.bincount(minlength=len(self.components)).tolist()
        drawn = [own.sample(count, generator) for own, count in zip(self.components, counts, strict=True) if count]
        # Draws stand in the order in which their components were drawn, so that any part of them is a sample.
        return torch.cat(drawn)[which.argsort(stable=True).argsort()]

    def log_prob(self, x: Tensor) -> Tensor:
        return self._joint(x).logsumexp(1)

    def fit(self, x: Tensor, log_weights: Tensor, smoothing: float = 1.0) -> Mixture[F]:
        weights = normalised(log_weights)
        kept = weights > 0
        x, log_weights, weights = x[kept], log_weights[kept], weights[kept]
        each = torch.stack([own.log_prob(x) for own in self.components], 1)
        if bool((each.amax(1) - each.amin(1) <= _SAME).all()):
            shares_of = _groups(x, weights, len(self.components))
        else:
            shares_of = self._joint(x).softmax(1)
        law = self._refitted(x, log_weights, shares_of, 1.0)
        for _ in range(_ROUNDS):
            before, shares_of = shares_of, law._joint(x).softmax(1)
            if float((shares_of - before).abs().max()) < _STILL:
                break
            law = law._refitted(x, log_weights, shares_of, 1.0)
        return law if smoothing == 1.0 else self._refitted(x, log_weights, shares_of, smoothing)

    @property
    def _shares(self) -> Tensor:
        return torch.as_tensor(self.shares)

    def _joint(self, x: Tensor) -> Tensor:
        """ln π_j f_j(x_i) ``[n, K]``."""
        each = torch.stack([own.log_prob(x) for own in self.components], 1)
        return each + self._shares.log().to(each)

    def _refitted(self, x: Tensor, log_weights: Tensor, shares_of: Tensor, smoothing: float) -> Mixture[F]:
        """The maximisation, for draws that belong to components by ``shares_of`` ``[n, K]``."""
        own_weights = log_weights[:, None] + shares_of.log()
        components = [
            own.fit(x, of, smoothing) if bool(of.isfinite().any()) else own
            for own, of in zip(self.components, own_weights.unbind(1), strict=True)
        ]
        shares = weighted_mean(shares_of, normalised(log_weights))
        return Mixture(components, mixed(self._shares.to(shares), shares, smoothing), self.floor)


def _groups(x: Tensor, weights: Tensor, count: int) -> Tensor:
    """Draws in ``count`` groups by k-means, ones and zeros ``[n, K]``: the tightest of some starts, none by chance."""
    flat = x.reshape(len(x), -1).to(weights)
    apart = flat - weighted_mean(flat, weights)
    width = weighted_mean(apart.square(), weights).sqrt()
    flat = apart / torch.where(width > 0, width, 1.0)
    generator = torch.Generator(device=x.device).manual_seed(0)
    best, least = torch.zeros(len(x), dtype=torch.long, device=x.device), torch.inf
    for _ in range(_STARTS):
        nearest, distance = _k_means(flat, weights, count, generator)
        loss = float(weights @ distance)
        if loss < least:
            best, least = nearest, loss
    return torch.nn.functional.one_hot(best, count).to(weights)


def _k_means(flat: Tensor, weights: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The nearest centre of each row ``[n, d]``, and its squared distance; begun as k-means++ (Arthur 2007)."""
    chances = weights
    centres = flat[:0]
    for _ in range(count):
        at = torch.multinomial(chances, 1, generator=generator)
        centres = torch.cat([centres, flat[at]])
        far = weights * torch.cdist(flat, centres).square().amin(1)
        # Fewer different draws than groups: the rest of the centres coincide.
        chances = far if float(far.sum()) > 0 else weights
    for _ in range(_REFINED):
        distance, nearest = torch.cdist(flat, centres).square().min(1)
        mass = torch.zeros(count).to(weights).index_add(0, nearest, weights)
        sums = torch.zeros_like(centres).index_add(0, nearest, weights[:, None] * flat)
        centres = torch.where(mass[:, None] > 0, sums / mass.clamp(min=1e-300)[:, None], centres)
    distance, nearest = torch.cdist(flat, centres).square().min(1)
    return nearest, distance
