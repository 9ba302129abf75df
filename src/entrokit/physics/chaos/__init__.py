"""Chaotic flows, the invariants that say how chaotic they are, and forecasters judged by both (arXiv 2110.05266)."""

from .annotate import Invariants, measure_invariants
from .correlation_dimension import correlation_dimension, correlation_sum
from .flow import Flow, FunctionFlow, from_dysts
from .forecasters import Autoregressive, Forecaster, LinearAutoregression, MeanForecaster, NearestAnalogue
from .forecasting import BenchmarkTable, Row, benchmark_forecaster, forecast_error
from .importance import HardSeries, hard_series, importance_weights, smooth_errors
from .integrate import DivergedError, rk4, sample_flow, starts_on_attractor
from .invariants import kaplan_yorke_dimension, pesin_entropy, spectrum_weights
from .lyapunov import lyapunov_spectrum, map_lyapunov_spectrum, spectrum_of_tangents
from .maps import henon, logistic
from .multiscale_entropy import MultiscaleEntropy, multiscale_entropy
from .sample_entropy import sample_entropy
from .scores import nrmse, smape
from .surrogates import random_phase_surrogate
from .systems import (
    SYSTEMS,
    Arneodo,
    Chen,
    Dadras,
    GenesioTesi,
    Hadley,
    Halvorsen,
    Lorenz,
    Lorenz84,
    Rossler,
    Rucklidge,
    ShimizuMorioka,
    SprottB,
    SprottE,
    SprottK,
    Thomas,
)

__all__ = [
    "SYSTEMS",
    "Arneodo",
    "Autoregressive",
    "BenchmarkTable",
    "Chen",
    "Dadras",
    "DivergedError",
    "Flow",
    "Forecaster",
    "FunctionFlow",
    "GenesioTesi",
    "Hadley",
    "Halvorsen",
    "HardSeries",
    "Invariants",
    "LinearAutoregression",
    "Lorenz",
    "Lorenz84",
    "MeanForecaster",
    "MultiscaleEntropy",
    "NearestAnalogue",
    "Rossler",
    "Row",
    "Rucklidge",
    "ShimizuMorioka",
    "SprottB",
    "SprottE",
    "SprottK",
    "Thomas",
    "benchmark_forecaster",
    "correlation_dimension",
    "correlation_sum",
    "forecast_error",
    "from_dysts",
    "hard_series",
    "henon",
    "importance_weights",
    "kaplan_yorke_dimension",
    "logistic",
    "lyapunov_spectrum",
    "map_lyapunov_spectrum",
    "measure_invariants",
    "multiscale_entropy",
    "nrmse",
    "pesin_entropy",
    "random_phase_surrogate",
    "rk4",
    "sample_entropy",
    "sample_flow",
    "smape",
    "smooth_errors",
    "spectrum_of_tangents",
    "spectrum_weights",
    "starts_on_attractor",
]
