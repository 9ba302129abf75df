"""The zeta function in double precision, and its zeros by numbers: no evidence for or against the Riemann Hypothesis.

Analysis on Riemann Hypothesis with Cross Entropy Optimization and Reasoning (arXiv 2409.19790) searches them by
sampling.
"""

from .boxes import ZeroOnBoundaryError, count_zeros
from .function import series_length, zeta
from .line import MissedZerosError, find_critical_zeros, hardy_z, riemann_siegel_theta, smooth_count
from .sampled import SampledZero, search_zero

__all__ = [
    "MissedZerosError",
    "SampledZero",
    "ZeroOnBoundaryError",
    "count_zeros",
    "find_critical_zeros",
    "hardy_z",
    "riemann_siegel_theta",
    "search_zero",
    "series_length",
    "smooth_count",
    "zeta",
]
