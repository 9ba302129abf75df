"""Which particles go on: resamplers of log-weights, and how many particles the weights are worth.

Every function takes log-weights ``[*, K]``, which need not be normalised; leading dimensions are groups that never mix.
-inf is a weight of 0, and such a particle is never chosen. Indices ``[*, K]`` are into the group.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entrokit.groups import widest

from ..checks import check_tensors

__all__ = [
    "RESAMPLERS",
    "effective_sample_size",
    "log_mean_weight",
    "normalised_weights",
    "residual_resample",
    "stratified_resample",
    "systematic_resample",
]


def effective_sample_size(logw: Tensor) -> Tensor:
    """``(Σ W)² / Σ W²``, ``[*]`` in 1 to K, of log-weights ``[*, K]``.

    Raises:
        TypeError: log-weights that are no tensor.
        ValueError: no weights, NaN or +inf among them, or a group whose weights are all 0.
    """
    weights = normalised_weights(logw)
    return 1 / weights.square().sum(-1)


def log_mean_weight(logw: Tensor) -> Tensor:
    """``log mean exp logw``, ``[*]`` in nats; raises as `effective_sample_size` does."""
    checked = _checked(logw)
    return checked.logsumexp(-1) - torch.tensor(float(checked.shape[-1]), dtype=checked.dtype).log().to(checked.device)


def normalised_weights(logw: Tensor) -> Tensor:
    """``[*, K]``, float64 where the device has it, sum 1; raises as `effective_sample_size` does."""
    return _checked(logw).softmax(-1)


def systematic_resample(logw: Tensor, generator: torch.Generator | None = None, u: Tensor | None = None) -> Tensor:
    """Indices ``[*, K]``: particle k is chosen ``K W_k`` times, rounded up or down, on average as often as that.

    One uniform number a group, ``u``, drawn if not given; ``u + k / K`` modulo 1 are looked up in the summed weights.

    Args:
        logw: ``[*, K]``. u: ``[*]`` in [0, 1).

    Raises:
        ValueError: as `effective_sample_size`; a ``u`` of another shape or outside [0, 1).

    Source: Feynman-Kac Correctors (arXiv 2503.02819), released code, which also lifts weights to 1e-6: that keeps dead
    particles alive, and is not done here.
    """
    weights = normalised_weights(logw)
    if u is None:
        u = _uniform(weights.shape[:-1], weights, generator)
    check_tensors(u=u)
    if u.shape != weights.shape[:-1] or not bool(((u >= 0) & (u < 1)).all()):
        raise ValueError(f"u is one number in [0, 1) a group, {list(weights.shape[:-1])}; its shape is {list(u.shape)}")
    count = weights.shape[-1]
    return look_up(weights, (u.to(weights.dtype).unsqueeze(-1) + _ranks(weights) / count) % 1)


def stratified_resample(logw: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Indices ``[*, K]``: a uniform number in each of K equal parts of [0, 1) is looked up in the summed weights.

    A particle's count is less than 2 off ``K W_k``.

    Raises:
        ValueError: as `effective_sample_size`.
    """
    weights = normalised_weights(logw)
    places = (_ranks(weights) + _uniform(weights.shape, weights, generator)) / weights.shape[-1]
    return look_up(weights, places)


def residual_resample(logw: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Indices ``[*, K]``: every particle ``floor(K W_k)`` times, the rest drawn independently from what that leaves.

    Raises:
        ValueError: as `effective_sample_size`.

    Source: Liu and Chen (1998).
    """
    weights = normalised_weights(logw)
    expected = weights * weights.shape[-1]
    # A weight of just 1 / K comes out of the softmax a rounding below or above it.
    sure = (expected + 1e-9).floor()
    kept = sure.cumsum(-1)
    ranks = _ranks(weights).expand(weights.shape).contiguous()
    drawn = look_up((expected - sure).clamp_min(0), _uniform(weights.shape, weights, generator))
    certain = torch.searchsorted(kept, ranks, right=True).clamp_max(weights.shape[-1] - 1)
    return torch.where(ranks < kept[..., -1:], certain, drawn)


Resampler = Callable[[Tensor, torch.Generator | None], Tensor]

RESAMPLERS: dict[str, Resampler] = {
    "systematic": systematic_resample,
    "stratified": stratified_resample,
    "residual": residual_resample,
}


def look_up(weights: Tensor, places: Tensor) -> Tensor:
    """The particle in whose share of the summed weights each place of [0, 1) lies; never one of weight 0."""
    edges = weights.cumsum(-1)
    found = torch.searchsorted(edges, (places * edges[..., -1:]).contiguous(), right=True)
    # A place that rounds up to the whole sum lies behind the last particle that has a weight.
    last = torch.where(weights > 0, _ranks(weights).long(), 0).amax(-1, keepdim=True)
    return torch.minimum(found, last)


def _ranks(weights: Tensor) -> Tensor:
    return torch.arange(weights.shape[-1], dtype=weights.dtype, device=weights.device)


def _uniform(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(shape, dtype=like.dtype, device=like.device, generator=generator)


def _checked(logw: Tensor) -> Tensor:
    check_tensors(logw=logw)
    if logw.ndim < 1 or not logw.shape[-1]:
        raise ValueError(f"log-weights [*, K] with K >= 1 are expected; their shape is {list(logw.shape)}")
    wrong = int((logw.isnan() | (logw == torch.inf)).sum())
    if wrong:
        raise ValueError(f"{wrong} of {logw.numel()} log-weights are NaN or +inf")
    empty = int((logw == -torch.inf).all(-1).sum())
    if empty:
        groups = logw[..., 0].numel()
        raise ValueError(f"all weights of {empty} of {groups} groups are 0: nothing is left to go on with")
    return logw.detach().to(widest(logw))
