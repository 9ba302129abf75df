"""How much of a law samples cover, and how many of them belong to it."""

from __future__ import annotations

import torch
from torch import Tensor

from entrokit.distributions.divergences import entropy
from entrokit.generative.mixtures import GaussianMixture


def mode_shares(x: Tensor, law: GaussianMixture) -> Tensor:
    """Share of samples ``[n, D]`` whose nearest mode is within three standard deviations, a mode each, ``[K]``."""
    distance = torch.cdist(x, law.means) / law.stds
    nearest = distance.min(1)
    inside = nearest.indices[nearest.values <= 3]
    return torch.bincount(inside, minlength=len(law.means)).double() / len(x)


def spread(shares: Tensor) -> float:
    """Entropy of shares ``[K]`` among themselves, nats: log K at most, 0 where all is one's or nothing is anybody's."""
    total = float(shares.sum())
    return float(entropy(shares / total)) if total else 0.0


def precision_recall(generated: Tensor, real: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Share of generated samples within the real ones' k-nearest-neighbour balls, and the other way round.

    Kynkäänniemi et al., arXiv 1904.06991, here of features ``[n, D]`` as they are.
    """
    across = torch.cdist(generated, real)
    real_radius, own_radius = (_radius(x, neighbours) for x in (real, generated))
    return (
        float((across <= real_radius).any(1).double().mean()),
        float((own_radius >= across.T).any(1).double().mean()),
    )


def _radius(x: Tensor, neighbours: int) -> Tensor:
    # The nearest of all is the point itself.
    return torch.cdist(x, x).kthvalue(neighbours + 1).values
