"""The student's loss: the difference of scores, weighted by what an f-divergence thinks of every sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .checks import check_column, check_samples, check_weight
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
            data to be, noised; of the same shape. weight: h, ``[B]``, not negative; 1 by default.
        sample_norm: "dmd" (the official code's) takes out the size of a sample's error, which is nearly constant for
            images; in few dimensions it moves the fixed point, and hides mode seeking: use "none" there.

    Raises:
        ValueError: shapes that do not fit, an empty batch, NaN or infinity, a negative weight, another
            ``sample_norm``, a loss too large for its dtype. TypeError: no floats.
    """
    check_samples(gen, teacher_x0, fake_x0, sample_norm, "vsd_loss")
    if weight is not None:
        weight = check_weight(weight, len(gen), "vsd_loss: weight", "see the ratios that it was made of")
    return _vsd(gen, teacher_x0, fake_x0, weight, sample_norm, "vsd_loss")


def _vsd(
    gen: Tensor, teacher_x0: Tensor, fake_x0: Tensor, weight: Tensor | None, sample_norm: str, what: str
) -> Tensor:
    own = gen.float() if gen.dtype.itemsize < 4 else gen
    with torch.no_grad():
        teacher_x0, fake_x0 = teacher_x0.to(own), fake_x0.to(own)
        scale = torch.ones(len(gen), dtype=own.dtype, device=own.device) if weight is None else weight.to(own)
        if sample_norm == "dmd":
            scale = scale / ((own - teacher_x0).abs().flatten(1).mean(1) + _EPSILON)
        step = (fake_x0 - teacher_x0) * scale.view(-1, *[1] * (gen.ndim - 1))
    # As (G - stop(G - g))², without the rounding of G - g, which would swallow a small g.
    loss = 0.5 * (own - own.detach() + step).square().mean()
    value = loss.detach()
    if not bool(value.isfinite()):
        raise ValueError(f"{what}: the loss is {float(value)}: weights and steps are too large for {value.dtype}")
    return loss


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

    Warns where all ratios of a batch are one number: an untrained discriminator, one so sure that all are clipped, or
    a batch of one sample.

    Args:
        gen, teacher_x0, fake_x0, sample_norm: as of `vsd_loss`. logits: ``[B, heads]`` of the discriminator for the
            noised ``gen``, real (teacher) against fake; with labels inverted, ``kl`` becomes ``neyman``. Patches are
            heads, ``logits.flatten(1)``. t: ``[B]``, noise levels in the unit of ``normalizer`` and ``time_weight``,
            floats or integers. divergence: a key of `DIVERGENCES`. normalizer: an instance; in `train` mode each call
            updates it. time_weight: of ``t`` in at least float32, or of integers as they are, ``[B]``, not negative;
            with ``sample_norm="none"`` and α/σ² the step is the difference of scores. ratio_bounds: of r before it is
            normalised.

    Raises:
        ValueError: no such divergence, shapes that do not fit, an empty batch, NaN or infinity, negative weights,
            bounds that are none, and the ``normalizer`` is then as it was; a loss too large for its dtype.
        TypeError: no floats, or another kind than is said above.
    """
    divergence_of(divergence, "f_distill_loss")
    if normalizer is not None and not isinstance(normalizer, nn.Module):
        got = normalizer.__name__ if isinstance(normalizer, type) else type(normalizer).__name__
        raise TypeError(
            f"f_distill_loss: normalizer must be one RatioNormalizer(t_min, t_max), kept over the whole training; got "
            f"{'the class' if isinstance(normalizer, type) else 'a'} {got}"
        )
    if time_weight is not None and not callable(time_weight):
        raise TypeError(
            f"f_distill_loss: time_weight must be a function of t, as lambda t: 1 / t**2; got a "
            f"{type(time_weight).__name__}"
        )
    check_samples(gen, teacher_x0, fake_x0, sample_norm, "f_distill_loss")
    ratio = density_ratio(logits, ratio_bounds, "f_distill_loss")
    if len(ratio) != len(gen):
        raise ValueError(f"f_distill_loss: logits of {len(gen)} samples are expected, got {len(ratio)}")
    times = check_column(t, len(ratio), "f_distill_loss: t", "it comes from the schedule", integers=True).detach()
    scale = torch.ones_like(ratio)
    if time_weight is not None:
        weights = time_weight(times if t.dtype.is_floating_point else t)
        scale = check_weight(weights, len(ratio), "f_distill_loss: time_weight(t)", "see its ends", integers=True)
    if divergence != "rkl" and len(ratio) > 1 and bool((ratio == ratio[0]).all()):
        warnings.warn(
            f"f_distill_loss: all {len(ratio)} ratios are {float(ratio[0]):.4g}, so that {divergence} is reverse KL "
            "here; the discriminator is untrained, or so sure that every ratio is clipped",
            stacklevel=2,
        )
    if normalizer is not None:
        ratio = normalizer(ratio, t.detach())
    h = _normalised(ratio, divergence)
    loss = _vsd(gen, teacher_x0, fake_x0, h * scale, sample_norm, "f_distill_loss")
    return loss, {"h": h, "ratio": ratio}


def _normalised(ratio: Tensor, divergence: str) -> Tensor:
    h = f_weight(ratio, divergence)
    if divergence == "rkl":
        return h
    total = summed(torch.stack([h.sum(), torch.tensor(float(len(h)), dtype=h.dtype, device=h.device)]))
    if bool(total[1] == 1):
        warnings.warn(
            f"f_distill_loss: in a batch of one sample h is divided by itself, so that {divergence} is reverse KL; "
            "take larger batches, or micro-batches of more than one",
            stacklevel=3,
        )
    return h / (total[0] / total[1] + _EPSILON)
