"""Gaussian students of a mixture of two, where teacher, student and ratio are known exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from entrokit.generative.f_distill import RatioNormalizer, f_distill_loss, f_weight
from entrokit.generative.mixtures import GaussianMixture

TEACHER = GaussianMixture(torch.tensor([0.7, 0.3]), torch.tensor([[-2.0], [2.0]]), torch.tensor([0.5, 0.5]))
# The mean and the standard deviation of TEACHER.
MOMENTS = (-0.8, math.sqrt(4.25 - 0.64))
START = (0.5, 1.0)
SIGMAS = (0.02, 0.5)
STEPS, BATCH = 2000, 1024


def followed(
    divergence: str, starts: Sequence[tuple[float, float]], sigma: float = 0.0, steps: int = 6000
) -> list[tuple[float, float]]:
    """Mean and std at the end of gradient steps of 0.02 in mean and log std from each start, by quadrature in float64.

    The weight is divided by its mean over the student, as in the method, which changes how fast and not where to.
    """
    law = GaussianMixture(TEACHER.weights.double(), TEACHER.means.double(), TEACHER.stds.double()).noised(1.0, sigma)
    grid = torch.linspace(-14.0, 14.0, 1401, dtype=torch.float64)
    log_p, score_p = law.log_prob(grid[:, None]), law.score(grid[:, None])[:, 0]
    mean, log_std = torch.tensor(starts, dtype=torch.float64).T
    log_std = log_std.log()
    for _ in range(steps):
        own = (2 * log_std).exp()
        variance = (own + sigma**2)[:, None]
        away = grid - mean[:, None]
        log_q = -0.5 * (away**2 / variance + variance.log() + math.log(2 * math.pi))
        # Neyman's and Pearson's divergences may be infinite here; the clamp keeps their steps numbers.
        h = log_q.exp() * f_weight((log_p - log_q).clamp(-40, 40).exp(), divergence)
        pull = h * (score_p + away / variance) / h.sum(1, keepdim=True)
        # Of a sample at x the mean of z std is away std² / variance.
        mean = mean + 0.02 * pull.sum(1)
        log_std = log_std + 0.02 * (pull * away).sum(1) * own / variance[:, 0]
    return list(zip(mean.tolist(), log_std.exp().tolist(), strict=True))


def distilled(divergence: str, seed: int, sample_norm: str = "none") -> tuple[float, float]:
    """Mean and std of a student G(z) = m + s z after Adam by the loss itself; all but the samples is exact."""
    generator = torch.Generator().manual_seed(seed)
    low, high = (math.log(sigma) for sigma in SIGMAS)
    mean, log_std = torch.tensor(START[0], requires_grad=True), torch.tensor(math.log(START[1]), requires_grad=True)
    optimizer = torch.optim.Adam([mean, log_std], lr=0.01)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    normalizer = RatioNormalizer(low, high, ema_rate=0.5)
    for _ in range(STEPS):
        gen = mean + log_std.exp() * torch.randn(BATCH, 1, generator=generator)
        t = low + (high - low) * torch.rand(BATCH, generator=generator)
        noise = torch.randn(BATCH, 1, generator=generator)
        with torch.no_grad():
            teacher_x0, fake_x0, logits = _exact(gen + t.exp()[:, None] * noise, t.exp()[:, None], mean, log_std.exp())
        loss, _ = f_distill_loss(
            gen, teacher_x0, fake_x0, logits, t, divergence=divergence, normalizer=normalizer, sample_norm=sample_norm,
            time_weight=(lambda t: (-2 * t).exp()) if sample_norm == "none" else None,
        )  # fmt: skip
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        falling.step()
    return float(mean.detach()), math.exp(float(log_std.detach()))


def _exact(x: Tensor, sigma: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Clean data by teacher and by student, and log p/q, of ``x`` with noise ``sigma``; all are ``[B, 1]``."""
    variances = TEACHER.stds**2 + sigma**2
    away = TEACHER.means[:, 0] - x
    joint = TEACHER.weights.log() - 0.5 * (away**2 / variances + variances.log())
    teacher_x0 = x + sigma**2 * (joint.softmax(1) * away / variances).sum(1, keepdim=True)
    own = std**2 + sigma**2
    fake_x0 = x + sigma**2 * (mean - x) / own
    log_q = -0.5 * ((x - mean) ** 2 / own + own.log())
    return teacher_x0, fake_x0, joint.logsumexp(1, keepdim=True) - log_q
