"""Features in superposition: how many a layer holds, by the entropy of a sparse autoencoder's code."""

from .effective_features import EffectiveFeatureMeter, effective_features, superposition_ratio
from .sparse_autoencoder import SparseAutoencoderFit, TiedSparseAutoencoder, fit_sae, sparse_autoencoder_loss
from .toy import ToyModel, toy_models

__all__ = [
    "EffectiveFeatureMeter",
    "SparseAutoencoderFit",
    "TiedSparseAutoencoder",
    "ToyModel",
    "effective_features",
    "fit_sae",
    "sparse_autoencoder_loss",
    "superposition_ratio",
    "toy_models",
]
