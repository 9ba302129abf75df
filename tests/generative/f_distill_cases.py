"""What the tests of f-distill share: the sheet's laws on a grid, and D_f and its gradient there by quadrature."""

import math

import torch

from entrokit.generative.f_distill import f_divergence_gradient_weight
from entrokit.generative.mixtures import GaussianMixture

TEACHER = GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in ([0.7, 0.3], [[-2.0], [2.0]], [0.5, 0.5])))
LOGITS = torch.tensor([[-1.0], [0.0], [1.0]])
# The mean and the standard deviation of TEACHER.
MOMENTS = (-0.8, math.sqrt(4.25 - 0.64))


def exactly(*values):
    return torch.tensor(values, dtype=torch.float64)


def log_normal(x, mean, std):
    return -0.5 * ((x - mean) / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)


def divergence_of_gaussian(key, mean, std, grid):
    """D_f of N(0, 1) from N(mean, std²)."""
    f, _ = f_divergence_gradient_weight(key)
    log_p, log_q = log_normal(grid, 0.0, 1.0), log_normal(grid, mean, std)
    return float(torch.trapezoid(log_q.exp() * f((log_p - log_q).exp()), grid))


def gradient(key, mean, std, score_p, log_p, grid):
    """Of D_f in the mean and std of a Gaussian student, by the weight: -E[h (s_p - s_q) ∂x]."""
    _, h = f_divergence_gradient_weight(key)
    log_q = log_normal(grid, mean, std)
    pull = log_q.exp() * h((log_p - log_q).exp()) * (score_p + (grid - mean) / std**2)
    return [-float(torch.trapezoid(pull * by, grid)) for by in (1.0, (grid - mean) / std)]
