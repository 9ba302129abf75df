"""Velocities of flows: any callable, whose answer is looked at before it is used."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .checks import check_finite

__all__ = ["Velocity", "velocity_at"]

Velocity = Callable[[Tensor, Tensor], Tensor]
"""``velocity(x_t [B, *], t [B]) -> [B, *]``, noise at t = 1: `torch.nn.Module`, or any callable."""


def velocity_at(velocity: Velocity, x: Tensor, t: Tensor, name: str) -> Tensor:
    """``velocity(x, t)``, a finite tensor of the shape of ``x``; ``name`` is what errors call it.

    Raises:
        TypeError: no callable; something else than a tensor: a tuple, a model's output object.
        ValueError: another shape, numbers that are not floating point; NaN or infinity.
    """
    if not callable(velocity):
        raise TypeError(f"{name} comes from a callable, velocity(x, t); it is a {type(velocity).__name__}")
    found = velocity(x, t)
    if not isinstance(found, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor; the model returned a {type(found).__name__}: wrap it, as in "
            "`lambda x, t: model(x, t)[0]`, or `.sample` of what diffusers' models return"
        )
    if found.shape != x.shape:
        raise ValueError(f"{name} has shape {list(found.shape)}; {list(x.shape)} is expected")
    if not found.is_floating_point():
        raise ValueError(f"{name} must be floating point; its dtype is {found.dtype}")
    check_finite(name, found.detach())
    return found
