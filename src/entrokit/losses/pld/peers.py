"""The distillation losses that PLD is compared with: KD, DIST and DKD, each with its cross-entropy, mean over rows.

Student and teacher logits are ``[N, C]``, labels ``[N]``; no gradient reaches the teacher. Results are nats, in
float32 or float64.

Raises:
    ValueError: shapes that do not fit, no row, fewer than two classes, a temperature that is not above 0, or a label
        that is no class; rows to be ignored are left out before.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, kl_div

_EPS = 1e-8


def _check(who: str, student: Tensor, teacher: Tensor, target: Tensor, temperature: float) -> None:
    if student.dim() != 2 or teacher.shape != student.shape or target.shape != student.shape[:1]:
        raise ValueError(
            f"{who}: expected logits [N, C] of both and labels [N], got {list(student.shape)}, {list(teacher.shape)} "
            f"and {list(target.shape)}"
        )
    rows, classes = student.shape
    if rows < 1 or classes < 2:
        raise ValueError(f"{who}: needs a row and two classes, got {rows} and {classes}")
    if not temperature > 0.0:
        raise ValueError(f"{who}: temperature must be above 0, got {temperature}")
    outside = (target < 0) | (target >= classes)
    if bool(outside.any()):
        at = int(outside.nonzero()[0])
        raise ValueError(
            f"{who}: label {int(target[at])} of row {at} is none of {classes} classes; leave such rows out"
        )


def kd_loss(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, *, temperature: float = 2.0, ce_weight: float = 0.1
) -> Tensor:
    """Knowledge distillation (Hinton et al., arXiv 1503.02531): c CE + (1 - c) T² KL(teacher ‖ student), both softened.

    Args:
        temperature: T > 0. ce_weight: c, in [0, 1]. Defaults: the baseline of arXiv 2506.12542, table 8.
    """
    _check("kd_loss", student_logits, teacher_logits, target, temperature)
    log_p = torch.log_softmax(student_logits / temperature, 1)
    log_q = torch.log_softmax(teacher_logits.detach() / temperature, 1)
    divergence = kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    return ce_weight * cross_entropy(student_logits, target) + (1.0 - ce_weight) * temperature**2 * divergence


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
    that is constant counts as uncorrelated. Defaults: those for CIFAR-100.
    """
    _check("dist_loss", student_logits, teacher_logits, target, temperature)
    p = torch.softmax(student_logits / temperature, 1)
    q = torch.softmax(teacher_logits.detach() / temperature, 1)
    inter, intra = 1.0 - _correlation(p, q).mean(), 1.0 - _correlation(p.T, q.T).mean()
    relations = temperature**2 * (inter_weight * inter + intra_weight * intra)
    return ce_weight * cross_entropy(student_logits, target) + relations


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
    TCKD + (1 - q_y) NCKD (its equation 7). Defaults: those for CIFAR-100, without its warm-up of β.
    """
    _check("dkd_loss", student_logits, teacher_logits, target, temperature)
    label = target[:, None]
    own_s, others_s = _split(student_logits / temperature, label)
    own_t, others_t = _split(teacher_logits.detach() / temperature, label)
    log_p, log_q = torch.log_softmax(others_s, 1), torch.log_softmax(others_t, 1)
    nckd = kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    odds_s, odds_t = own_s - others_s.logsumexp(1), own_t - others_t.logsumexp(1)
    # KL of two coins by their log-odds: cross-entropy minus entropy.
    q = odds_t.sigmoid()
    tckd = binary_cross_entropy_with_logits(odds_s, q) - binary_cross_entropy_with_logits(odds_t, q)
    decoupled = temperature**2 * (target_weight * tckd + other_weight * nckd)
    return ce_weight * cross_entropy(student_logits, target) + decoupled


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's ρ of every row."""
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(x, dim=1) * torch.linalg.vector_norm(y, dim=1)
    return (x * y).sum(1) / (norms + _EPS)


def _split(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of labels, ``[N]``, and of all other classes, ``[N, C - 1]``."""
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, label, False)
    return logits.gather(1, label).squeeze(1), logits[others].view(len(logits), -1)
