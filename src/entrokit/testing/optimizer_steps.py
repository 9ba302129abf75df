"""Checks of an optimizer: what a step does to parameters, and to the closure that it is given."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from .checks import Skipped
from .optimizer_trial import Shape, Subject, Trial, accepts, expect_close, expect_finite, expect_moved, expect_same

UNUSUAL: tuple[Shape, ...] = ((), (1,), (0,), (0, 3), (2, 3, 2), (2, 1, 3, 2))


def descent(subject: Subject) -> None:
    """Training lowers a convex loss."""
    trial = Trial(subject)
    # Targets that hardly move: what a step loses on them is not the noise's.
    trial.spread = 0.3
    trial.closure()
    before = trial.loss
    # Who needs a closure evaluates it often in a step.
    steps = 5 if subject.needs_closure else 100
    trial.train(steps)
    trial.taken = 0
    trial.closure()
    after = trial.loss
    if not after < before:
        raise AssertionError(f"the loss went from {before:.6g} to {after:.6g} in {steps} steps")


def determinism(subject: Subject) -> None:
    """Two runs from the same start, with torch's generator seeded alike, are the same bit for bit."""
    expect_same(Trial(subject).train(4).params, Trial(subject).train(4).params, "two runs of 4 steps")


def iterator(subject: Subject) -> None:
    """`model.parameters()` may be read once only: an iterator does what a list does."""
    found, wanted = Trial(subject, groups=iter), Trial(subject, groups=list)
    expect_same(found.train(2).params, wanted.train(2).params, "parameters from an iterator against a list")


def in_place(subject: Subject) -> None:
    """A step writes into the parameters' own memory: tied weights, views and buckets of gradients stay valid."""
    trial = Trial(subject)
    kept = list(trial.params)
    memory = [(param.data_ptr(), param.shape, param.stride()) for param in kept]
    trial.train(2)
    held = [param for group in trial.optimizer.param_groups for param in group["params"]]
    for index, (param, now, was) in enumerate(zip(kept, held, memory, strict=True)):
        if param is not now or (param.data_ptr(), param.shape, param.stride()) != was:
            raise AssertionError(f"parameter {index} has been replaced instead of written to")


def dtypes(subject: Subject) -> None:
    """Parameters in float64, float32 and bfloat16 keep their dtype, and stay finite."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        trial = Trial(subject, dtype=dtype)
        start = trial.values()
        trial.train(3)
        for index, param in enumerate(trial.params):
            if param.dtype != dtype:
                raise AssertionError(f"parameter {index} of {dtype} has become {param.dtype}")
        # Steps may be shorter than what bfloat16 resolves.
        if dtype == torch.bfloat16:
            expect_finite(trial.values(), f"3 steps in {dtype}")
        else:
            expect_moved(trial.values(), start, f"3 steps in {dtype}")


def noncontiguous(subject: Subject) -> None:
    """A parameter that is a strided view moves as its contiguous copy does."""
    dense = Trial(subject)
    start = dense.values()
    strided = []
    for value in start:
        memory = torch.full((*value.shape[::-1], 2), torch.nan, dtype=value.dtype)
        view = memory[..., 0].permute(*range(value.dim() - 1, -1, -1))
        strided.append(view.copy_(value).requires_grad_())
    found = Trial(subject, params=strided).train(3)
    expect_close(found.values(), dense.train(3).values(), start, 3, "strided against contiguous parameters")


def unusual_shapes(subject: Subject) -> None:
    """Parameters of no, one, three and four dimensions, and empty ones, are stepped, or refused by a ValueError."""
    shapes = [shape for shape in UNUSUAL if accepts(subject.make, shape)]
    if not shapes:
        raise Skipped(f"refuses every one of {', '.join(map(str, UNUSUAL))}")
    for shape in shapes:
        trial = Trial(subject, shapes=[*subject.shapes, shape])
        start = trial.values()
        try:
            trial.train(3)
        except Exception as error:
            raise AssertionError(f"a parameter of shape {shape}: {type(error).__name__}: {error}") from error
        expect_moved(trial.values(), start, f"3 steps with a parameter of shape {shape}")


def closure(subject: Subject) -> None:
    """A closure is called, once if it is optional; what it returned is returned, and the step is the ordinary one."""
    trial = Trial(subject)
    losses: list[float] = []

    def counted() -> Any:
        loss = trial.closure()
        losses.append(loss.item())
        return loss

    for taken in range(3):
        trial.taken = taken
        losses.clear()
        torch.manual_seed(taken)
        returned = trial.optimizer.step(counted)
        if not losses:
            raise AssertionError("the closure was never called")
        if returned is None or torch.as_tensor(returned).item() not in losses:
            raise AssertionError(f"step returned {returned!r}, the closure {losses[0]!r}")
        if len(losses) > 1 and not subject.needs_closure:
            raise AssertionError(f"a closure that step does not need was called {len(losses)} times")
    if not subject.needs_closure:
        expect_same(trial.params, Trial(subject).train(3).params, "3 steps with a closure against 3 without")


def closure_grad_mode(subject: Subject) -> None:
    """Under `torch.no_grad()` a closure still computes gradients, and the step leaves the mode as it was."""
    trial = Trial(subject)
    start = trial.values()
    enabled: list[bool] = []

    def watched() -> Any:
        enabled.append(torch.is_grad_enabled())
        with torch.enable_grad():
            return trial.closure()

    for mode in (False, True):
        with torch.set_grad_enabled(mode):
            trial.optimizer.step(watched)
            if not all(enabled):
                raise AssertionError("the closure was called with gradients disabled")
            if torch.is_grad_enabled() != mode:
                raise AssertionError(f"step left gradients {'disabled' if mode else 'enabled'}")
    expect_moved(trial.values(), start, "steps with a closure")


def foreach_equals_loop(subject: Subject) -> None:
    """`foreach=True` takes the steps of `foreach=False`, decaying or maximizing too, on shapes and dtypes mixed."""
    subject.require_knob("foreach")
    extra = [shape for shape in UNUSUAL if _steps_on(subject, shape)]
    shapes = [*subject.shapes, *extra, *subject.shapes, *extra]
    offered: list[dict[str, Any]] = [{"weight_decay": 0.1}, {"maximize": True}]
    for knobs in [{}, *(one for one in offered if all(map(subject.takes, one)))]:
        runs = []
        for foreach in (False, True):
            trial = Trial(subject, params=_mixed(shapes), foreach=foreach, **knobs)
            trial.alter = lambda index, gradient: None if index == 1 else gradient
            start = trial.values()
            runs.append(trial.train(3).values())
        expect_close(runs[1], runs[0], start, 3, f"foreach against the loop, knobs {knobs}, shapes {shapes}")


def maximize(subject: Subject) -> None:
    """`maximize=True` takes the steps that minimising takes on negated gradients, bit for bit."""
    subject.require_knob("maximize")
    found, wanted = Trial(subject, maximize=True), Trial(subject, maximize=False)
    wanted.alter = lambda index, gradient: -gradient
    start = found.values()
    expect_moved(found.train(3).values(), start, "maximize=True")
    expect_same(found.params, wanted.train(3).params, "maximize=True against negated gradients")


def printable(subject: Subject) -> None:
    """`repr` of the optimizer names its class."""
    text = repr(Trial(subject).train(1).optimizer)
    if subject.name not in text:
        raise AssertionError(f"repr is {text!r}")


def _steps_on(subject: Subject, shape: Shape) -> bool:
    # Which shapes the loop takes is another check's matter.
    try:
        Trial(subject, shapes=[shape], foreach=False).step()
    except Exception:
        return False
    return True


def _mixed(shapes: list[Shape]) -> list[Tensor]:
    kinds = cycle((torch.float64, torch.float32, torch.bfloat16))
    return [
        (2.0 + 0.25 * index / len(shapes) + torch.zeros(shape)).to(dtype).requires_grad_()
        for index, (shape, dtype) in enumerate(zip(shapes, kinds, strict=False))
    ]


CHECKS = (
    descent,
    determinism,
    iterator,
    in_place,
    dtypes,
    noncontiguous,
    unusual_shapes,
    closure,
    closure_grad_mode,
    foreach_equals_loop,
    maximize,
    printable,
)
