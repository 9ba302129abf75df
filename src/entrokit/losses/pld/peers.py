"""The distillation losses that PLD is compared with: KD, DIST and DKD, each with its cross-entropy, mean over rows.

Student and teacher logits are ``[N, C]``, labels ``[N]``; no gradient reaches the teacher. Results are nats, in
float32, or float64 for a float64 student. Classes that the teacher rules out (-inf) are exact: they add 0.

Raises:
    TypeError: no tensors, logits that are no floats, labels that are no integers.
    ValueError: shapes or devices that do not fit, no row, fewer than two classes, a temperature or a weight out of
        range, or a label that is no class (rows to be ignored are left out before); NaN, +inf or nothing but -inf in a
        row; -inf from the student where the loss would be infinite.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, kl_div

from entrokit.distributions.statistics import working_dtype

from .checks import Places, check_labels, check_logits, refuse_broken

_EPS = 1e-8
# Of a softmax's numbers that are equal: an exponential, a sum and a quotient, each a unit or two.
_ROUNDINGS = 4


def _prepared(
    who: str, student: Tensor, teacher: Tensor, target: Tensor, temperature: float, **weights: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Student and teacher logits in one working dtype, and labels that torch's cross-entropy takes."""
    check_logits(f"{who}: student_logits", student)
    check_logits(f"{who}: teacher_logits", teacher, student)
    check_labels(f"{who}: target", target, student)
    if student.dim() != 2 or teacher.shape != student.shape or target.shape != student.shape[:1]:
        raise ValueError(
            f"{who}: expected logits [N, C] of both and labels [N], got {list(student.shape)}, {list(teacher.shape)} "
            f"and {list(target.shape)}"
        )
    rows, classes = student.shape
    if rows < 1 or classes < 2:
        raise ValueError(f"{who}: needs a row and two classes, got {rows} and {classes}")
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"{who}: temperature must be above 0 and finite, got {temperature}")
    for name, value in weights.items():
        if not math.isfinite(value):
            raise ValueError(f"{who}: {name} must be a finite number, got {value}")
    target = target.long()
    outside = (target < 0) | (target >= classes)
    if bool(outside.any()):
        at = int(outside.nonzero()[0])
        raise ValueError(
            f"{who}: label {int(target[at])} of row {at} is none of {classes} classes; leave such rows out"
        )
    places = Places(student.shape[:1], None)
    dtype = working_dtype(student)
    student, teacher = student.to(dtype), teacher.detach().to(dtype)
    refuse_broken(student.detach(), f"{who}: student_logits", places, 0)
    refuse_broken(teacher, f"{who}: teacher_logits", places, 0)
    forbidden = student.detach().gather(1, target[:, None]).squeeze(1) == -math.inf
    places.refuse(forbidden, 0, f"{who}: student_logits", "-inf for the label; its cross-entropy is infinite")
    return student, teacher, target


def _divergence(who: str, log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(q ‖ p), mean over rows; classes that the teacher q rules out have no part in it."""
    impossible = log_q == -math.inf
    if bool(impossible.any()):
        lowest = torch.finfo(log_q.dtype).min
        log_p, log_q = log_p.masked_fill(impossible, lowest), log_q.masked_fill(impossible, lowest)
    forbidden = (log_p.detach() == -math.inf).any(1)
    words = "-inf for a class that the teacher allows; the divergence is infinite"
    Places(forbidden.shape, None).refuse(forbidden, 0, f"{who}: student_logits", words)
    return kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def kd_loss(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, *, temperature: float = 2.0, ce_weight: float = 0.1
) -> Tensor:
    """Knowledge distillation (Hinton et al., arXiv 1503.02531): c CE + (1 - c) T² KL(teacher ‖ student), both softened.

    Args:
        temperature: T > 0. ce_weight: c, in [0, 1]. Defaults: the baseline of arXiv 2506.12542, table 8.
    """
    s, t, target = _prepared("kd_loss", student_logits, teacher_logits, target, temperature, ce_weight=ce_weight)
    divergence = _divergence("kd_loss", torch.log_softmax(s / temperature, 1), torch.log_softmax(t / temperature, 1))
    return ce_weight * cross_entropy(s, target) + (1.0 - ce_weight) * temperature**2 * divergence


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    temperature: float = 4.0,
    ce_weight: float = 1.0,
    inter_weight: float = 2.0,
    intra_weight: float = 2.0,
) -> Tensor:
    """DIST (Huang et al., arXiv 2205.10536): CE, and how far softened probabilities are from correlating.

    a CE + b T² (1 - mean over rows of Pearson's ρ) + g T² (1 - mean over classes of ρ over the batch). A row or class
    that is constant to rounding, as of a student whose head is 0, counts as uncorrelated and has no gradient; near such
    ones the gradient of ρ is large, as its formula is, up to 1e8. Defaults: those for CIFAR-100.
    """
    weights = {"ce_weight": ce_weight, "inter_weight": inter_weight, "intra_weight": intra_weight}
    s, t, target = _prepared("dist_loss", student_logits, teacher_logits, target, temperature, **weights)
    p, q = torch.softmax(s / temperature, 1), torch.softmax(t / temperature, 1)
    inter, intra = 1.0 - _correlation(p, q).mean(), 1.0 - _correlation(p.T, q.T).mean()
    relations = temperature**2 * (inter_weight * inter + intra_weight * intra)
    return ce_weight * cross_entropy(s, target) + relations


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    temperature: float = 4.0,
    ce_weight: float = 1.0,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
) -> Tensor:
    """Decoupled distillation (Zhao et al., arXiv 2203.08679): CE + T² (α TCKD + β NCKD), of softened distributions.

    TCKD is the divergence between the two of label or not, NCKD that between those of the other classes alone. KD is
    TCKD + (1 - q_y) NCKD (its equation 7). Defaults: those for CIFAR-100, without its warm-up of β. A teacher that
    rules out all classes but the label has no distribution of the others, and is refused.
    """
    weights = {"ce_weight": ce_weight, "target_weight": target_weight, "other_weight": other_weight}
    s, t, target = _prepared("dkd_loss", student_logits, teacher_logits, target, temperature, **weights)
    label = target[:, None]
    own_s, others_s = _split(s / temperature, label)
    own_t, others_t = _split(t / temperature, label)
    words = "nothing but -inf beside the label, so that NCKD has no distribution"
    alone = others_t.amax(1) == -math.inf
    Places(alone.shape, None).refuse(alone, 0, "dkd_loss: teacher_logits", words)
    nckd = _divergence("dkd_loss", torch.log_softmax(others_s, 1), torch.log_softmax(others_t, 1))
    odds_s, odds_t = own_s - others_s.logsumexp(1), own_t - others_t.logsumexp(1)
    # A coin that never shows the label, which float32 and float64 cannot tell from one of these odds.
    odds_t = odds_t.clamp(min=-1e4)
    # KL of two coins by their log-odds: cross-entropy minus entropy.
    q = odds_t.sigmoid()
    tckd = binary_cross_entropy_with_logits(odds_s, q) - binary_cross_entropy_with_logits(odds_t, q)
    decoupled = temperature**2 * (target_weight * tckd + other_weight * nckd)
    return ce_weight * cross_entropy(s, target) + decoupled


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's ρ of every row, 0 where either is constant."""
    constant = _is_constant(x.detach()) | _is_constant(y)
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(x, dim=1) * torch.linalg.vector_norm(y, dim=1)
    return torch.where(constant, 0.0, (x * y).sum(1) / (norms + _EPS))


def _is_constant(p: Tensor) -> Tensor:
    low, high = p.aminmax(dim=1)
    return high - low <= _ROUNDINGS * torch.finfo(p.dtype).eps * high


def _split(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of labels, ``[N]``, and of all other classes, ``[N, C - 1]``."""
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, label, False)
    return logits.gather(1, label).squeeze(1), logits[others].view(len(logits), -1)
