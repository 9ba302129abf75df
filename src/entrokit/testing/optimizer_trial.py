"""What the checks of an optimizer train: a few parameters towards targets that move with every step."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .checks import Skipped

Shape = tuple[int, ...]
SHAPES: tuple[Shape, ...] = ((3, 4), (5,), (2, 6))

# An update of the battery's small parameters, a norm over one of them included, is at most so many roundings deep.
_ROUNDINGS = 64

# As far as parameters are from zero: of the gradients of a step, one in four or so has the sign that it mostly has not.
_SPREAD = 3.0


@dataclass(frozen=True)
class Subject:
    """An optimizer under test.

    Attributes:
        make: ``make(params, **knobs)``. name: the optimizer's class.
        shapes: those of `SHAPES` that it accepts, two at least (one alone is taken twice).
        needs_closure: ``step()`` without a closure is not on offer.
        defaults: of every knob of its param groups.
        lr_zero_stands_still: no step is longer than its lr allows.
    """

    make: Callable[..., Optimizer]
    name: str
    shapes: tuple[Shape, ...]
    needs_closure: bool
    defaults: dict[str, Any]
    lr_zero_stands_still: bool

    @classmethod
    def of(cls, make: Callable[..., Optimizer], lr_zero_stands_still: bool = True) -> Subject:
        """Build it once, on those shapes that it accepts.

        Raises:
            ValueError: it accepts none of them; its own refusal.
        """
        accepted = [shape for shape in SHAPES if accepts(make, shape)]
        optimizer = make(parameters(accepted or SHAPES))
        closure = next(iter(inspect.signature(optimizer.step).parameters.values()), None)
        return cls(
            make=make,
            name=type(optimizer).__name__,
            shapes=tuple(accepted if len(accepted) > 1 else accepted * 2),
            needs_closure=closure is not None and closure.default is inspect.Parameter.empty,
            defaults=dict(optimizer.defaults),
            lr_zero_stands_still=lr_zero_stands_still,
        )

    def takes(self, knob: str) -> bool:
        """Whether `make` has that keyword, or passes on whichever it is given to an optimizer that has it."""
        known = inspect.signature(self.make).parameters
        if knob in known:
            return known[knob].kind is not inspect.Parameter.POSITIONAL_ONLY
        return knob in self.defaults and any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())

    def require_knob(self, knob: str) -> None:
        """Skip a check of a keyword that `make` does not take."""
        if not self.takes(knob):
            raise Skipped(f"make takes no keyword `{knob}`")

    @property
    def lr(self) -> float:
        """The default of the groups' lr; a check of an optimizer without one is skipped."""
        if self.defaults.get("lr") is None:
            raise Skipped("the param groups have no `lr`")
        return float(self.defaults["lr"])


class Trial:
    """An optimizer on parameters of its own. Two trials that were built alike see the same gradients and draws.

    Args:
        dtype: of the parameters; float64, unless the dtype is the point. shapes: the subject's by default.
        params: instead of fresh ones. groups: what `make` is given for them.
        knobs: for `make`.

    Attributes:
        spread: deviation of the targets; wide ones change the sign of most gradients now and then.
        taken: steps so far. loss: of the last one. alter: given a parameter's index and gradient, what to put in the
            gradient's place.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        dtype: torch.dtype = torch.float64,
        shapes: Sequence[Shape] | None = None,
        params: list[Tensor] | None = None,
        groups: Callable[[list[Tensor]], Iterable[Any]] = list,
        **knobs: Any,
    ) -> None:
        self.subject = subject
        self.params = parameters(subject.shapes if shapes is None else shapes, dtype) if params is None else params
        self.groups, self.knobs = groups, knobs
        self.optimizer = subject.make(groups(self.params), **knobs)
        self.spread = _SPREAD
        self.taken = 0
        self.loss = 0.0
        self.alter: Callable[[int, Tensor], Tensor | None] = lambda _, gradient: gradient

    def closure(self) -> Any:  # a Tensor, where torch's annotation says float
        """The loss of this step, 0-dim, with fresh gradients."""
        loss = torch.zeros((), dtype=torch.float64)
        for index, param in enumerate(self.params):
            param.grad = None
            if param.requires_grad:
                loss = loss + _distance(param, index, self.taken, self.spread)
        loss.backward()  # type: ignore[no-untyped-call]
        for index, param in enumerate(self.params):
            if param.grad is not None:
                param.grad = self.alter(index, param.grad)
        self.loss = loss.item()
        return loss

    def step(self) -> None:
        """One step, with a closure only if the optimizer has no other."""
        torch.manual_seed(self.taken)
        if self.subject.needs_closure:
            self.optimizer.step(self.closure)
        else:
            self.closure()
            self.optimizer.step()
        self.taken += 1

    def train(self, steps: int) -> Trial:
        for _ in range(steps):
            self.step()
        return self

    def restart(self, **knobs: Any) -> Trial:
        """A fresh optimizer on a copy of the parameters, as after a restart, before anything is loaded into it."""
        again = Trial(
            self.subject,
            params=[copy.deepcopy(param.detach()).requires_grad_(param.requires_grad) for param in self.params],
            groups=self.groups,
            **{**self.knobs, **knobs},
        )
        again.taken, again.spread = self.taken, self.spread
        return again

    def continued_by(self, optimizer: Optimizer) -> Trial:
        """The same trial from here on, by a copy of the optimizer and the parameters that it holds."""
        twin = copy.copy(self)
        twin.optimizer = optimizer
        twin.params = [param for group in optimizer.param_groups for param in group["params"]]
        return twin

    def values(self) -> list[Tensor]:
        """Copies of the parameters."""
        return [param.detach().clone() for param in self.params]


def parameters(shapes: Iterable[Shape], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Leaves two away from zero, of either sign."""
    leaves = []
    for index, shape in enumerate(shapes):
        real = 2.0 * (-1.0) ** index + 0.3 * draw((*shape, 2) if dtype.is_complex else shape, seed=index)
        leaves.append((torch.view_as_complex(real) if dtype.is_complex else real).to(dtype).requires_grad_())
    return leaves


def accepts(make: Callable[..., Optimizer], *shapes: Shape) -> bool:
    """Whether the optimizer can be built on such parameters; a ValueError is a refusal."""
    try:
        make(parameters(shapes))
    except ValueError:
        return False
    return True


def draw(shape: Shape, *, seed: int) -> Tensor:
    """Standard normal, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _distance(param: Tensor, index: int, step: int, spread: float) -> Tensor:
    # A complex parameter is drawn and measured as its real view, so that both have the same gradient bit for bit.
    real = torch.view_as_real(param) if param.is_complex() else param
    target = spread * draw(tuple(real.shape), seed=100 * (step + 1) + index)
    curvature = torch.linspace(0.5, 1.0, max(real.numel(), 1), dtype=torch.float64)[: real.numel()].reshape(real.shape)
    return 0.5 * (curvature * (real.double() - target) ** 2).sum()


def bits(tensor: Tensor) -> Tensor:
    """Its bytes, ``[N]`` uint8: signs of zero and NaN count."""
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def expect_same(found: Sequence[Tensor], wanted: Sequence[Tensor], what: str) -> None:
    """Bit for bit.

    Raises:
        AssertionError: `what`, and where they differ first.
    """
    for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
        if one.dtype != other.dtype or not torch.equal(bits(one), bits(other)):
            raise AssertionError(f"{what}: parameter {index} {_apart(one, other)}")


def expect_close(
    found: Sequence[Tensor], wanted: Sequence[Tensor], start: Sequence[Tensor], steps: int, what: str
) -> None:
    """Apart by roundings alone: `_ROUNDINGS` a step, of numbers as large as the parameter was or has become."""
    for index, (one, other, first) in enumerate(zip(found, wanted, start, strict=True)):
        allowed = _ROUNDINGS * steps * torch.finfo(other.dtype).eps * (first.abs() + other.abs())
        if one.dtype != other.dtype or not bool(((one - other).abs() <= allowed).all()):
            raise AssertionError(f"{what}: parameter {index} {_apart(one, other)}")


def expect_moved(found: Sequence[Tensor], start: Sequence[Tensor], what: str) -> None:
    """Every tensor is finite, and not what it was."""
    expect_finite(found, what)
    for index, (one, first) in enumerate(zip(found, start, strict=True)):
        if one.numel() and torch.equal(one, first):
            raise AssertionError(f"{what}: parameter {index} has not moved")


def expect_finite(found: Sequence[Tensor], what: str) -> None:
    for index, one in enumerate(found):
        if not bool(one.isfinite().all()):
            raise AssertionError(f"{what}: parameter {index} is not finite")


def _apart(one: Tensor, other: Tensor) -> str:
    if one.dtype != other.dtype:
        return f"is {one.dtype}, not {other.dtype}"
    return f"{list(one.shape)} is off by up to {float((one.detach() - other.detach()).abs().max()):.3g}"
