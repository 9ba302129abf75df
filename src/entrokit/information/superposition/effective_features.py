"""How many features a layer carries: the exponential of the entropy of their shares of activation.

Superposition as Lossy Compression (arXiv 2512.13568, equations 6 to 8). With z the codes of a sparse autoencoder:

    p_i = Σ_s |z_si| / Σ_j Σ_s |z_sj|,    F = exp(-Σ p_i ln p_i),    ψ = F / N

F is 1 to the dictionary's size; ψ above 1 means that N neurons carry more features than they could without
interference. Numbers compare only between equal settings of the autoencoder.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from entrokit.distributions import renyi_entropy


def effective_features(z: Tensor, order: float = 1.0) -> Tensor:
    """F of codes, or the Hill number of another order; 0-dim, 0 with a warning where all codes are 0.

    Args:
        z: ``[..., D]``; the magnitudes are summed over all leading dimensions. Gradients flow through.
        order: q of ``(Σ p^q)^(1 / (1 - q))``, at least 0: 1 is F, 0 the number of live features, 2 the participation
            ratio, inf one over the largest share. It does not rise with q.

    Raises:
        ValueError: no codes, one that is not finite, no dimension, or a negative order.
    """
    if not z.numel():
        raise ValueError(f"effective features: no codes in shape {list(z.shape)}")
    return _hill(_mass(z), order)


def superposition_ratio(z: Tensor, n_neurons: int) -> Tensor:
    """ψ, effective features per neuron; of a convolution, N is its channels.

    Raises:
        ValueError: see `effective_features`, or n_neurons below 1.
    """
    if n_neurons < 1:
        raise ValueError(f"superposition_ratio: n_neurons must be at least 1, got {n_neurons}")
    return effective_features(z) / n_neurons


def _mass(z: Tensor) -> Tensor:
    """The magnitude that each feature receives, ``[D]``."""
    if not z.dim() or not bool(torch.isfinite(z).all()):
        raise ValueError(f"effective features: expected finite codes [..., D], got shape {list(z.shape)}")
    return z.abs().reshape(-1, z.shape[-1]).sum(0)


def _hill(mass: Tensor, order: float) -> Tensor:
    total = mass.sum()
    if not total > 0:
        warnings.warn("effective features: all codes are 0; the autoencoder has collapsed", stacklevel=3)
        return total * 0.0
    return renyi_entropy(mass / total, order).exp()


class EffectiveFeatureMeter:
    """Effective features of codes that come in batches, of any sparse autoencoder; only sums are kept.

    Args:
        n_neurons: N, of the layer: channels of a convolution.
    """

    def __init__(self, n_neurons: int) -> None:
        if n_neurons < 1:
            raise ValueError(f"EffectiveFeatureMeter: n_neurons must be at least 1, got {n_neurons}")
        self.n_neurons = n_neurons
        self.mass: Tensor | None = None

    def update(self, z: Tensor) -> None:
        """Adds codes ``[..., D]``; a batch without any adds nothing.

        Raises:
            ValueError: codes that are not finite, or of another D than before.
        """
        if not z.numel():
            return
        added = _mass(z.detach().double()).cpu()
        if self.mass is not None and len(added) != len(self.mass):
            raise ValueError(f"EffectiveFeatureMeter: codes of {len(added)} features after some of {len(self.mass)}")
        self.mass = added if self.mass is None else self.mass + added

    def compute(self) -> dict[str, float]:
        """``F``, ``psi``, ``entropy`` (nats), ``live`` features, and ``hill2``, the participation ratio.

        Where all codes are 0, a warning, no features and an entropy of NaN: 0 nats would be one feature.

        Raises:
            RuntimeError: nothing came yet.
        """
        if self.mass is None:
            raise RuntimeError("EffectiveFeatureMeter: nothing to compute from; call update(z) first")
        features = float(_hill(self.mass, 1.0))
        return {
            "F": features,
            "psi": features / self.n_neurons,
            "entropy": math.log(features) if features else math.nan,
            "live": float((self.mass > 0).sum()),
            "hill2": float(_hill(self.mass, 2.0)),
        }

    def reset(self) -> None:
        """Forgets what came."""
        self.mass = None

    def state_dict(self) -> dict[str, Any]:
        """The sums."""
        return {"n_neurons": self.n_neurons, "mass": None if self.mass is None else self.mass.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from sums."""
        if state["n_neurons"] != self.n_neurons:
            raise ValueError(
                f"EffectiveFeatureMeter: the state is of {state['n_neurons']} neurons, not {self.n_neurons}"
            )
        self.mass = None if state["mass"] is None else state["mass"].clone()
