"""Distillation by ranking: the Plackett-Luce loss of a teacher's order (PLD), of logits, of a head, or of a top k."""

from .full import teacher_optimal_permutation
from .head import TeacherHead, linear_pld_loss
from .loss import PLDLoss, pld_loss, topk_pld_loss
from .peers import dist_loss, dkd_loss, kd_loss
from .topk import TopKTeacher

__all__ = [
    "PLDLoss",
    "TeacherHead",
    "TopKTeacher",
    "dist_loss",
    "dkd_loss",
    "kd_loss",
    "linear_pld_loss",
    "pld_loss",
    "teacher_optimal_permutation",
    "topk_pld_loss",
]
