"""Floor 2: measures and methods of information."""

from .bottleneck import (
    BottleneckCoupling,
    bottleneck_coupling,
    ebim_refine,
    greedy_ebim,
    joint_of,
    merge_loss_bits,
    quantize,
)
from .categories import categories
from .coupling import GREEDY_GAP_BITS, Coupling, majorization_bound_bits, min_entropy_coupling
from .diffusion_entropy import (
    DiffusionSpectralEntropyLoss,
    diffusion_spectral_entropy,
    diffusion_spectral_mutual_information,
    spectral_entropy,
)
from .diffusion_lanczos import SpectrumEstimate, estimate_diffusion_spectrum
from .diffusion_operator import diffusion_eigenvalues
from .effective_features import EffectiveFeatureMeter, effective_features, superposition_ratio
from .entropy_baselines import adjacency_spectral_entropy, binned_entropy, matrix_entry_entropy
from .grid_world import GridWorld, soft_policy, soft_q
from .ion_channel import IonChannel, poisson, pore_count
from .langevin import LangevinSampler, PosteriorEnsemble
from .markov_coding_game import MarkovCodingGame, play
from .maximum_entropy import InfeasibleError, MaxEntModel
from .mixture import (
    RegretBounds,
    effective_dimension_nats,
    hypothesis_weight,
    laplace_complexity,
    mixture_log_prob,
    mixture_regret,
    regret_bounds,
)
from .pmf import entropy_bits, information_bits
from .process_ensemble import ProcessEnsemble, entropy_production
from .representation_recorder import RepresentationRecorder
from .sparse_autoencoder import SparseAutoencoderFit, TiedSparseAutoencoder, fit_sae, sparse_autoencoder_loss
from .toy_superposition import ToyModel, toy_models

__all__ = [
    "GREEDY_GAP_BITS",
    "BottleneckCoupling",
    "Coupling",
    "DiffusionSpectralEntropyLoss",
    "EffectiveFeatureMeter",
    "GridWorld",
    "InfeasibleError",
    "IonChannel",
    "LangevinSampler",
    "MarkovCodingGame",
    "MaxEntModel",
    "PosteriorEnsemble",
    "ProcessEnsemble",
    "RegretBounds",
    "RepresentationRecorder",
    "SparseAutoencoderFit",
    "SpectrumEstimate",
    "TiedSparseAutoencoder",
    "ToyModel",
    "adjacency_spectral_entropy",
    "binned_entropy",
    "bottleneck_coupling",
    "categories",
    "diffusion_eigenvalues",
    "diffusion_spectral_entropy",
    "diffusion_spectral_mutual_information",
    "ebim_refine",
    "effective_dimension_nats",
    "effective_features",
    "entropy_bits",
    "entropy_production",
    "estimate_diffusion_spectrum",
    "fit_sae",
    "greedy_ebim",
    "hypothesis_weight",
    "information_bits",
    "joint_of",
    "laplace_complexity",
    "majorization_bound_bits",
    "matrix_entry_entropy",
    "merge_loss_bits",
    "min_entropy_coupling",
    "mixture_log_prob",
    "mixture_regret",
    "play",
    "poisson",
    "pore_count",
    "quantize",
    "regret_bounds",
    "soft_policy",
    "soft_q",
    "sparse_autoencoder_loss",
    "spectral_entropy",
    "superposition_ratio",
    "toy_models",
]
