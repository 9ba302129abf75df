"""Rankings by the k most likely classes of a teacher, which is what an API gives: all others are behind them, unranked.

The Plackett-Luce likelihood of a ranking whose first K places are known is a product over those places alone:

    L_K = Σ_{k <= K} α_k (M_k - s_{π_k})        M_k = log(Σ_{k <= l <= K} exp(s_{π_l}) + Σ_{c unranked} exp(s_c))

with α_k the teacher's probability of the class, of its whole vocabulary and not renormalised. These are exactly the
first K terms of the loss with the whole teacher (arXiv 2506.12542, which has no such form): as K grows it rises to it.
Nothing is sorted but K numbers, and of the unranked classes only their log-sum-exp enters.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from .checks import (
    Places,
    check_logits,
    check_options,
    check_tensor,
    labelled,
    refuse_broken,
    refuse_forbidden,
    written,
)
from .ordered import ordered_loss

# Log-probabilities that were rounded to half precision still sum to 1 within this.
_SUM_TOLERANCE = 1e-2
# What sums of renormalised probabilities are off by in float32, and what the last of a sure teacher's k is below.
_EXACT, _TAIL = 1e-5, 1e-3


@dataclass(frozen=True)
class TopKTeacher:
    """A teacher's most likely classes at every position, in any order.

    Attributes:
        log_probs: ``[..., K]`` nats, <= 0: of its whole vocabulary, not of these classes alone.
        index: ``[..., K]`` integers, the classes; -1 where a position has fewer than K.
        target_log_probs: ``[...]`` nats, of the labels. Needed where ``index`` lacks a label; elsewhere not read.
    """

    log_probs: Tensor
    index: Tensor
    target_log_probs: Tensor | None = None

    @classmethod
    def of(
        cls, teacher_logits: Tensor, k: int, target: Tensor, *, temperature: float = 1.0, ignore_index: int = -100
    ) -> TopKTeacher:
        """The top k of logits that are there, and the labels.

        Args:
            teacher_logits: ``[..., C]``. k: 1 to C. target: ``[...]`` labels in [0, C), or ``ignore_index``: such
                positions may hold anything, and what is made of them is not to be read.

        Raises:
            TypeError: no tensors, logits that are no floats, labels or a k that are no integers.
            ValueError: k, the temperature or a label out of range, shapes or devices that do not fit, logits that are
                no distribution.
        """
        check_logits("teacher_logits", teacher_logits)
        check_options(temperature, "none")
        shape = teacher_logits.shape
        if not isinstance(k, Integral):
            raise TypeError(f"TopKTeacher.of: k is an integer, got {type(k).__name__}")
        if not 1 <= k <= shape[-1]:
            raise ValueError(f"TopKTeacher.of: k must be 1 to {shape[-1]}, the classes there are; got {k}")
        places = labelled(target, shape[:-1], shape[-1], ignore_index, teacher_logits)
        logits = teacher_logits.detach()
        logits = (logits if logits.dtype == torch.float64 else logits.float()) / temperature
        norm = logits.logsumexp(-1)
        top, index = logits.topk(k, -1)
        refuse_broken(places.take(top.reshape(-1, k), slice(0, places.count)), "teacher_logits", places, 0)
        inside = target.long().clamp(0, shape[-1] - 1)
        own = logits.gather(-1, inside[..., None]).squeeze(-1)
        return cls(top - norm[..., None], index, own - norm)


class RankedByTopK:
    """Loss and gradient of rows of student logits, by a teacher of whom the first places are known.

    Args:
        ids: ``[n, m]``, classes of the rows computed in their order, the label first; -1 for none.
        alpha: ``[n, m]`` float64, 0 where there is no class.
    """

    def __init__(self, ids: Tensor, alpha: Tensor, places: Places) -> None:
        self._ids, self._alpha, self._places = ids, alpha, places

    def __call__(self, part: slice, z: Tensor, *, gradient: bool) -> Tensor:
        """Losses ``[n]`` float64 of logits ``z [n, C]``, which it overwrites: by the gradient in them if asked for."""
        refuse_broken(z, "student_logits", self._places, part.start)
        ids, alpha = self._ids[part], self._alpha[part]
        nobody = ids < 0
        ids = torch.where(nobody, ids[:, :1], ids)
        a = z.gather(1, ids).masked_fill_(nobody, -math.inf).double()
        refuse_forbidden(a, alpha, self._places, part.start)
        rest = z.scatter_(1, ids, -math.inf).logsumexp(1, keepdim=True)
        # Whoever is unranked is one class more, at the end, whose place has no weight.
        with_rest = torch.cat([a, rest.double()], 1)
        loss, found = ordered_loss(with_rest, torch.nn.functional.pad(alpha, (0, 1)), gradient=gradient)
        if found is not None:
            found = found.to(z.dtype)
            z.sub_(rest.masked_fill(rest == -math.inf, 0.0)).exp_().mul_(found[:, -1:])
            z.scatter_add_(1, ids, found[:, :-1])
        return loss


def check_top_k(
    teacher: TopKTeacher,
    target: Tensor,
    student_shape: torch.Size,
    ignore_index: int,
    like: Tensor,
    of: str = "logits",
) -> tuple[Places, Tensor, Tensor]:
    """Which rows are computed, and their classes and weights as `RankedByTopK` takes them.

    Raises:
        TypeError: no `TopKTeacher`, log-probabilities that are no floats, classes or labels that are no integers.
        ValueError: shapes that do not fit; log-probabilities that are none; a class out of range or named twice; a
            label among no position's classes, without its own log-probability.

    Warns:
        RuntimeWarning: probabilities that seem renormalised over the k.
    """
    if not isinstance(teacher, TopKTeacher):
        raise TypeError(
            f"teacher: expected a TopKTeacher, got {type(teacher).__name__}; TopKTeacher.of(logits, k, labels) makes "
            "one of logits"
        )
    classes, shape = student_shape[-1], student_shape[:-1]
    places = labelled(target, shape, classes, ignore_index, like, of)
    _check_shapes(teacher, shape, like)
    everything = slice(0, places.count)
    width = teacher.index.shape[-1]
    ids = places.take(teacher.index.reshape(-1, width), everything).long()
    log_q = places.take(teacher.log_probs.detach().reshape(-1, width), everything).double()
    label = places.take(target.reshape(-1, 1), everything).long()
    outside = (ids < -1) | (ids >= classes)
    places.refuse(outside.any(1), 0, "index", f"a class that is neither in [0, {classes}) nor -1 for none")
    log_q = log_q.masked_fill(ids < 0, -math.inf)
    top, q = ids, log_q.exp()
    if teacher.target_log_probs is None:
        lacking = ~(ids == label).any(1)
        words = (
            "the teacher's classes lack the label, and target_log_probs is not given; give the label's log-probability "
            "(a server that scores a text returns it beside the top k), or the position ignore_index"
        )
        places.refuse(lacking, 0, "index", words)
    else:
        own = places.take(teacher.target_log_probs.detach().reshape(-1, 1), everything).double()
        listed = (ids == label).any(1, keepdim=True)
        ids = torch.cat([ids, torch.where(listed, -1, label)], 1)
        log_q = torch.cat([log_q, own.masked_fill(listed, -math.inf)], 1)
    _check_probabilities(ids, log_q, q.sum(1), places)
    _warn_of_renormalised(top, q, classes)
    words = "-inf for the label, which nothing would then teach; give the position ignore_index"
    places.refuse(((ids == label) & (log_q == -math.inf)).any(1), 0, "log_probs", words)
    # Equal ones in order of class, as in the whole ranking, whatever the order they came in.
    ids, by_class = ids.sort(1)
    log_q = log_q.gather(1, by_class)
    _, by = torch.sort(log_q.masked_fill(ids == label, math.inf), dim=1, descending=True, stable=True)
    return places, ids.gather(1, by), log_q.gather(1, by).exp()


def _check_shapes(teacher: TopKTeacher, shape: torch.Size, like: Tensor) -> None:
    log_probs, index, own = teacher.log_probs, teacher.index, teacher.target_log_probs
    for name, x in (("log_probs", log_probs), ("index", index), ("target_log_probs", own)):
        if x is not None:
            check_tensor(name, x, like)
    for name, x in (("log_probs", log_probs), ("target_log_probs", own)):
        if x is not None and not x.dtype.is_floating_point:
            raise TypeError(f"{name}: expected floating point log-probabilities, got {x.dtype}")
    if index.dtype.is_floating_point or index.dtype.is_complex or index.dtype == torch.bool:
        raise TypeError(f"index: expected integer classes, got {index.dtype}")
    if index.shape[:-1] != shape or index.dim() != len(shape) + 1 or not index.shape[-1]:
        raise ValueError(f"index: expected shape {written(*shape, 'K')} with K >= 1, got {list(index.shape)}")
    if log_probs.shape != index.shape:
        raise ValueError(f"log_probs: expected the shape of index, {list(index.shape)}, got {list(log_probs.shape)}")
    if own is not None and own.shape != shape:
        raise ValueError(f"target_log_probs: expected shape {list(shape)}, got {list(own.shape)}")


def _check_probabilities(ids: Tensor, log_q: Tensor, of_top: Tensor, places: Places) -> None:
    top = log_q.amax(1)
    places.refuse(top.isnan(), 0, "log_probs", "NaN where index names a class")
    above = top.exp() > 1.0 + _SUM_TOLERANCE
    if bool(above.any()):
        words = f"{float(top[above][0]):.4g} is no log-probability, which is at most 0; logits need their log_softmax"
        places.refuse(above, 0, "log_probs", words)
    total = log_q.exp().sum(1)
    above = total > 1.0 + _SUM_TOLERANCE
    if bool(above.any()):
        words = (
            "rounding to one decimal can do that up to 1.05: ask for more digits, or subtract their logsumexp where it "
            "is above 0"
        )
        if float((of_top[above][0] - 1.0).abs()) < _EXACT:
            words = (
                "without the label's own it is 1, and they seem renormalised over the k: give log-probabilities of the "
                "whole vocabulary, as TopKTeacher.of(logits, k, labels) does"
            )
        places.refuse(
            above, 0, "log_probs", f"probabilities that sum to {float(total[above][0]):.4g}, above 1; {words}"
        )
    ordered = ids.sort(1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    places.refuse(twice.any(1), 0, "index", "a class that is named twice")


def _warn_of_renormalised(ids: Tensor, q: Tensor, classes: int) -> None:
    """If of every row the k sum to 1, and the least likely of them says that classes behind it have a share too."""
    there = ids >= 0
    count = there.sum(1)
    # What a sure teacher leaves to others is small, but so is the last of its k.
    least = q.masked_fill(~there, 1.0).amin(1)
    cut = (count > 1) & (count < classes) & ((q.sum(1) - 1.0).abs() < _EXACT) & (least > _TAIL)
    if bool(cut.any()) and bool((cut | (count < 2)).all()):
        warnings.warn(
            f"log_probs: at every position the {int(count.max())} probabilities sum to 1, and there are {classes} "
            "classes: they seem renormalised over the k, and weigh too much then; give log-probabilities of the whole "
            "vocabulary, as TopKTeacher.of(logits, k, labels) does",
            RuntimeWarning,
            stacklevel=4,
        )
