"""Remedies by cause: our recipes on the run's own base where its engine carries them, and what its engine is told."""

from __future__ import annotations

from .any_run import (
    Remedies,
    against_broken_numbers,
    against_gradient_spikes,
    against_impossible_entropy,
    against_loss_standstill,
    against_overfitting,
    against_supervised_divergence,
    against_too_little,
)
from .courses import (
    against_clip_saturation,
    against_crash,
    against_explosion,
    against_kl_blow_up,
    against_loss,
    against_lost_reward,
    against_mismatch,
    against_plateau,
    against_precision_gap,
    against_stale_weights,
)
from .lengths import (
    against_length_collapse,
    against_length_from_the_start,
    against_length_growth,
    against_repetition,
    against_truncation,
)
from .remedy import Remedy, RunWords
from .rewards import (
    against_few_prompts,
    against_instability,
    against_local_failure,
    against_no_learning,
    against_no_signal,
    against_reward_hacking,
    against_reward_imbalance,
    against_standstill,
)

__all__ = [
    "Remedies",
    "Remedy",
    "RunWords",
    "against_broken_numbers",
    "against_clip_saturation",
    "against_crash",
    "against_explosion",
    "against_few_prompts",
    "against_gradient_spikes",
    "against_impossible_entropy",
    "against_instability",
    "against_kl_blow_up",
    "against_length_collapse",
    "against_length_from_the_start",
    "against_length_growth",
    "against_local_failure",
    "against_loss",
    "against_loss_standstill",
    "against_lost_reward",
    "against_mismatch",
    "against_no_learning",
    "against_no_signal",
    "against_overfitting",
    "against_plateau",
    "against_precision_gap",
    "against_repetition",
    "against_reward_hacking",
    "against_reward_imbalance",
    "against_stale_weights",
    "against_standstill",
    "against_supervised_divergence",
    "against_too_little",
    "against_truncation",
]
