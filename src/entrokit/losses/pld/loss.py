"""The loss over student logits that are there: mean, sum or one a position."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from entrokit.distributions.once import Gradients, differentiable_once, kept_dtype, remember_inputs
from entrokit.distributions.statistics import working_dtype

from .checks import Places, check_logits, check_options, check_teacher, labelled
from .full import RankedByLogits
from .topk import RankedByTopK, TopKTeacher, check_top_k
from .weights import check_weights, place_weights

# Logits that are copied at a time, to be overwritten by their gradient.
ELEMENTS, CUDA_ELEMENTS = 1 << 21, 1 << 26


class RowLoss(Protocol):
    """Loss of rows of logits, and their gradient."""

    def __call__(self, part: slice, z: Tensor, *, gradient: bool) -> Tensor:
        """Losses ``[n]`` float64 of the rows ``part``, whose logits ``z [n, C]`` become their gradient if asked for."""
        ...


def pld_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    temperature: float = 1.0,
    weights: str | Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """Plackett-Luce distillation (arXiv 2506.12542): nats, >= 0, convex in the student's logits; differentiable once.

    The negative log-likelihood of `teacher_optimal_permutation` under the student, each place weighted by the
    teacher's probability of the class there: L = Σ_k α_k (log Σ_{l >= k} exp(s_{π_l}) - s_{π_k}), α_k = q_{π_k}. No
    gradient reaches the teacher.

    Args:
        student_logits: ``[..., C]``. teacher_logits: ``[..., C]``; -inf for classes that it rules out.
        target: ``[...]`` labels in [0, C), or ``ignore_index``: such positions are not read and have loss and
            gradient 0.
        temperature: τ > 0 of q = softmax(t / τ). The student is not softened.
        weights: α in place of the teacher's: ``"uniform"`` for 1/C (ListMLE over C), ``"plistmle"`` for 2^(C-k) - 1
            normalised, or a tensor ``[C]`` or ``[..., C]`` by place, the label's first.
        reduction: ``"mean"`` over positions that are not ignored, ``"sum"``, or ``"none"`` for ``[...]``. With no
            position left the mean is 0, where that of `torch.nn.functional.cross_entropy` is NaN.

    Returns:
        float32; float64 for a float64 student. Rankings are those of the teacher's own numbers, sums float64.

    Raises:
        TypeError: no tensors; logits that are no floats; labels that are no integers, soft ones among them.
        ValueError: shapes or devices that do not fit; a label, a temperature or weights out of range; NaN, +inf or
            nothing but -inf in a row; -inf from the teacher for the label, or from the student for a class with weight.
        NotImplementedError: the gradient is differentiated.
    """
    check_logits("student_logits", student_logits)
    check_teacher(student_logits, teacher_logits)
    check_options(temperature, reduction)
    shape = student_logits.shape
    places = labelled(target, shape[:-1], shape[-1], ignore_index, student_logits)
    alpha = None if weights is None else place_weights(weights, shape, student_logits.device)
    everything = slice(0, places.count)
    if alpha is not None and alpha.dim() == 2:
        alpha = places.take(alpha, everything)
    rows, working = teacher_logits.detach().reshape(-1, shape[-1]), working_dtype(teacher_logits)

    def logits_of(part: slice) -> Tensor:
        return places.take(rows, part).to(working, copy=True)

    labels = places.take(target.reshape(-1), everything).long()
    ranked = RankedByLogits(logits_of, labels, places, temperature, alpha)
    return _reduced(student_logits, places, ranked, reduction)


def topk_pld_loss(
    student_logits: Tensor,
    teacher: TopKTeacher,
    target: Tensor,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    """`pld_loss` by a teacher's top k alone: its first terms, in which all other classes are behind and unranked.

    What is left out is the sum of the terms behind, whose weights are what ``teacher.log_probs`` lack of 1. The
    teacher's temperature is what its log-probabilities were taken at.

    Args:
        student_logits: ``[..., C]``. teacher: ``[..., K]``. target: ``[...]``. reduction, ignore_index: see `pld_loss`.

    Raises:
        TypeError, ValueError: as `pld_loss`; log-probabilities that are none; a class out of range or named twice; a
            label that is not among the teacher's classes, without ``target_log_probs``.

    Warns:
        RuntimeWarning: the teacher's probabilities sum to 1 at every position, as those do that were renormalised over
            the k.
    """
    check_logits("student_logits", student_logits)
    check_options(1.0, reduction)
    places, ids, alpha = check_top_k(teacher, target, student_logits.shape, ignore_index, student_logits)
    return _reduced(student_logits, places, RankedByTopK(ids, alpha, places), reduction)


class PLDLoss(nn.Module):
    """`pld_loss` as a module, with its options.

    Raises:
        TypeError: a temperature that is no number, weights that are no tensor. ValueError: an option out of its range.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        weights: str | Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        check_options(temperature, reduction)
        if weights is not None:
            check_weights(weights)
        self.temperature, self.reduction, self.ignore_index = temperature, reduction, ignore_index
        self.weights = weights

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """See `pld_loss`."""
        return pld_loss(
            student_logits,
            teacher_logits,
            target,
            self.temperature,
            self.weights,
            self.reduction,
            self.ignore_index,
        )

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, reduction={self.reduction!r}, ignore_index={self.ignore_index}"


def _reduced(student_logits: Tensor, places: Places, ranked: RowLoss, reduction: str) -> Tensor:
    rows = student_logits.reshape(-1, student_logits.shape[-1])
    losses: Tensor = _RowLosses.apply(rows, places, ranked)  # type: ignore[no-untyped-call]
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.sum() / max(1, places.count)
    if places.index is not None:
        losses = losses.new_zeros(places.shape.numel()).index_put((places.index,), losses)
    return losses.view(places.shape)


class _RowLosses(torch.autograd.Function):
    """Losses ``[n]`` of the rows computed; their gradient is formed while a row's order is at hand, and kept."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Places, ranked: RowLoss) -> Tensor:
        remember_inputs(ctx, rows)
        wanted = ctx.needs_input_grad[0]
        losses = torch.empty(places.count, dtype=torch.float64, device=rows.device)
        fill = torch.empty if places.index is None else torch.zeros
        gradient = fill(rows.shape, dtype=kept_dtype(rows.dtype), device=rows.device) if wanted else None
        for part in _parts(places.count, rows):
            z = places.take(rows, part).to(working_dtype(rows), copy=True)
            losses[part] = ranked(part, z, gradient=wanted)
            if gradient is not None:
                gradient[part if places.index is None else places.index[part]] = z.to(gradient.dtype)
        ctx.places, ctx.dtype = places, rows.dtype
        ctx.save_for_backward(gradient)
        return losses.to(working_dtype(rows))

    @staticmethod
    @differentiable_once("PLD's loss")
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        (gradient,) = ctx.saved_tensors
        index = ctx.places.index
        if index is not None:
            grad = grad.new_zeros(len(gradient)).index_copy_(0, index, grad)
        if gradient.dtype == grad.dtype == ctx.dtype:
            return gradient * grad[:, None], None, None
        # Both factors may have what a half-precision dtype has no room for, so their product is what is rounded.
        result = torch.empty_like(gradient, dtype=ctx.dtype)
        for part in _parts(len(gradient), gradient):
            result[part] = gradient[part] * grad[part, None]
        return result, None, None


def _parts(count: int, rows: Tensor) -> Iterator[slice]:
    """Slices of so many rows ``[n, C]`` at a time as are copied."""
    size = max(1, (CUDA_ELEMENTS if rows.is_cuda else ELEMENTS) // rows.shape[1])
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
