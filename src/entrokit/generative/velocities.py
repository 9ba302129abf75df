"""Velocities of flows: any callable, whose answer is looked at before it is used."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .checks import check_finite

__all__ = ["Velocity", "flow_velocity", "velocity_at"]

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
    found = _shaped(velocity(x, t), x, name, "lambda x, t: model(x, t)")
    if not found.is_floating_point():
        raise ValueError(f"{name} must be floating point; its dtype is {found.dtype}")
    check_finite(name, found.detach())
    return found


def flow_velocity(velocity: Callable[[Tensor, Tensor], Tensor], t: Tensor, x: Tensor, name: str) -> Tensor:
    """``velocity(t [B], x [B, *])``, torchcfm's order, data at t = 1: a tensor of the shape of ``x``, as it comes.

    What the model itself raises gets a note about the order, dtype and device of its arguments.

    Raises:
        TypeError: something else than a tensor. ValueError: another shape.
    """
    try:
        found = velocity(t, x)
    except Exception as error:
        error.add_note(
            f"raised in model(t {list(t.shape)}, x {list(x.shape)}), both {x.dtype} on {x.device}, which gets the time "
            "first; diffusers' models take it last: `lambda t, x: unet(x, 1000 * t).sample`"
        )
        raise
    return _shaped(found, x, name, "lambda t, x: model(t, x)")


def _shaped(found: object, x: Tensor, name: str, call: str) -> Tensor:
    if not isinstance(found, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor; the model returned a {type(found).__name__}: wrap it, as in "
            f"`{call}[0]`, or `.sample` of what diffusers' models return"
        )
    if found.shape != x.shape:
        raise ValueError(f"{name} has shape {list(found.shape)}; {list(x.shape)} is expected")
    return found
