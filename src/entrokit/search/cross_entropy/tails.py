"""How heavy the tail of importance weights is: the shape k of a generalized Pareto law fitted to the largest of them.

Pareto smoothed importance sampling (Vehtari, Simpson, Gelman, Yao and Gabry, 2024, arXiv 1507.02646). Of n weights the
largest M = ⌈min(n/5, 3√n)⌉ are taken, as excesses over the next one. From k = 1/2 on the variance of a weight is
infinite, from 1 on its mean; above min(1 - 1/log10 n, 0.7) n draws are too few for an estimate (section 3.2).

k is by the profile likelihood of Zhang and Stephens (2009), drawn to 1/2 by a prior worth ten observations.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FEWEST = 5
_PRIOR = 10.0


class HeavyTailWarning(UserWarning):
    """The weights of an estimate have so heavy a tail that its relative error means nothing."""


def pareto_k(log_weights: Tensor) -> float:
    """k of weights above 0, ``[n]``, given in logs; -inf where none exceeds the tail's threshold, as of equal ones.

    NaN where fewer than five do otherwise, as of fewer than 21 weights: there is no tail to fit.
    """
    ordered = log_weights.double().sort().values
    n = len(ordered)
    largest = math.ceil(min(n / 5, 3 * math.sqrt(n)))
    if largest < _FEWEST:
        return math.nan
    ordered = ordered - ordered[-1]
    threshold = ordered[-largest - 1].exp()
    excesses = ordered[-largest:].exp() - threshold
    above = excesses[excesses > 0]
    # Weights that differ by rounding alone have no tail.
    if not len(above) or float(excesses[-1]) < 1e-12:
        return -math.inf
    if float(ordered[-largest]) < math.log(torch.finfo(torch.float64).tiny):
        return math.inf
    return _shape(above) if len(above) >= _FEWEST else math.nan


def largest_reliable_k(n: int) -> float:
    """The largest k with which ``n`` weights, two at least, give an estimate: min(1 - 1/log10 n, 0.7)."""
    return min(1.0 - 1.0 / math.log10(n), 0.7)


def _shape(excesses: Tensor) -> float:
    """k of excesses above 0, ascending: of a grid of b = -k/σ each gives a k, and the likelihood of each weighs it."""
    n = len(excesses)
    count = 30 + math.isqrt(n)
    steps = torch.arange(1, count + 1, dtype=excesses.dtype, device=excesses.device) - 0.5
    quartile = excesses[math.floor(n / 4 + 0.5) - 1]
    b = 1.0 / excesses[-1] + (1.0 - (count / steps).sqrt()) / (3.0 * quartile)
    k = torch.log1p(-b[:, None] * excesses).mean(1)
    likelihood = n * ((-b / k).log() - k - 1.0)
    mean = (torch.softmax(likelihood, 0) * b).sum()
    found = float(torch.log1p(-mean * excesses).mean())
    return (n * found + _PRIOR * 0.5) / (n + _PRIOR)
