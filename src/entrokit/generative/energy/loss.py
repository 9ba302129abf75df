"""What an energy is trained by: denoising, and obeying the Fokker-Planck equation (arXiv 2506.17139)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..checks import check_finite, check_tensors
from ..noising import Noising, check_noising
from .checks import as_times, check_batch, check_number, scores_of, wide
from .model import EnergyModel
from .residual import BACKWARD, FORWARD, fp_residual_weak, smooth_range
from .shared import fp_residual_shared, score_and_residuals

__all__ = ["FokkerPlanckRegularizer", "TrainingLoss", "denoising_loss", "equal_weight", "training_loss"]

Weight = Callable[[Tensor], Tensor]


def equal_weight(t: Tensor, midpoint: float = 0.3, time_range: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Weights ``[B]`` of times ``[B]``, of mean 1 over the range, half of it below the midpoint.

    Raises:
        TypeError: times that are no tensor.
        ValueError: a midpoint that is not inside the range, or a time outside it.
    """
    check_tensors(t=t)
    low, high = time_range
    if not low < midpoint < high:
        raise ValueError(f"the midpoint lies inside the range ({low}, {high}); it is {midpoint}")
    outside = ~((t >= low) & (t <= high))
    if bool(outside.any()):
        raise ValueError(f"times lie in [{low}, {high}]; there is one of {float(t[outside].flatten()[0])}")
    half = 0.5 * (high - low)
    later = torch.full_like(t, half / (high - midpoint), dtype=wide(t))
    return later.masked_fill(t <= midpoint, half / (midpoint - low))


@dataclass(frozen=True)
class FokkerPlanckRegularizer:
    """alpha · mean of weight(t) R² / D² over rows, the square estimated without bias; it may be negative.

    Args:
        alpha: of the penalty beside the denoising loss; the paper has 1e-4 to 2e-2.
        time_weight: weights ``[B]`` of times ``[B]``, that of the denoising loss in the official code; 1 by default.
        form: ``shared`` is `fp_residual_shared`, ``weak`` the paper's `fp_residual_weak`.
        share: of a batch's rows that the penalty is taken of, the first; rows are to be in no order.
        sigma: of the steps; by default that of the form.

    Raises:
        TypeError: a ``time_weight`` that is no function.
        ValueError: an ``alpha`` that is not at least 0 and finite, a ``share`` outside (0, 1], a form that is none, a
            ``sigma`` that is not above 0.
    """

    alpha: float = 5e-4
    time_weight: Weight | None = None
    form: Literal["shared", "weak"] = "shared"
    share: float = 1.0
    sigma: float | None = None

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, above=False)
        if not 0 < self.share <= 1:
            raise ValueError(f"share lies in (0, 1]; it is {self.share}")
        if self.form not in ("shared", "weak"):
            raise ValueError(f"form is 'shared' or 'weak'; it is {self.form!r}")
        _check_weight("time_weight", self.time_weight)
        if self.sigma is not None:
            check_number("sigma", self.sigma, above=True)

    def __call__(
        self,
        model: EnergyModel,
        x: Tensor,
        t: Tensor | float,
        sde: Noising,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The penalty, a number, at noised points ``[B, *]`` and times ``[B]``.

        Times nearer to the end of the model's range than differences in time reach are moved inside for ``weak``.
        """
        rows = self.rows(check_batch(x).shape[0])
        times = as_times(t, x)[:rows]
        if self.form == "shared":
            first, second = fp_residual_shared(model, x[:rows], times, sde, sigma=self.sigma, generator=generator)
        else:
            low, high = smooth_range(model, times)
            times = times.maximum(low + BACKWARD).minimum(high - FORWARD)
            first, second = fp_residual_weak(model, x[:rows], times, sde, sigma=self.sigma, generator=generator)
        return self.penalty(first, second, times, x[0].numel())

    def rows(self, count: int) -> int:
        """How many rows of ``count`` the penalty is taken of."""
        return math.ceil(self.share * count)

    def penalty(self, first: Tensor, second: Tensor, t: Tensor, dimensions: int) -> Tensor:
        """Of two independent estimates ``[B]`` of the residual at times ``[B]``."""
        products = first * second / dimensions**2
        return self.alpha * (products if self.time_weight is None else _weights(self.time_weight, t) * products).mean()


@dataclass(frozen=True)
class TrainingLoss:
    """What to descend, and its parts."""

    total: Tensor
    denoising: Tensor
    fokker_planck: Tensor


def denoising_loss(
    model: Any,
    x0: Tensor,
    t: Tensor | float,
    sde: Noising,
    *,
    weight: Weight | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """mean of weight(t) (noise + sigma(t) score)², a number: no likelihood weighting.

    Of data of half precision the mean is taken, and given, in float32; the model sees points and times in their dtype.

    Args:
        model: with ``score(x, t)``, or called so. x0: data ``[B, *]``. t: times ``[B]`` to noise them to.
        weight: of times ``[B]``; 1 by default.

    Raises:
        TypeError: what is no tensor, no process of noising or no function where one is expected.
        ValueError: points or times that are none, an empty batch, data or scores that are not finite, scores of another
            shape, weights of another shape, not finite or below 0.
    """
    _check_weight("weight", weight)
    times, noise, x = _noised(x0, t, sde, generator)
    return _denoising(scores_of(model, x, times), noise, times, sde, weight)


def training_loss(
    model: EnergyModel,
    x0: Tensor,
    t: Tensor | float,
    sde: Noising,
    regularizer: FokkerPlanckRegularizer | None = None,
    *,
    weight: Weight | None = None,
    generator: torch.Generator | None = None,
) -> TrainingLoss:
    """The denoising loss, and a penalty at the same noised points; of the ``shared`` form both of one call.

    Args:
        model: with an energy. x0: data ``[B, *]``. t: times ``[B]`` to noise them to.
        weight: of the denoising loss at times ``[B]``; 1 by default. The penalty's is the regulariser's own.

    Raises:
        TypeError: a model without energy. ValueError: as `denoising_loss` and `fp_residual_shared`.
    """
    _check_weight("weight", weight)
    if regularizer is not None and not isinstance(regularizer, FokkerPlanckRegularizer):
        raise TypeError(
            f"regularizer is a FokkerPlanckRegularizer(alpha), or None; it is a {type(regularizer).__name__}"
        )
    times, noise, x = _noised(x0, t, sde, generator)
    penalised = regularizer is not None and regularizer.alpha > 0
    if regularizer is None or not penalised or regularizer.form == "weak":
        denoising = _denoising(scores_of(model, x, times), noise, times, sde, weight)
        penalty = torch.zeros_like(denoising)
        if regularizer is not None and penalised:
            penalty = regularizer(model, x, times, sde, generator)
    else:
        rows = regularizer.rows(x.shape[0])
        score, first, second = score_and_residuals(
            model, x, times, sde, rows=rows, sigma=regularizer.sigma, generator=generator
        )
        denoising = _denoising(score, noise, times, sde, weight)
        penalty = regularizer.penalty(first, second, times[:rows], x[0].numel())
    return TrainingLoss(denoising + penalty, denoising.detach(), penalty.detach())


def _noised(
    x0: Tensor, t: Tensor | float, sde: Noising, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    times = as_times(t, check_batch(x0, "x0"))
    check_noising("sde", sde)
    check_finite("x0", x0)
    noise = torch.randn(x0.shape, dtype=wide(x0), device=x0.device, generator=generator)
    at = times.to(noise.dtype)
    return times, noise, (_like(sde.alpha(at), x0) * x0 + _like(sde.sigma(at), x0) * noise).to(x0.dtype)


def _denoising(score: Tensor, noise: Tensor, t: Tensor, sde: Noising, weight: Weight | None) -> Tensor:
    score, t = score.to(noise.dtype), t.to(noise.dtype)
    each = (noise + _like(sde.sigma(t), score) * score).square().flatten(1).mean(1)
    return (each if weight is None else _weights(weight, t) * each).mean()


def _check_weight(name: str, weight: object) -> None:
    if weight is not None and not callable(weight):
        raise TypeError(
            f"{name} is a function of times [B], such as equal_weight or `lambda t: ...`; it is a "
            f"{type(weight).__name__}"
        )


def _weights(weight: Weight, t: Tensor) -> Tensor:
    """Weights of times, one a row: of another shape they would be broadcast over the rows of each other."""
    found = weight(t)
    check_tensors(weight=found)
    if found.shape != t.shape:
        raise ValueError(f"a weight a time is expected, {list(t.shape)}; the weight's shape is {list(found.shape)}")
    wrong = ~((found >= 0) & torch.isfinite(found))
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"weights of times are finite and at least 0; that of t = {float(t[at]):g} is {float(found[at])}"
        )
    return found


def _like(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 1))
