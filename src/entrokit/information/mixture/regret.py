"""Bayesian mixtures under log-loss: what they lose against the truth, and why class size does not matter.

The Universality Lens: Why Even Highly Over-Parametrized Models Learn Well (arXiv 2506.07661; learners and regrets from
a summary, bounds proved there in a line each). With prior w over hypotheses θ and KL from the truth d(θ), in nats:

    Q(x^n) = Σ w(θ) P_θ(x^n),    total regret = E ln P_θ0(x^n) - ln Q(x^n)
    <= soft bound  -ln Σ w(θ) exp(-n d(θ))
    <= hard bound  min over ε of  n ε - ln W(ε),    W(ε): prior mass of the hypotheses within ε
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def mixture_log_prob(log_lik: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """``ln Q`` of every prefix of the data, ``[n]``.

    Args:
        log_lik: ``[M, n]``, log-probability of each observation under each hypothesis; -inf is allowed.
        log_prior: ``[M]``, ln w, normalised here; uniform by default.

    Raises:
        ValueError: shapes that do not fit, or a NaN.
    """
    prior = _log_prior(log_lik, log_prior)
    return torch.logsumexp(prior[:, None] + log_lik.cumsum(1), 0)


def mixture_regret(log_lik: Tensor, log_lik_true: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """What the mixture has lost against the truth after every observation, ``[n]`` total nats.

    Args:
        log_lik_true: ``[n]``, log-probability of each observation under the truth.
    """
    return log_lik_true.cumsum(0) - mixture_log_prob(log_lik, log_prior)


def hypothesis_weight(kl: Tensor, eps: float, log_prior: Tensor | None = None) -> Tensor:
    """W(ε), the prior mass of the hypotheses whose KL ``[M]`` from the truth is at most ``eps`` nats; 0-dim."""
    prior = _log_prior(kl, log_prior)
    return torch.where(kl <= eps, prior.exp(), 0.0).sum()


@dataclass(frozen=True)
class RegretBounds:
    """Bounds on the total regret in nats, exact <= soft <= hard; eps: the radius at which the hard one is least."""

    soft: float
    hard: float
    eps: float


def regret_bounds(kl: Tensor, n: int, log_prior: Tensor | None = None) -> RegretBounds:
    """Bounds for ``n`` observations.

    Args:
        kl: ``[M]``, KL from the truth to each hypothesis for one observation, in nats; inf where supports miss.
        log_prior: ``[M]``; uniform by default. Samples of a prior bound the regret of the mixture of these samples.

    Raises:
        ValueError: no hypothesis at a finite distance, a negative or NaN KL, or n below 0.
    """
    if n < 0 or bool((kl < 0).any()) or not bool(torch.isfinite(kl).any()):
        raise ValueError("regret_bounds: needs n >= 0 and KLs of at least 0, at least one of them finite")
    prior = _log_prior(kl, log_prior)
    finite = torch.isfinite(kl)
    soft = -torch.logsumexp(prior[finite] - n * kl[finite], 0)
    radius, order = kl[finite].sort()
    mass = torch.logcumsumexp(prior[finite][order], 0)
    # Equal distances belong to one ball.
    last = torch.cat([radius[1:] != radius[:-1], torch.ones(1, dtype=torch.bool, device=kl.device)])
    total = torch.where(last, n * radius - mass, torch.inf)
    best = int(total.argmin())
    return RegretBounds(float(soft), float(total[best]), float(radius[best]))


def laplace_complexity(fisher_eigs: Tensor, n: int, log_prior_density: float, tol: float = 1e-8) -> float:
    """The soft bound near a regular truth: ``k/2 ln(n / 2π) + ½ Σ ln λ - ln w(θ0)``, in nats.

    Flat directions, of eigenvalues up to ``tol`` times the largest, count in neither k nor the sum; their prior mass
    belongs into ``log_prior_density``. Wrong for singular models, such as deep networks, beyond an order of magnitude.

    Args:
        fisher_eigs: ``[P]``, of one observation's Fisher matrix.
    """
    if n < 1 or bool((fisher_eigs < 0).any()):
        raise ValueError(f"laplace_complexity: needs n >= 1 and eigenvalues of at least 0, got n={n}")
    used = fisher_eigs[fisher_eigs > tol * fisher_eigs.max()] if len(fisher_eigs) else fisher_eigs
    volume = 0.5 * len(used) * math.log(n / (2.0 * math.pi))
    return volume + 0.5 * float(used.log().sum()) - log_prior_density


def effective_dimension_nats(fisher_eigs: Tensor, n: int, prior_variance: Tensor | float = 1.0) -> float:
    """``½ Σ ln(1 + n s² λ)`` for a Gaussian prior of variance s² along each eigenvector."""
    return 0.5 * float(torch.log1p(n * torch.as_tensor(prior_variance) * fisher_eigs).sum())


def _log_prior(of: Tensor, log_prior: Tensor | None) -> Tensor:
    if not len(of) or bool(torch.isnan(of).any()):
        raise ValueError(f"mixture: expected hypotheses without NaN along the first dimension, got {list(of.shape)}")
    if log_prior is None:
        return of.new_full((len(of),), -math.log(len(of)))
    if log_prior.shape != of.shape[:1]:
        raise ValueError(f"mixture: log_prior must be [{len(of)}], got {list(log_prior.shape)}")
    return log_prior - torch.logsumexp(log_prior, 0)
