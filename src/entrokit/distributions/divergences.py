"""Entropies and divergences of categorical distributions, in nats, from probabilities or logits.

Every function reduces one dimension (`dim`, the classes) and broadcasts over the others. With ``from_logits=True`` the
arguments are unnormalised log-probabilities, in which ``-inf`` marks an impossible event.

Impossible events are exact: they contribute 0, not a small number. Their gradient is the one *along the face of the
simplex* on which they stay impossible, so it is 0 wherever the one-sided derivative is infinite (``-p log p`` at
``p = 0``); a probability that reached 0 through a softmax would otherwise turn its row's gradient into NaN. Where the
derivative at 0 is finite (`cross_entropy` in ``p``) it is returned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Probabilities that a float16 softmax rounds still sum to 1 within this.
_SUM_TOLERANCE = 1e-2


def entropy(p: Tensor, *, from_logits: bool = False, dim: int = -1) -> Tensor:
    """Shannon entropy ``H(p) = -Σ p log p``, in [0, log n].

    Raises:
        ValueError: for negative, NaN or unnormalised probabilities, or NaN, ``+inf`` or all ``-inf`` logits.
    """
    p, log_p = _distribution("p", p, from_logits, dim)
    return 0.0 - _product(p, log_p).sum(dim)


def cross_entropy(p: Tensor, q: Tensor, *, from_logits: bool = False, dim: int = -1) -> Tensor:
    """Cross-entropy ``H(p, q) = -Σ p log q``, in [H(p), ∞]; infinite where q forbids what p allows.

    Raises:
        ValueError: as `entropy`, and for shapes that do not broadcast.
    """
    p, _ = _distribution("p", p, from_logits, dim)
    q, log_q = _distribution("q", q, from_logits, dim)
    term = torch.where(q > 0, p * log_q, torch.where(p > 0, -math.inf, 0.0).to(log_q.dtype))
    return -term.sum(dim)


def kl_divergence(p: Tensor, q: Tensor, *, from_logits: bool = False, dim: int = -1) -> Tensor:
    """Kullback-Leibler divergence ``KL(p ‖ q) = Σ p log(p/q)``, in [0, ∞]; infinite where q forbids what p allows.

    The forward direction for a target ``p`` and a model ``q``; swap the arguments for the reverse direction.

    Raises:
        ValueError: as `cross_entropy`.
    """
    p, log_p = _distribution("p", p, from_logits, dim)
    q, log_q = _distribution("q", q, from_logits, dim)
    return _kl(p, log_p, q, log_q).sum(dim)


def jeffreys_divergence(p: Tensor, q: Tensor, *, from_logits: bool = False, dim: int = -1) -> Tensor:
    """Jeffreys divergence ``KL(p ‖ q) + KL(q ‖ p)``, in [0, ∞]; symmetric.

    Raises:
        ValueError: as `cross_entropy`.
    """
    p, log_p = _distribution("p", p, from_logits, dim)
    q, log_q = _distribution("q", q, from_logits, dim)
    return (_kl(p, log_p, q, log_q) + _kl(q, log_q, p, log_p)).sum(dim)


def jensen_shannon_divergence(p: Tensor, q: Tensor, *, from_logits: bool = False, dim: int = -1) -> Tensor:
    """Jensen-Shannon divergence ``½ KL(p ‖ m) + ½ KL(q ‖ m)``, ``m = ½(p + q)``, in [0, log 2]; symmetric.

    Raises:
        ValueError: as `cross_entropy`.
    """
    p, log_p = _distribution("p", p, from_logits, dim)
    q, log_q = _distribution("q", q, from_logits, dim)
    m = 0.5 * (p + q)
    log_m = _safe_log(m)
    return 0.5 * (_kl(p, log_p, m, log_m) + _kl(q, log_q, m, log_m)).sum(dim)


def renyi_entropy(p: Tensor, alpha: float, *, from_logits: bool = False, dim: int = -1) -> Tensor:
    """Rényi entropy ``log(Σ p^α) / (1 - α)``, in [0, log n]; non-increasing in ``alpha``.

    ``alpha = 0`` counts the possible events (Hartley), 1 is Shannon's entropy, 2 the collision entropy and ``inf`` the
    min-entropy.

    Raises:
        ValueError: for ``alpha < 0`` or NaN, and as `entropy`.
    """
    _check_order(alpha)
    if alpha == 1.0:
        return entropy(p, from_logits=from_logits, dim=dim)
    p, log_p = _distribution("p", p, from_logits, dim)
    if alpha == math.inf:
        return -log_p.masked_fill(p <= 0, -math.inf).amax(dim)
    powers = (alpha * log_p).masked_fill(p <= 0, -math.inf)
    return torch.logsumexp(powers, dim) / (1.0 - alpha)


def renyi_divergence(p: Tensor, q: Tensor, alpha: float, *, from_logits: bool = False, dim: int = -1) -> Tensor:
    """Rényi divergence ``log(Σ p^α q^(1-α)) / (α - 1)``, in [0, ∞]; non-decreasing in ``alpha``, KL at 1.

    For ``alpha >= 1`` it is infinite where q forbids what p allows.

    Raises:
        ValueError: for ``alpha < 0``, infinite or NaN, and as `cross_entropy`.
    """
    _check_order(alpha)
    if alpha == math.inf:
        raise ValueError("renyi_divergence: alpha must be finite, got inf")
    if alpha == 1.0:
        return kl_divergence(p, q, from_logits=from_logits, dim=dim)
    p, log_p = _distribution("p", p, from_logits, dim)
    q, log_q = _distribution("q", q, from_logits, dim)
    terms = (alpha * log_p + (1.0 - alpha) * log_q).masked_fill((p <= 0) | (q <= 0), -math.inf)
    divergence = torch.logsumexp(terms, dim) / (alpha - 1.0)
    forbidden = ((p > 0) & (q <= 0)).any(dim)
    return torch.where(forbidden, math.inf, divergence) if alpha > 1.0 else divergence


def _kl(p: Tensor, log_p: Tensor, q: Tensor, log_q: Tensor) -> Tensor:
    """The terms of KL(p ‖ q) before they are summed."""
    both = (p > 0) & (q > 0)
    term = torch.where(both, p * (log_p - log_q), 0.0)
    return torch.where((p > 0) & (q <= 0), math.inf, term)


def _product(p: Tensor, log_p: Tensor) -> Tensor:
    return torch.where(p > 0, p * log_p, 0.0)


def _safe_log(p: Tensor) -> Tensor:
    """log p where p > 0 and 0 elsewhere, with gradient 0 there: the callers mask these entries."""
    return torch.where(p > 0, p, 1.0).log()


def _distribution(name: str, x: Tensor, from_logits: bool, dim: int) -> tuple[Tensor, Tensor]:
    """Probabilities and their logarithms (0 at impossible events), in float32 at least."""
    x = x if x.dtype == torch.float64 else x.float()
    if x.shape[dim] == 0:
        raise ValueError(f"{name}: dimension {dim} holds no classes; shape {tuple(x.shape)}")
    if from_logits:
        log_p = torch.log_softmax(x, dim)
        if torch.isnan(log_p).any():
            first = torch.isnan(log_p).nonzero()[0].tolist()
            raise ValueError(
                f"{name}: logits hold NaN, +inf, or a row of only -inf, first seen at index {first}; "
                "a distribution needs at least one finite logit and none above"
            )
        possible = log_p > -math.inf
        # exp(-inf) is a clean 0 forward, but its product rule is 0 * inf backward.
        log_p = torch.where(possible, log_p, 0.0)
        return torch.where(possible, log_p.exp(), 0.0), log_p
    if not bool((x >= 0).all()):
        first = (~(x >= 0)).nonzero()[0].tolist()
        raise ValueError(f"{name}: probabilities must be >= 0 and not NaN, found {x[tuple(first)]} at index {first}")
    total = x.sum(dim)
    wrong = (total - 1.0).abs() > _SUM_TOLERANCE
    if bool(wrong.any()):
        row = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"{name}: probabilities must sum to 1 over dim {dim}, row {row} sums to {total[tuple(row)]:.4g}; "
            "normalise them, or pass logits with from_logits=True"
        )
    return x, _safe_log(x)


def _check_order(alpha: float) -> None:
    if not alpha >= 0:
        raise ValueError(f"alpha: the order must be >= 0, got {alpha}")
