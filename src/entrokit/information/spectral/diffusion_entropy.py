"""Diffusion spectral entropy and mutual information: how many clusters a layer's points form, noise left out.

Diffusion Spectral Entropy (arXiv 2312.04823, definitions IV.1 and IV.2); all in bits unless ``base`` says otherwise.
With a_i ∝ |λ_i|^t over the eigenvalues of the diffusion operator:

    S_D(X, t) = -Σ a_i log a_i
    I_D(X; Y) = Σ_y n_y/N [mean of S_D over random subsets of n_y points - S_D(X | Y = y)]

The subsets stand for S_D(X): entropy grows with the number of points, and both sides then have equally many.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .categories import categories
from .diffusion_operator import affinity, diffusion_eigenvalues, diffusion_matrix

MAX_SAMPLES = 10_000
# Below, -log p in the gradient is cut off: it diverges at the zeros that coinciding points give.
_LEAST = 1e-12


def spectral_entropy(
    eigenvalues: Tensor, t: float = 1.0, *, base: float = 2.0, weights: Tensor | None = None
) -> Tensor:
    """Entropy of the shares of ``|λ|^t``; 0-dim, between 0 and log of their number.

    Args:
        eigenvalues: ``[M]``. t: diffusion time, above 0. base: of the logarithm.
        weights: ``[M]``, how often each eigenvalue counts; once each by default.

    Raises:
        ValueError: t or base out of range, or no eigenvalue but 0, or one that is not finite: there are no shares then.
    """
    if not t > 0 or not base > 1:
        raise ValueError(f"spectral_entropy: needs t > 0 and base > 1, got t={t}, base={base}")
    power = eigenvalues.abs() ** t
    times = torch.ones_like(power) if weights is None else weights
    total = (times * power).sum()
    if not 0.0 < float(total.detach()) < math.inf:
        raise ValueError(
            f"spectral_entropy: {len(eigenvalues)} eigenvalues whose powers add up to {float(total.detach())} have no "
            "shares; they must be finite, one of them above 0 at least"
        )
    share = power / total
    return -(times * share * share.clamp(min=_LEAST).log()).sum() / math.log(base)


def diffusion_spectral_entropy(
    x: Tensor,
    *,
    sigma: float | str = 10.0,
    t: float = 1.0,
    alpha: float = 0.0,
    max_samples: int = MAX_SAMPLES,
    base: float = 2.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """S_D of points ``[N, D]``: 0-dim float64, 0 to log N; differentiable.

    Args:
        sigma, alpha: as for `diffusion_eigenvalues`. t: diffusion time; larger ones leave out more noise.
        max_samples: of more points, so many are drawn without replacement. Their entropy is not that of all:
            `estimate_diffusion_spectrum` takes all. base: of the logarithm.
        generator: of that draw.

    Raises:
        ValueError: see `diffusion_eigenvalues`.
    """
    chosen = x[_draw(len(x), max_samples, generator)]
    return spectral_entropy(diffusion_eigenvalues(chosen, sigma=sigma, alpha=alpha), t, base=base)


def diffusion_spectral_mutual_information(
    x: Tensor,
    y: Tensor,
    *,
    discrete: bool | None = None,
    n_clusters: int = 10,
    clusters: Tensor | None = None,
    repeats: int = 5,
    sigma: float | str = 10.0,
    t: float = 1.0,
    alpha: float = 0.0,
    max_samples: int = MAX_SAMPLES,
    base: float = 2.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """I_D between points and a reference, and the categories ``[N]`` int64 that the reference was cut into.

    Args:
        x: ``[N, D]``. y: ``[N]`` or ``[N, D']``, made categories as `categories` says, unless ``clusters`` are given.
        discrete, n_clusters: as for `categories`. clusters: what an earlier call returned, while y stays the same.
        repeats: R, random subsets per category. The rest: as for `diffusion_spectral_entropy`.

    Returns:
        0-dim float64, about 0 to log of the number of categories, differentiable; slightly below 0 at times. A category
        of one point, or of all, adds nothing.

    Raises:
        ValueError: lengths that differ, repeats below 1, or a bad point or reference.
    """
    if repeats < 1:
        raise ValueError(f"diffusion_spectral_mutual_information: repeats must be at least 1, got {repeats}")
    labels = categories(y, discrete=discrete, n_clusters=n_clusters) if clusters is None else clusters
    if labels.shape != x.shape[:1]:
        raise ValueError(f"x has {len(x)} points and the reference {len(labels)}; they must be the same samples")
    rows = _draw(len(x), max_samples, generator)
    G = affinity(x[rows], sigma)
    # The generator's device need not be that of the points.
    kept, n = labels.to(G.device)[rows.to(G.device)], len(rows)

    def entropy(chosen: Tensor) -> Tensor:
        K = diffusion_matrix(G[chosen][:, chosen], alpha)
        return spectral_entropy(torch.linalg.eigvalsh(K), t, base=base)

    total = G.new_zeros(())
    for label in torch.unique(kept):
        own = torch.nonzero(kept == label)[:, 0]
        if 1 < len(own) < n:
            random = torch.stack([entropy(_draw(n, len(own), generator).to(G.device)) for _ in range(repeats)]).mean()
            total = total + len(own) / n * (random - entropy(own))
    return total, labels


class DiffusionSpectralEntropyLoss(nn.Module):
    """S_D of a batch as a loss: add it to a model's own to flatten its layer, with a negative weight to spread it.

    Args:
        options: of `diffusion_spectral_entropy`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        """``[B, ...]`` activations, flattened to points; 0-dim in their dtype."""
        return diffusion_spectral_entropy(x.flatten(1), **self.options).to(x.dtype)


def _draw(n: int, at_most: int, generator: torch.Generator | None) -> Tensor:
    if at_most >= n:
        return torch.arange(n)
    device = "cpu" if generator is None else generator.device
    return torch.randperm(n, generator=generator, device=device)[:at_most]
