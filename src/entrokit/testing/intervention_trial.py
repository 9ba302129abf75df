"""What the checks of a method are given, and how two steps of it are compared."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from entrokit.rlvr import Intervention, Recipe, recipe
from entrokit.rlvr.interventions import registered

from .checks import Skipped, said
from .rollouts_trial import MARKER, Step, perturbed, random_batch, take_step
from .stage_results import expect_kind, expect_numbers, listen

# Sums of at most a few hundred float64 numbers of the size of 1, in another order, differ by less than 1e-12; what a
# method may have kept in float32 by less than 1e-6.
_APART, STATE_APART = 1e-9, 1e-6


@dataclass(frozen=True)
class Example:
    """A recipe string, and the class that it may name though nobody has registered it."""

    text: str
    cls: type[Intervention] | None = None

    def build(self) -> Recipe:
        """A fresh recipe, its texts bound to token ids."""
        with nullcontext() if self.cls is None else registered(self.cls):
            built = recipe(self.text)
        built.bind(lambda text: [MARKER])
        return built

    @cached_property
    def fault(self) -> str | None:
        """Why it cannot be built, or does not get through a step, and where in the author's code; None if it does."""
        try:
            built = self.build()
            listen(built, expect_kind)
            listen(built, expect_numbers)
            batch = random_batch()
            take_step(built, batch, perturbed(batch))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return said(error) + self.place(error)
        return None

    def place(self, error: BaseException) -> str:
        """Where in the author's modules an error came from, to be put behind what it says; nothing if it did not."""
        if self.cls is None:
            return ""
        modules = {c.__module__ for c in self.cls.__mro__ if issubclass(c, Intervention)} - {Intervention.__module__}
        found, cause = "", cast("BaseException | None", error)
        while cause is not None:
            for frame, line in traceback.walk_tb(cause.__traceback__):
                if frame.f_globals.get("__name__") in modules:
                    found = f" (in {frame.f_code.co_name}, {frame.f_code.co_filename}:{line})"
            cause = cause.__cause__
        return found

    def __str__(self) -> str:
        return self.text


def runs(example: Example) -> None:
    """Its recipe is built and gets through a step of training, in which every stage returns what it must, and no
    NaN or infinity at tokens that are trained on.
    """
    if example.fault is not None:
        raise AssertionError(example.fault)


def over_examples(check: Callable[[Example], None], examples: Sequence[Example]) -> None:
    """Runs a check over all of them; it is skipped only where every one skips it, as one that does not run skips all
    checks but `runs`.

    Raises:
        AssertionError: the first failure, behind the example's name.
        Skipped: why the first example skips it.
    """
    skipped: list[Skipped] = []
    for example in examples:
        if check is not runs and example.fault is not None:
            skipped.append(Skipped("does not run (see `runs`)"))
            continue
        try:
            check(example)
        except Skipped as reason:
            skipped.append(reason)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise AssertionError(f"{example}: {said(error)}{example.place(error)}") from error
    if examples and len(skipped) == len(examples):
        raise Skipped(str(skipped[0]))


@contextmanager
def during(what: str) -> Iterator[None]:
    """Says of an error in what circumstances it came.

    Raises:
        AssertionError: for any error.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise AssertionError(f"{what}: {said(error)}") from error


def expect_same_step(found: Step, wanted: Step, what: str, *, state: bool = True) -> None:
    """Equal up to rounding: loss, gradient, metrics, what is sampled and replayed, and ``state``.

    Raises:
        AssertionError: `what`, and what differs first.
    """
    expect_close(found.loss, wanted.loss, f"{what}: the loss")
    for name, value in wanted.gradient.items():
        expect_close(found.gradient[name], value, f"{what}: the gradient in {name}")
    expect_close_numbers(found.metrics, wanted.metrics, f"{what}: the metrics")
    if (found.sampled is None) != (wanted.sampled is None):
        raise AssertionError(f"{what}: one of them acts while sampling, the other does not")
    if found.sampled is not None and wanted.sampled is not None:
        expect_close(found.sampled, wanted.sampled, f"{what}: the logits while sampling")
    if state:
        expect_close_numbers(found.state, wanted.state, f"{what}: the state", STATE_APART)


def expect_close(found: Tensor, wanted: Tensor, what: str, apart: float = _APART) -> None:
    """Equal up to rounding of float64; NaN is equal to NaN."""
    if found.shape != wanted.shape:
        raise AssertionError(f"{what} has the shape {list(found.shape)}, not {list(wanted.shape)}")
    if not torch.allclose(found.double(), wanted.double(), rtol=apart, atol=apart, equal_nan=True):
        gap = (found.double() - wanted.double()).abs()
        raise AssertionError(f"{what} {_of(found)}is off by up to {float(gap.nan_to_num(nan=math.inf).max()):.3g}")


def _of(x: Tensor) -> str:
    return f"is {float(x):.6g} and " if not x.dim() else ""


def expect_close_numbers(found: Any, wanted: Any, what: str, apart: float = _APART) -> None:
    """Nested dicts, lists and tensors of one form, whose numbers are equal up to rounding."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping) or set(found) != set(wanted):
            raise AssertionError(f"{what}: {_keys(found)} against {_keys(wanted)}")
        for key in wanted:
            expect_close_numbers(found[key], wanted[key], f"{what}, {key}", apart)
    elif isinstance(wanted, Tensor):
        if not isinstance(found, Tensor):
            raise AssertionError(f"{what} is {found!r}, not a tensor")
        expect_close(found, wanted, what, apart)
    elif isinstance(wanted, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(wanted):
            raise AssertionError(f"{what} is {found!r}, not {wanted!r}")
        for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
            expect_close_numbers(one, other, f"{what}[{index}]", apart)
    elif not _equal(found, wanted, apart):
        raise AssertionError(f"{what} is {found!r}, not {wanted!r}")


def _equal(one: Any, other: Any, apart: float) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=apart, abs_tol=apart) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def _keys(x: Any) -> str:
    return str(sorted(map(str, x))) if isinstance(x, Mapping) else repr(x)


def numbers(state: Any) -> Iterator[float]:
    """Every number of nested dicts, lists and tensors, in order."""
    if isinstance(state, Tensor):
        yield from map(float, state.flatten().tolist())
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from numbers(value)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from numbers(value)
    elif isinstance(state, (int, float)):
        yield float(state)


def expect_finite(step: Step) -> None:
    """Loss, gradient, metrics and state hold no NaN and nothing infinite."""
    parts = {"the loss": step.loss, **{f"the gradient in {name}": g for name, g in step.gradient.items()}}
    for part, value in parts.items():
        if not bool(torch.isfinite(value).all()):
            raise AssertionError(f"{part} is not finite")
    for key, number in step.metrics.items():
        if not math.isfinite(number):
            raise AssertionError(f"the metric {key} is {number}")
    if not all(map(math.isfinite, numbers(step.state))):
        raise AssertionError(f"the state {step.state!r} is not finite")
