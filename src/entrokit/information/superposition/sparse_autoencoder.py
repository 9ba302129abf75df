"""A sparse autoencoder with tied weights, as small as the measure of superposition needs it.

Superposition as Lossy Compression (arXiv 2512.13568, equations 3 to 5):

    z = ReLU(W x + b),    x' = Wᵀ z,    L = |x - x'|² + λ |z|₁, summed over coordinates, averaged over samples

The released code averages both over coordinates (``reduction="mean"``), which is λ N/D: it finds two to three times
the features that toy models have.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_POOR = 0.1


class TiedSparseAutoencoder(nn.Module):
    """W and b; no bias of the decoder, and no renormalisation.

    Args:
        n_neurons: N, of the activations. n_features: D, of the dictionary.
    """

    def __init__(self, n_neurons: int, n_features: int) -> None:
        super().__init__()
        if n_neurons < 1 or n_features < 1:
            raise ValueError(f"TiedSparseAutoencoder: sizes must be at least 1, got {n_neurons} and {n_features}")
        self.weight = nn.Parameter(torch.empty(n_features, n_neurons))
        self.bias = nn.Parameter(torch.zeros(n_features))
        nn.init.xavier_uniform_(self.weight)

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``[..., D]`` of activations ``[..., N]``."""
        return torch.relu(nn.functional.linear(x, self.weight, self.bias))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes ``[..., D]`` and the reconstruction ``[..., N]``."""
        z = self.encode(x)
        return z, z @ self.weight


def sparse_autoencoder_loss(x: Tensor, z: Tensor, x_hat: Tensor, l1: float, reduction: str = "sum") -> Tensor:
    """Equation 5, 0-dim.

    Args:
        x, x_hat: ``[B, N]``. z: ``[B, D]``. l1: λ. reduction: over coordinates, "sum" (paper) or "mean" (code).
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"sparse_autoencoder_loss: reduction must be 'sum' or 'mean', got {reduction!r}")
    error, size = (x - x_hat).square(), z.abs()
    if reduction == "mean":
        return error.mean() + l1 * size.mean()
    return error.sum(-1).mean() + l1 * size.sum(-1).mean()


@dataclass(frozen=True)
class SparseAutoencoderFit:
    """A trained autoencoder.

    Attributes:
        model: at its best epoch. scale: by which activations are divided before it. losses: of every epoch.
        fvu: fraction of variance unexplained, on what it was trained on; F of one above 0.1 means little.
    """

    model: TiedSparseAutoencoder
    scale: float
    losses: tuple[float, ...]
    fvu: float

    @torch.no_grad()
    def encode(self, activations: Tensor) -> Tensor:
        """Codes ``[..., D]`` of activations ``[..., N]``, detached."""
        return self.model.encode(activations / self.scale)


def fit_sae(
    acts: Tensor,
    expansion: float = 4,
    l1: float = 0.1,
    reduction: str = "sum",
    lr: float = 1e-3,
    batch_size: int = 128,
    max_epochs: int = 800,
    patience: int = 10,
    *,
    max_samples: int = 10_000,
    normalize: str | None = None,
    generator: torch.Generator | None = None,
) -> SparseAutoencoderFit:
    """Trains an autoencoder with Adam until its loss has not fallen for ``patience`` epochs.

    Args:
        acts: ``[S, N]``; of a convolution ``[B, C, H, W]`` give ``acts.movedim(1, -1).flatten(0, 2)``.
        expansion: D / N. l1, reduction: of the loss. λ is not free of scale: F compares only at equal activations'
            scale, λ and D.
        max_samples: of more, so many are drawn. normalize: None (paper), or divide by "std" or "rms" of all entries.
        generator: of the draws and the weights.

    Raises:
        ValueError: a bad shape, an entry that is not finite, constant activations, or a bad option.
    """
    if acts.dim() != 2 or len(acts) < 2 or not bool(torch.isfinite(acts).all()):
        raise ValueError(f"fit_sae: expected at least 2 finite samples [S, N], got shape {list(acts.shape)}")
    if min(lr, batch_size, max_epochs, patience, max_samples, expansion) <= 0 or l1 < 0:
        raise ValueError("fit_sae: sizes and lr must be above 0, l1 at least 0")
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    acts = acts.detach().float()
    acts = acts[torch.randperm(len(acts), generator=generator)[:max_samples].to(acts.device)]
    spread = float((acts - acts.mean(0)).square().sum())
    if not spread > 0:
        raise ValueError("fit_sae: all samples are equal; there are no features to find")
    scale = _scale(acts, normalize)
    acts = acts / scale
    model = _fresh(acts.shape[1], max(1, round(expansion * acts.shape[1])), generator).to(acts.device)
    losses = _train(model, acts, l1, reduction, lr, batch_size, max_epochs, patience, generator)
    with torch.no_grad():
        z, rebuilt = model(acts)
        fvu = float((acts - rebuilt).square().sum()) * scale**2 / spread
    if fvu > _POOR:
        silent = float(z.sum(1).mean()) < 1e-3 * float(acts.norm(dim=1).mean())
        dead = "; its codes are all but 0: lower l1" if silent else ""
        warnings.warn(f"fit_sae: {fvu:.0%} of the variance is unexplained, F would mean little{dead}", stacklevel=2)
    return SparseAutoencoderFit(model, scale, tuple(losses), fvu)


def _scale(acts: Tensor, normalize: str | None) -> float:
    if normalize is None:
        return 1.0
    if normalize not in ("std", "rms"):
        raise ValueError(f"fit_sae: normalize must be None, 'std' or 'rms', got {normalize!r}")
    return float(acts.std() if normalize == "std" else acts.square().mean().sqrt())


def _fresh(n_neurons: int, n_features: int, generator: torch.Generator) -> TiedSparseAutoencoder:
    model = TiedSparseAutoencoder(n_neurons, n_features)
    nn.init.xavier_uniform_(model.weight, generator=generator)
    return model


def _train(
    model: TiedSparseAutoencoder,
    acts: Tensor,
    l1: float,
    reduction: str,
    lr: float,
    batch_size: int,
    max_epochs: int,
    patience: int,
    generator: torch.Generator,
) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses: list[float] = []
    best, best_epoch = copy.deepcopy(model.state_dict()), 0
    while len(losses) < max_epochs and len(losses) - best_epoch < patience:
        total = 0.0
        for rows in torch.split(torch.randperm(len(acts), generator=generator), batch_size):
            x = acts[rows.to(acts.device)]
            z, x_hat = model(x)
            loss = sparse_autoencoder_loss(x, z, x_hat, l1, reduction)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += float(loss.detach()) * len(x)
        losses.append(total / len(acts))
        if losses[-1] == min(losses):
            best, best_epoch = copy.deepcopy(model.state_dict()), len(losses)
    model.load_state_dict(best)
    return losses
