"""Floor 2: measures and methods of information. A package a topic.

`coupling`, `credit`, `maxent`, `mixture`, `private`, `spectral`, `superposition`.
"""

from entrokit.moved import by_name, moved_names

_BEFORE = {
    "entrokit.information.coupling": (
        "GREEDY_GAP_BITS BottleneckCoupling Coupling GridWorld MarkovCodingGame "
        "bottleneck_coupling ebim_refine entropy_bits greedy_ebim information_bits joint_of "
        "majorization_bound_bits merge_loss_bits min_entropy_coupling play quantize soft_policy "
        "soft_q"
    ),
    "entrokit.information.maxent": (
        "InfeasibleError IonChannel MaxEntModel ProcessEnsemble entropy_production poisson pore_count"
    ),
    "entrokit.information.mixture": (
        "LangevinSampler PosteriorEnsemble RegretBounds effective_dimension_nats "
        "hypothesis_weight laplace_complexity mixture_log_prob mixture_regret regret_bounds"
    ),
    "entrokit.information.spectral": (
        "DiffusionSpectralEntropyLoss RepresentationRecorder SpectrumEstimate "
        "adjacency_spectral_entropy binned_entropy categories diffusion_eigenvalues "
        "diffusion_spectral_entropy diffusion_spectral_mutual_information "
        "estimate_diffusion_spectrum matrix_entry_entropy spectral_entropy"
    ),
    "entrokit.information.superposition": (
        "EffectiveFeatureMeter SparseAutoencoderFit TiedSparseAutoencoder ToyModel "
        "effective_features fit_sae sparse_autoencoder_loss superposition_ratio toy_models"
    ),
}

__getattr__ = moved_names(__name__, by_name(_BEFORE))
