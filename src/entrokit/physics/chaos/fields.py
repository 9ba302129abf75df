"""Functions of users: right-hand sides, maps and Jacobians, tried out once before anything is computed with them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Field", "FieldError", "as_batched_jacobian", "check_field", "check_field_along_time", "jacobian_of"]

Field = Callable[[Tensor], Tensor]
"""States ``[..., D]`` to vectors or matrices, each state by itself."""

_VECTORS = "[..., D] goes to [..., D]: s[..., 0] is the first coordinate of every state, s[0] the first state"
_MATRICES = "[..., D] goes to [..., D, D] or to one [D, D]: s[..., 0] is the first coordinate of every state"
# What a function raises that was written for something else.
_MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class FieldError(ValueError):
    """A function that does not take states as it should, or gives something else; says whose and of which shape."""


def check_field(f: Field, x: Tensor, name: str) -> Tensor:
    """What ``f`` gives for states ``[..., D]``; the first of a batch is compared with what it is alone.

    A function that is written as for one state, ``s[0], s[1], s[2]``, takes states of a batch for coordinates: of D
    states the shape is right and the numbers are not.

    Raises:
        TypeError: no function, or a class. ValueError: another shape, no tensor, whatever ``f`` raises, or a state that
            goes elsewhere in a batch than alone.
    """
    if isinstance(f, type):
        raise TypeError(f"{f.__name__}: is a class; {f.__name__}() makes a flow of it")
    if not callable(f):
        raise TypeError(f"f: a flow or a function of states is expected; got {type(f).__name__}")
    given = _vectors(f, x, name)
    if x.ndim > 1:
        _check_same(_vectors(f, x[:1], name), given[:1], x, name)
    return given


def check_field_along_time(f: Field, x: Tensor, name: str) -> None:
    """As `check_field`, of states ``[..., D]`` and of the same as the first of trajectories of one and of two points.

    A mean over all numbers that are given, where one over coordinates is meant, is told from it by the second point.
    """
    given = check_field(f, x, name)
    one = x[..., None, :]
    for trajectories in (one, torch.cat([one, 1.001 * one + 0.001], -2)):
        _check_same(given, _vectors(f, trajectories, name)[..., 0, :], x, name)


def jacobian_of(f: Field, name: str = "f") -> Field:
    """The Jacobian of a function of one state ``[D]`` by forward-mode differentiation, over any leading dimensions.

    Raises (when it is called):
        ValueError: `torch.func` cannot follow the function.
    """
    each = torch.func.vmap(torch.func.jacfwd(f))

    def jacobian(x: Tensor) -> Tensor:
        try:
            found: Tensor = each(x.reshape(-1, x.shape[-1]))
        except _MISFITS as error:
            raise FieldError(
                f"{name}: torch.func cannot differentiate it ({_said(error)}); operations of torch alone are expected, "
                "which take one state [D], too; or give its Jacobian, as `jac` or as a flow's `derivative`"
            ) from error
        return found.view(*x.shape, x.shape[-1])

    return jacobian


def as_batched_jacobian(jac: Field, f: Field, x: Tensor) -> Field:
    """``[..., D] -> [..., D, D]`` out of a Jacobian of ``f`` that may give one matrix ``[D, D]`` for all states.

    It is tried on states ``x`` ``[..., D]`` as trajectories of one point: it need not take a state alone.

    Raises (now, and when what is returned is called):
        TypeError: no function. ValueError: another shape, no tensor, whatever ``jac`` raises, or matrices that ``f``
            has nothing to do with.
    """
    if not callable(jac):
        raise TypeError(
            f"jac: a function that returns the Jacobian of states is expected; got a {type(jac).__name__}; of a "
            "constant matrix A it is lambda s: A"
        )

    def matrices(x: Tensor) -> Tensor:
        found, due = _given(jac, x, "jac", _MATRICES), (*x.shape, x.shape[-1])
        if found.shape not in (due, due[-2:]):
            raise FieldError(f"jac: gives {list(found.shape)} for states {list(x.shape)}; {_MATRICES}")
        return found.to(x).expand(due)

    _check_derivative(matrices, f, x[..., None, :])
    return matrices


def _check_derivative(jacobian: Field, f: Field, x: Tensor) -> None:
    """By differences along one direction, and by half of their size: what is transposed or detached is further off."""
    step = torch.finfo(x.dtype).eps ** (1 / 3) * x.abs().clamp(min=1)
    step[..., ::2] *= -0.5
    matrices, ahead, behind = jacobian(x), f(x + step), f(x - step)
    found, due = (matrices @ step[..., None])[..., 0], (ahead - behind) / 2
    rounding = 1e3 * torch.finfo(x.dtype).eps * (ahead.norm() + x.norm())
    # What is not finite is said with the state where it is.
    if bool((found - due).norm() > 0.5 * due.norm() + rounding):
        raise FieldError(
            f"jac: at the states that were given it is {matrices.flatten(0, -3)[0].tolist()} first, and differences of "
            "the field say something else; entry [i, k] is the derivative of component i by coordinate k, and what is "
            "detached has none for torch.func"
        )


def _vectors(f: Field, x: Tensor, name: str) -> Tensor:
    found = _given(f, x, name, _VECTORS)
    if found.shape != x.shape:
        raise FieldError(f"{name}: gives {list(found.shape)} for states {list(x.shape)}; {_VECTORS}")
    return found


def _given(f: Field, x: Tensor, name: str, due: str) -> Tensor:
    try:
        found = f(x)
    except (FieldError, NotImplementedError):
        raise
    except _MISFITS as error:
        raise FieldError(f"{name}: of states {list(x.shape)} it raised {_said(error)}; {due}") from error
    if not isinstance(found, Tensor) or found.is_complex():
        kind = f"a tensor of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        raise FieldError(f"{name}: gives {kind} for states {list(x.shape)}, and not a torch.Tensor of real numbers")
    return found


def _check_same(alone: Tensor, among: Tensor, x: Tensor, name: str) -> None:
    """Of states twice. Rounding differs where products are added up, and is all that a fixed point leaves of them."""
    rounding = 1e3 * torch.finfo(x.dtype).eps * float(x.abs().amax())
    differs = (alone - among).abs() > 1e-6 * among.abs().amax() + rounding
    # What is not finite differs from nothing: it is found on the way, with its time and start.
    if bool(differs.any()):
        at = differs.nonzero()[0, :-1].unbind()
        raise FieldError(
            f"{name}: gives {among[at].tolist()} for a state among others, and {alone[at].tolist()} for the same state "
            f"alone; every state goes by itself, {_VECTORS}"
        )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
