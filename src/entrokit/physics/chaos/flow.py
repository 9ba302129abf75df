"""A flow dx/dt = f(x): its right-hand side, period, start and Jacobian, ours or of the `dysts` package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .checks import ArrayLike, as_float64, as_positive
from .fields import Field, jacobian_of

__all__ = ["Flow", "FunctionFlow", "check_flow", "from_dysts", "name_of"]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """An autonomous flow. Calling it gives dx/dt of states ``[..., D]``.

    Attributes:
        period: 1 over the dominant frequency of its spectrum: the unit in which series are sampled. Of annotated
            systems it is that of the default parameters. start: a state ``(D,)`` from which it falls onto the
            attractor.

    Raises:
        ValueError: a period or a start that is none.
    """

    period: float
    start: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "period", as_positive(self.period, f"{self.name}: period"))
        start = as_float64(self.start, f"{self.name}: start")
        if start.ndim != 1 or not len(start):
            raise ValueError(f"{self.name}: start: one state (D,) is expected; got {list(start.shape)}")
        object.__setattr__(self, "start", tuple(start.tolist()))

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def dimension(self) -> int:
        return len(self.start)

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{self.name}: a flow gives dx/dt when it is called; `FunctionFlow` takes a function")

    def of_arrays(self, x: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The same of NumPy arrays ``[D, ...]``, or None: of few states, steps are several times sooner done."""
        return None

    def jacobian(self, x: Tensor) -> Tensor:
        """``[..., D] -> [..., D, D]``, by forward-mode differentiation."""
        return jacobian_of(self, self.name)(x)

    def observe(self, x: Tensor) -> Tensor:
        """What is measured of states ``[..., D]``: the same, unless angles that grow for ever have to be wrapped."""
        return x


@dataclass(frozen=True, kw_only=True)
class FunctionFlow(Flow):
    """A flow out of functions.

    Attributes:
        label: its name. field: ``[..., D] -> [..., D]``. derivative: its Jacobian ``[..., D, D]``; by default
            `torch.func`'s.
        observed: as `Flow.observe`.
    """

    label: str
    field: Field
    derivative: Field | None = None
    observed: Field | None = None

    @property
    def name(self) -> str:
        return self.label

    def __call__(self, x: Tensor) -> Tensor:
        return self.field(x)

    def jacobian(self, x: Tensor) -> Tensor:
        return (self.derivative or jacobian_of(self.field, self.name))(x)

    def observe(self, x: Tensor) -> Tensor:
        return self.observed(x) if self.observed else x


def check_flow(flow: object, name: str = "flow") -> None:
    """Raises TypeError: no `Flow`; says what makes one of what was given instead."""
    if isinstance(flow, Flow):
        return
    if isinstance(flow, type):
        hint = f"the class {flow.__name__}; {flow.__name__}() makes one of it"
    elif hasattr(flow, "rhs"):
        hint = f"a {type(flow).__name__}; `from_dysts` makes one of it"
    elif callable(flow):
        hint = "a function; FunctionFlow(label=..., field=..., period=..., start=...) makes one of it"
    else:
        hint = type(flow).__name__
    raise TypeError(f"{name}: a flow is expected; got {hint}")


def name_of(f: object) -> str:
    return f.name if isinstance(f, Flow) else getattr(f, "__name__", "f")


def from_dysts(system: Any) -> FunctionFlow:
    """A flow of the `dysts` package, or anything with its ``rhs(X, t)``, ``ic`` and ``period``; it needs no import.

    States are handed over one by one, in float64 on the CPU. The Jacobian is its own, or central differences where it
    has none. Angles that it leaves unbounded are wrapped by its own postprocessing when they are observed.

    Raises:
        TypeError: a class. ValueError: something else, a system with a delay, or one whose period is not known.
    """
    if isinstance(system, type):
        kind = system.__name__
        raise TypeError(f"system: a flow of dysts is expected; got the class {kind}, of which {kind}() makes one")
    name = getattr(system, "name", type(system).__name__)
    if hasattr(system, "delayed_rhs"):
        raise ValueError(f"{name}: has a delay, so that its state is a function and not a point; such are left out")
    lacking = [of for of in ("rhs", "ic", "period") if getattr(system, of, None) is None]
    if lacking:
        raise ValueError(f"{name}: lacks {', '.join(lacking)}, which a flow of dysts has")

    def field(x: Tensor) -> Tensor:
        return _each(lambda state: system.rhs(state, 0.0), x)

    def differences(x: Tensor) -> Tensor:
        steps = torch.finfo(x.dtype).eps ** (1 / 3) * x.abs().clamp(min=1)
        moved = torch.diag_embed(steps)
        ahead, behind = field(x[..., None, :] + moved), field(x[..., None, :] - moved)
        slopes: Tensor = (ahead - behind) / (2 * steps[..., None])
        return slopes.mT

    def derivative(x: Tensor) -> Tensor:
        return _each(lambda state: system.jac(state, 0.0), x)

    wrap = getattr(system, "_postprocessing", None)
    has_own = callable(getattr(system, "has_jacobian", None)) and system.has_jacobian()
    return FunctionFlow(
        label=name,
        field=field,
        derivative=derivative if has_own else differences,
        observed=(lambda x: _each(lambda state: wrap(*state), x)) if wrap else None,
        period=float(system.period),
        start=tuple(float(v) for v in system.ic),
    )


def _each(f: Callable[[Any], Any], x: Tensor) -> Tensor:
    """An own function of NumPy states, one after the other."""
    states = x.reshape(-1, x.shape[-1]).numpy()
    found = torch.stack([_stacked(f(state)) for state in states])
    shaped: Tensor = found.reshape(x.shape[:-1] + found.shape[1:])
    return shaped


def _stacked(value: ArrayLike | tuple[Any, ...]) -> Tensor:
    if isinstance(value, (tuple, list)):
        return torch.stack([_stacked(part) for part in value])
    return torch.as_tensor(value, dtype=torch.float64)
