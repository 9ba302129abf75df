"""What is read off a run: noise of its gradient, change of its tangent kernel, signal and noise of its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap


def gradient_noise_covariance(per_sample_grads: Tensor, batch: int, *, replacement: bool = False) -> Tensor:
    """Covariance of a minibatch's mean gradient, ``[N, N]``; times η² it is that of a step.

    Σ (1/B) (P−B)/(P−1) for batches without replacement, and Σ/B with, where Σ = (1/P) Σ_μ g_μ g_μᵀ − ḡ ḡᵀ. Half
    precision is computed, and given, in float32, here and in what follows: squares leave its range.

    Args:
        per_sample_grads: ``[P, N]``. batch: 1 to P; with replacement at least 1.

    Raises:
        ValueError: another shape, no points, or a batch out of range.
    """
    if per_sample_grads.dim() != 2 or not len(per_sample_grads):
        raise ValueError(f"per_sample_grads must be [P, N] with P >= 1, got {list(per_sample_grads.shape)}")
    P, per_sample_grads = len(per_sample_grads), _wide(per_sample_grads)
    if batch < 1 or (batch > P and not replacement):
        raise ValueError(f"batch must be at least 1, and without replacement at most P = {P}; got {batch}")
    centred = per_sample_grads - per_sample_grads.mean(0)
    # A single point has no noise, and no factor either.
    share = 1.0 if replacement else (P - batch) / max(P - 1, 1)
    return centred.T @ centred * (share / (P * batch))


def gradient_statistics(per_sample_grads: Tensor) -> tuple[Tensor, Tensor]:
    """|E g|² and E|g − E g|² over the points of ``[P, N]``: signal and noise of a gradient, 0-dim each.

    Raises:
        ValueError: another shape, or no points.
    """
    if per_sample_grads.dim() != 2 or not len(per_sample_grads):
        raise ValueError(f"per_sample_grads must be [P, N] with P >= 1, got {list(per_sample_grads.shape)}")
    per_sample_grads = _wide(per_sample_grads)
    mean = per_sample_grads.mean(0)
    return mean.square().sum(), (per_sample_grads - mean).square().sum(1).mean()


def tangent_gram(model: nn.Module, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Tangent kernel ⟨∇f(x_i), ∇f(x_j)⟩ of a scalar output on n points, ``[n, n]``.

    It holds n gradients, n·N numbers at once: a few dozen points are enough for `kernel_change`.

    Raises:
        ValueError: more than one output a point.
    """

    def output(p: dict[str, Tensor], point: Tensor) -> Tensor:
        value: Tensor = functional_call(model, p, (point[None],))
        if value.numel() != 1:
            raise ValueError(f"tangent_gram: one output a point, got {list(value.shape)} for one")
        return value.sum()

    gradients = vmap(grad(output), in_dims=(None, 0))(dict(params), x)
    flat = _wide(torch.cat([g.flatten(1) for g in gradients.values()], 1))
    return flat @ flat.T


def kernel_change(K0: Tensor, K: Tensor, *, relative: bool = True) -> Tensor:
    """Root of mean((K − K_0)²) over mean(K_0²), 0-dim: much below 1, training was lazy.

    ``relative=False``: mean((K − K_0)²), as the authors' code logs it.

    Raises:
        ValueError: shapes that differ, no entries, or for the relative form a kernel at the start that is 0.
    """
    if K0.shape != K.shape or not K0.numel():
        raise ValueError(f"kernels must have one shape, and entries: got {list(K0.shape)} and {list(K.shape)}")
    K0, K = _wide(K0), _wide(K)
    moved = (K - K0).square().mean()
    if not relative:
        return moved
    if not bool(K0.any()):
        raise ValueError(
            "the kernel at the start is 0, and has no relative change; relative=False gives the absolute one"
        )
    return (moved / K0.square().mean()).sqrt()


def signal_noise(w: Tensor, w0: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Change of the weights along a teacher, and the norm of the rest: ``[...]`` each, of ``w, w0: [..., d]``.

    Their ratio is λ. The teacher ``[d]`` need not have length 1.

    Raises:
        ValueError: shapes that do not fit, or a teacher that is 0 or not finite.
    """
    if w.shape != w0.shape or w.dim() < 1 or teacher.shape != w.shape[-1:]:
        raise ValueError(
            f"w and w0 [..., d] go with a teacher [d], got {list(w.shape)}, {list(w0.shape)}, {list(teacher.shape)}"
        )
    w, w0, teacher = _wide(w), _wide(w0), _wide(teacher)
    length = teacher.norm()
    if not bool(torch.isfinite(length) & (length > 0)):
        raise ValueError("the teacher must have a finite length above 0")
    moved, along = w - w0, teacher / length
    signal = moved @ along
    return signal, (moved - signal[..., None] * along).norm(dim=-1)


def _wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
