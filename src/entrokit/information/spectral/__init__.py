"""Spectral entropy of representations: diffusion matrices, their spectra, and cheaper stand-ins."""

from .categories import categories
from .diffusion_entropy import (
    DiffusionSpectralEntropyLoss,
    diffusion_spectral_entropy,
    diffusion_spectral_mutual_information,
    spectral_entropy,
)
from .diffusion_lanczos import SpectrumEstimate, estimate_diffusion_spectrum
from .diffusion_operator import diffusion_eigenvalues
from .entropy_baselines import adjacency_spectral_entropy, binned_entropy, matrix_entry_entropy
from .recorder import RepresentationRecorder

__all__ = [
    "DiffusionSpectralEntropyLoss",
    "RepresentationRecorder",
    "SpectrumEstimate",
    "adjacency_spectral_entropy",
    "binned_entropy",
    "categories",
    "diffusion_eigenvalues",
    "diffusion_spectral_entropy",
    "diffusion_spectral_mutual_information",
    "estimate_diffusion_spectrum",
    "matrix_entry_entropy",
    "spectral_entropy",
]
