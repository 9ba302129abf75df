"""Rankings by all of a teacher's logits: the label first, every other class by falling logit."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .checks import Places, check_logits, labelled, refuse_broken, refuse_forbidden
from .ordered import ordered_loss

# Classes that are in order at a time: a dozen numbers of eight bytes for each.
ELEMENTS, CUDA_ELEMENTS = 1 << 19, 1 << 24

LogitsOf = Callable[[slice], Tensor]
"""Teacher logits ``[n, C]`` of the rows that a slice of those computed names; overwritten by who asked."""


def teacher_optimal_permutation(teacher_logits: Tensor, target: Tensor) -> Tensor:
    """The ranking that a student is to learn, ``[..., C]`` int64: the label, then the other classes by falling logit.

    Equal logits stand in order of class. arXiv 2506.12542, "teacher-optimal".

    Args:
        teacher_logits: ``[..., C]``; -inf are last. target: ``[...]``, labels in [0, C).

    Raises:
        TypeError: no tensors, logits that are no floats, labels that are no integers.
        ValueError: shapes or devices that do not fit, a label out of range, NaN, +inf or nothing but -inf.
    """
    check_logits("teacher_logits", teacher_logits)
    shape = teacher_logits.shape
    places = labelled(target, shape[:-1], shape[-1], None, teacher_logits)
    rows = teacher_logits.detach().reshape(-1, shape[-1])
    refuse_broken(rows, "teacher_logits", places, 0)
    _, order = _ranked(rows.clone(), target.reshape(-1, 1).long())
    return order.view(shape)


class RankedByLogits:
    """Loss and gradient of rows of student logits, by a teacher whose logits are there for every class.

    Args:
        logits_of: the teacher. target: ``[n]`` labels of the rows computed.
        weights: None for the teacher's probabilities at ``temperature``; else ``[C]``, or ``[n, C]``.
    """

    def __init__(
        self, logits_of: LogitsOf, target: Tensor, places: Places, temperature: float, weights: Tensor | None
    ) -> None:
        self._logits_of, self._target, self._places = logits_of, target, places
        self._temperature, self._weights = temperature, weights

    def __call__(self, part: slice, z: Tensor, *, gradient: bool) -> Tensor:
        """Losses ``[n]`` float64 of logits ``z [n, C]``, which the gradient in them overwrites where asked for."""
        loss = torch.empty(len(z), dtype=torch.float64, device=z.device)
        size = max(1, (CUDA_ELEMENTS if z.is_cuda else ELEMENTS) // z.shape[1])
        t = self._logits_of(part)
        for start in range(0, len(z), size):
            some = slice(start, start + size)
            loss[some] = self._rows(part.start + start, z[some], t[some], gradient)
        return loss

    def _rows(self, first: int, z: Tensor, t: Tensor, gradient: bool) -> Tensor:
        refuse_broken(z, "student_logits", self._places, first)
        refuse_broken(t, "teacher_logits", self._places, first)
        rows = slice(first, first + len(z))
        label = self._target[rows, None]
        own = t.gather(1, label)
        keys, order = _ranked(t, label)
        if self._weights is None:
            words = (
                "-inf for the label, which the teacher then ranks nowhere and nothing would teach; give the position "
                "ignore_index, or the label a finite logit"
            )
            self._places.refuse((own == -math.inf).squeeze(1), first, "teacher_logits", words)
            keys[:, :1] = own
            # The best is subtracted first: a small temperature must not make infinities of it.
            best = keys[:, :2].amax(1, keepdim=True).double()
            alpha = torch.softmax(keys.double().sub_(best).div_(self._temperature), 1)
        else:
            alpha = (self._weights if self._weights.dim() == 1 else self._weights[rows]).expand(z.shape)
        a = z.gather(1, order).double()
        refuse_forbidden(a, alpha, self._places, first)
        loss, found = ordered_loss(a, alpha, gradient=gradient)
        if found is not None:
            z.scatter_(1, order, found.to(z.dtype))
        return loss


def _ranked(t: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Logits ``[n, C]`` in order, +inf in the label's place, and the classes. Overwrites ``t``."""
    keys, order = torch.sort(t.scatter_(1, label, math.inf), dim=1, descending=True, stable=True)
    return keys, order
