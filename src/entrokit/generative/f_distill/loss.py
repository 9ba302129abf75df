"""The student's loss: the difference of scores, weighted by what an f-divergence thinks of every sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from .checks import check_column, check_samples
from .divergences import divergence_of, f_weight
from .ratio import RatioNormalizer, density_ratio
from .workers import summed

_EPSILON = 1e-6


def vsd_loss(
    gen: Tensor, teacher_x0: Tensor, fake_x0: Tensor, weight: Tensor | None = None, *, sample_norm: str = "dmd"
) -> Tensor:
    """Variational score distillation, 0-dim: half the mean square of ``g = w (x̂_F - x̂_T)``, its gradient g / elements.

    ``w = h / (mean |G - x̂_T| + 1e-6)`` for ``sample_norm="dmd"``, the mean being over a sample's dimensions, and h for
    ``"none"``. Gradients reach ``gen`` alone. Computed in float32 at least.

    Args:
        gen: samples ``[B, *]`` of the student. teacher_x0, fake_x0: what teacher and fake score predict their clean
            data to be, noised; of the same shape. weight: h, ``[B]``; 1 by default. sample_norm: "dmd" (the official
            code's) takes out the size of a sample's error, which is nearly constant for images; in few dimensions it
            moves the fixed point, and hides mode seeking: use "none" there.

    Raises:
        ValueError: shapes that do not fit, an empty batch, NaN or infinity, another ``sample_norm``.
        TypeError: no floats.
    """
    check_samples(gen, teacher_x0, fake_x0, sample_norm, "vsd_loss")
    if weight is not None:
        weight = check_column(weight, len(gen), "vsd_loss: weight", "see the ratios that it was made of")
    return _vsd(gen, teacher_x0, fake_x0, weight, sample_norm)


def _vsd(gen: Tensor, teacher_x0: Tensor, fake_x0: Tensor, weight: Tensor | None, sample_norm: str) -> Tensor:
    own = gen.float() if gen.dtype.itemsize < 4 else gen
    with torch.no_grad():
        scale = torch.ones(len(gen), dtype=own.dtype, device=own.device) if weight is None else weight.to(own)
        if sample_norm == "dmd":
            scale = scale / ((own - teacher_x0).abs().flatten(1).mean(1) + _EPSILON)
        step = (fake_x0.to(own) - teacher_x0.to(own)) * scale.view(-1, *[1] * (gen.ndim - 1))
    # As (G - stop(G - g))², without the rounding of G - g, which would swallow a small g.
    return 0.5 * (own - own.detach() + step).square().mean()


def f_distill_loss(
    gen: Tensor,
    teacher_x0: Tensor,
    fake_x0: Tensor,
    logits: Tensor,
    t: Tensor,
    *,
    divergence: str = "js",
    normalizer: RatioNormalizer | None = None,
    sample_norm: str = "dmd",
    time_weight: Callable[[Tensor], Tensor] | None = None,
    ratio_bounds: tuple[float, float] = (0.1, 20.0),
) -> tuple[Tensor, dict[str, Tensor]]:
    """The student's loss by an f-divergence (arXiv 2502.15681), 0-dim, and the detached ``h`` and ``ratio``, ``[B]``.

    `vsd_loss` with the weight h(r) / (mean of h + 1e-6) of every sample, the mean being over the batch of all
    workers, times ``time_weight(t)``. r is the exponential of the mean logit, clipped, then divided by its noise
    level's mean where there is a ``normalizer``. For ``rkl`` h is 1: plain `vsd_loss`. Gradients reach ``gen`` alone.

    Warns where all ratios of a batch are one number: an untrained discriminator, or one so sure that all are clipped.

    Args:
        gen, teacher_x0, fake_x0, sample_norm: as of `vsd_loss`. logits: ``[B, heads]`` of the discriminator for the
            noised ``gen``, real (teacher) against fake; with labels inverted, ``kl`` becomes ``neyman``. t: ``[B]``,
            noise levels in the unit of ``normalizer`` and ``time_weight``. divergence: a key of `DIVERGENCES`.
        time_weight: of ``t``, ``[B]``; with ``sample_norm="none"`` and α/σ² the step is the difference of scores.
        ratio_bounds: of r before it is normalised.

    Raises:
        ValueError: no such divergence, shapes that do not fit, an empty batch, NaN or infinity, bounds that are none;
            the ``normalizer`` is then as it was. TypeError: no floats.
    """
    divergence_of(divergence, "f_distill_loss")
    check_samples(gen, teacher_x0, fake_x0, sample_norm, "f_distill_loss")
    ratio = density_ratio(logits, ratio_bounds, "f_distill_loss")
    if len(ratio) != len(gen):
        raise ValueError(f"f_distill_loss: logits of {len(gen)} samples are expected, got {len(ratio)}")
    times = check_column(t, len(ratio), "f_distill_loss: t", "it comes from the schedule").detach()
    scale = torch.ones_like(ratio)
    if time_weight is not None:
        scale = check_column(
            time_weight(t.detach()), len(ratio), "f_distill_loss: time_weight(t)", "see its ends"
        ).detach()
    if divergence != "rkl" and len(ratio) > 1 and bool((ratio == ratio[0]).all()):
        warnings.warn(
            f"f_distill_loss: all {len(ratio)} ratios are {float(ratio[0]):.4g}, so that {divergence} is reverse KL "
            "here; the discriminator is untrained, or so sure that every ratio is clipped",
            stacklevel=2,
        )
    if normalizer is not None:
        ratio = normalizer(ratio, times)
    h = _normalised(ratio, divergence)
    weight = check_column(h * scale, len(h), "f_distill_loss: h time_weight(t)", "it is too large a number")
    return _vsd(gen, teacher_x0, fake_x0, weight, sample_norm), {"h": h, "ratio": ratio}


def _normalised(ratio: Tensor, divergence: str) -> Tensor:
    h = f_weight(ratio, divergence)
    if divergence == "rkl":
        return h
    total = summed(torch.stack([h.sum(), torch.tensor(float(len(h)), dtype=h.dtype, device=h.device)]))
    return h / (total[0] / total[1] + _EPSILON)
