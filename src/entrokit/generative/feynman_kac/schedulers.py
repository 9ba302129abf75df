"""Models and schedulers of `diffusers`: their noising process, their times, and a model's score."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..noising import LinearExploding, Noising, TabulatedPreserving
from .stepping import Score

__all__ = ["diffusers_score", "scheduler_noising", "scheduler_times"]


def scheduler_noising(scheduler: Any) -> Noising:
    """How the scheduler's models were noised.

    One with ``alphas_cumprod`` (DDPM, DDIM, Euler, DPM-Solver) is a variance preserving process whose training step s
    lies at ``t = (s + 1) / N``. One that preconditions (``EDMEulerScheduler``) has ``σ = σ_max t``.

    Raises:
        ValueError: a scheduler that is neither; one whose last training step holds no data (zero terminal SNR).
    """
    if _preconditions(scheduler):
        return LinearExploding(float(scheduler.config.sigma_max))
    if not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(
            f"{type(scheduler).__name__} has neither alphas_cumprod nor EDM's preconditioning: give a noising "
            f"process and a score of your own"
        )
    return TabulatedPreserving(scheduler.alphas_cumprod.detach().double().cpu())


def scheduler_times(scheduler: Any) -> Tensor:
    """The times of ``scheduler.set_timesteps(n)``, n + 1 of them, falling to the data; for ``steps`` of `FKCSampler`.

    Raises:
        ValueError: as `scheduler_noising`; a scheduler that was not given its timesteps.
    """
    scheduler_noising(scheduler)
    if getattr(scheduler, "num_inference_steps", None) is None:
        raise ValueError(f"call set_timesteps(n) of {type(scheduler).__name__} first")
    if _preconditions(scheduler):
        sigmas: Tensor = scheduler.sigmas.double().cpu()
        return (sigmas / float(scheduler.config.sigma_max)).clamp_max(1)
    steps = scheduler.timesteps.double().cpu()
    return torch.cat([(steps + 1) / len(scheduler.alphas_cumprod), torch.zeros(1, dtype=torch.float64)])


def diffusers_score(model: Any, scheduler: Any, **inputs: Any) -> Score:
    """``score(x, t)`` of a model that was trained under the scheduler.

    Args:
        model: called ``model(x, timestep, **inputs)``; gives a tensor, or what has it as ``sample``.
        inputs: what else the model takes, such as ``class_labels`` ``[K]`` or ``encoder_hidden_states``. A row belongs
            to a particle's place: with several prompts, sample in as many groups.

    Raises:
        ValueError: as `scheduler_noising`; a type of prediction other than epsilon, v_prediction and sample.
    """
    noising, preconditions = scheduler_noising(scheduler), _preconditions(scheduler)
    kind = scheduler.config.prediction_type
    if not preconditions and kind not in ("epsilon", "v_prediction", "sample"):
        raise ValueError(f"prediction type {kind!r} is not known; there are 'epsilon', 'v_prediction' and 'sample'")

    def predicted(x: Tensor, timestep: Tensor) -> Tensor:
        output = model(x, timestep, **inputs)
        found: Tensor = output if isinstance(output, Tensor) else output.sample
        # A model that learnt variances too has them behind.
        return found[:, : x.shape[1]] if found.ndim == x.ndim else found

    def score(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (
            of(t.double()).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1)) for of in (noising.alpha, noising.sigma)
        )
        if preconditions:
            inside = scheduler.precondition_inputs(x, sigma)
            found = predicted(inside, scheduler.precondition_noise(sigma.flatten()))
            denoised: Tensor = scheduler.precondition_outputs(x, found, sigma)
            return (denoised - x) / sigma**2
        steps = len(scheduler.alphas_cumprod)
        found = predicted(x, (t.double() * steps - 1).round().long().clamp(0, steps - 1))
        if kind == "sample":
            return (alpha * found - x) / sigma**2
        noise = found if kind == "epsilon" else sigma * x + alpha * found
        return -noise / sigma

    return score


def _preconditions(scheduler: Any) -> bool:
    return hasattr(scheduler, "precondition_outputs") and scheduler.config.get("sigma_max") is not None
