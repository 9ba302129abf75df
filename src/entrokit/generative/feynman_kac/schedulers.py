"""Models and schedulers of `diffusers`: their noising process, their times, and a model's score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..noising import LinearExploding, Noising, TabulatedPreserving

__all__ = ["DiffusersScore", "diffusers_score", "scheduler_noising", "scheduler_times"]


def scheduler_noising(scheduler: Any) -> Noising:
    """How the scheduler's models were noised.

    One with ``alphas_cumprod`` (DDPM, DDIM, Euler, DPM-Solver) is a variance preserving process whose training step s
    lies at ``t = (s + 1) / N``. One that preconditions (``EDMEulerScheduler``) has ``σ = σ_max t``.

    Raises:
        TypeError: a class of schedulers instead of one, a model or a pipeline.
        ValueError: a scheduler that is neither; one that goes from data to noise (DDIMInverseScheduler); one whose last
            training step holds no data (zero terminal SNR): give it ``scheduler.alphas_cumprod[:-1]`` for its table
            and ``timestep_spacing="leading"``.
    """
    _check_scheduler(scheduler)
    if _preconditions(scheduler):
        return LinearExploding(float(scheduler.config.sigma_max))
    if not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(
            f"{type(scheduler).__name__} has neither alphas_cumprod nor EDM's preconditioning: give a noising "
            f"process and a score of your own"
        )
    # Inverse ones rise from the first, before any set_timesteps.
    steps = getattr(scheduler, "timesteps", None)
    if isinstance(steps, Tensor) and len(steps) > 1 and bool(steps[0] < steps[-1]):
        raise ValueError(f"{type(scheduler).__name__} goes from data to noise; take the scheduler that it inverts")
    return TabulatedPreserving(scheduler.alphas_cumprod.detach().double().cpu())


def scheduler_times(scheduler: Any) -> Tensor:
    """The times of ``scheduler.set_timesteps(n)``, falling to the data at 0; for ``steps`` of `FKCSampler`.

    n + 1 of them, or up to 2 n for solvers that call the model twice a step (Heun, PNDM, KDPM2), whose repeated times
    are taken once.

    Raises:
        TypeError, ValueError: as `scheduler_noising`; a scheduler that was not given its timesteps.
    """
    scheduler_noising(scheduler)
    if getattr(scheduler, "num_inference_steps", None) is None:
        raise ValueError(f"call set_timesteps(n) of {type(scheduler).__name__} first")
    if _preconditions(scheduler):
        sigmas: Tensor = scheduler.sigmas.double().cpu()
        return (sigmas / float(scheduler.config.sigma_max)).clamp_max(1)
    falling = torch.unique(scheduler.timesteps.double().cpu()).flip(0)
    return torch.cat([(falling + 1) / len(scheduler.alphas_cumprod), torch.zeros(1, dtype=torch.float64)])


@dataclass(frozen=True, eq=False)
class DiffusersScore:
    """``score(x, t)`` of a model of `diffusers`, as `diffusers_score` makes it.

    Attributes:
        model, scheduler, inputs: as given there. noising: the scheduler's, which `FKCSampler` holds to its own.
    """

    model: Any
    scheduler: Any
    inputs: Mapping[str, Any]
    noising: Noising

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """``[K, *]`` at particles ``[K, *]`` and times ``[K]``, in the particles' dtype.

        The model is called in its own, so that particles and weights may be of float32 and a model of half precision.

        Raises:
            TypeError: a model whose output is neither a tensor nor has one as ``sample``, or first in a tuple.
        """
        alpha, sigma = (
            of(t.double()).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
            for of in (self.noising.alpha, self.noising.sigma)
        )
        if _preconditions(self.scheduler):
            inside = self.scheduler.precondition_inputs(x, sigma)
            found = self._predicted(inside, self.scheduler.precondition_noise(sigma.flatten()))
            denoised: Tensor = self.scheduler.precondition_outputs(x, found, sigma)
            return (denoised - x) / sigma**2
        steps = len(self.scheduler.alphas_cumprod)
        found = self._predicted(x, (t.double() * steps - 1).round().long().clamp(0, steps - 1))
        kind = self.scheduler.config.prediction_type
        if kind == "sample":
            return (alpha * found - x) / sigma**2
        noise = found if kind == "epsilon" else sigma * x + alpha * found
        return -noise / sigma

    def check_groups(self, count: int, groups: int) -> None:
        """Raises: ValueError: an input whose rows, one a particle, differ within a group: two prompts would mix."""
        for name, value in _rows(self.inputs, count):
            grouped = value.detach().reshape(groups, count // groups, -1)
            mixed = (grouped != grouped[:, :1]).flatten(1).any(1)
            if bool(mixed.any()):
                raise ValueError(
                    f"{name} differs between particles of group {int(mixed.nonzero()[0])}, of {groups}: resampling "
                    f"would put a particle of one prompt in the place of another's. Sample with groups= as many as "
                    f"there are prompts, and each prompt's rows one behind the other, as repeat_interleave lays them"
                )

    def _predicted(self, x: Tensor, timestep: Tensor) -> Tensor:
        dtype = getattr(self.model, "dtype", None)
        output = self.model(x.to(dtype) if isinstance(dtype, torch.dtype) else x, timestep, **self.inputs)
        if isinstance(output, tuple) and output:
            output = output[0]
        found = getattr(output, "sample", output) if not isinstance(output, Tensor) else output
        if not isinstance(found, Tensor):
            raise TypeError(
                f"a model gives a tensor, or what has one as `sample`, or a tuple with one in front; "
                f"{type(self.model).__name__} gave a {type(output).__name__}"
            )
        # A model that learnt variances too has them behind.
        kept = found[:, : x.shape[1]] if found.ndim == x.ndim else found
        return kept.to(x.dtype)


def diffusers_score(model: Any, scheduler: Any, **inputs: Any) -> DiffusersScore:
    """``score(x, t)`` of a model that was trained under the scheduler.

    Args:
        model: called ``model(x, timestep, **inputs)``, in its own ``dtype``; gives a tensor, what has it as ``sample``,
            or a tuple that begins with it.
        inputs: what else the model takes, such as ``class_labels`` ``[K]`` or ``encoder_hidden_states``. A row belongs
            to a particle's place: with several prompts, sample in as many groups. A sampler refuses rows that differ
            within a group.

    Raises:
        TypeError: a model that cannot be called, a pipeline or a scheduler in its place; as `scheduler_noising`.
        ValueError: as `scheduler_noising`; a type of prediction other than epsilon, v_prediction and sample.
    """
    if part := _denoiser(model):
        raise TypeError(f"a {type(model).__name__} is a pipeline: take its model, pipeline.{part}")
    if hasattr(model, "set_timesteps"):
        raise TypeError(f"the model comes first, and the scheduler second; first is a {type(model).__name__}: swapped?")
    noising = scheduler_noising(scheduler)
    kind = getattr(scheduler.config, "prediction_type", None)
    if not _preconditions(scheduler) and kind not in ("epsilon", "v_prediction", "sample"):
        raise ValueError(f"prediction type {kind!r} is not known; there are 'epsilon', 'v_prediction' and 'sample'")
    if not callable(model):
        raise TypeError(f"a model is called model(x, timestep); a {type(model).__name__} cannot be")
    return DiffusersScore(model, scheduler, inputs, noising)


def _check_scheduler(scheduler: Any) -> None:
    """Raises what `scheduler_noising` says of what is no scheduler."""
    if isinstance(scheduler, type):
        raise TypeError(f"a scheduler is expected; it is the class {scheduler.__name__} itself: call it")
    if _denoiser(scheduler):
        raise TypeError(f"a scheduler is expected; a {type(scheduler).__name__} is a pipeline: take pipeline.scheduler")
    if isinstance(scheduler, torch.nn.Module):
        raise TypeError(f"a scheduler is expected; it is the model {type(scheduler).__name__}")


def _denoiser(found: Any) -> str | None:
    """Of a pipeline of diffusers what its model is called; of anything else None."""
    if not hasattr(found, "components") or not hasattr(found, "scheduler"):
        return None
    return next((name for name in ("unet", "transformer") if hasattr(found, name)), "components")


def _rows(inputs: Mapping[str, Any], count: int) -> Iterator[tuple[str, Tensor]]:
    """Tensors with a row a particle, also those within mappings (``added_cond_kwargs``)."""
    for name, value in inputs.items():
        if isinstance(value, Mapping):
            yield from _rows(value, count)
        elif isinstance(value, Tensor) and value.ndim and len(value) == count:
            yield name, value


def _preconditions(scheduler: Any) -> bool:
    config = getattr(scheduler, "config", {})
    return hasattr(scheduler, "precondition_outputs") and config.get("sigma_max") is not None
