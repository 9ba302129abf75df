"""Checks of an optimizer: what it makes of gradients that are missing, zero, sparse or complex."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

from .checks import Skipped
from .optimizer_trial import Subject, Trial, bits, expect_close, expect_finite, expect_moved, expect_same


def missing_gradient(subject: Subject) -> None:
    """A parameter without a gradient stays as it is, bit for bit, also when it had gradients before."""
    # A method that needs a closure may step along one direction through all parameters, with a memory of its own.
    for before in (0,) if subject.needs_closure else (0, 2):
        trial = Trial(subject).train(before)
        start = trial.values()
        trial.alter = lambda index, gradient: None if index == 0 else gradient
        trial.train(2)
        when = f"{before} steps with gradients, then 2 with that of parameter 0 missing"
        expect_same(trial.params[:1], start[:1], when)
        expect_moved(trial.values()[1:], start[1:], when)


def no_gradients(subject: Subject) -> None:
    """A step before any gradient was computed changes no parameter, and the next step is an ordinary one."""
    trial = Trial(subject)
    start = trial.values()
    trial.alter = lambda index, gradient: None
    trial.step()
    expect_same(trial.params, start, "after a step without gradients")
    trial.alter = lambda index, gradient: gradient
    expect_moved(trial.train(1).values(), start, "a step with gradients after one without")


def zero_gradients(subject: Subject) -> None:
    """Gradients of exact zeros never make a parameter infinite or NaN, in the first steps or later."""
    for before in (0, 2):
        trial = Trial(subject).train(before)
        trial.alter = lambda index, gradient: torch.zeros_like(gradient)
        trial.train(3)
        expect_finite(trial.values(), f"{before} steps with gradients, then 3 with zeros")
        trial.alter = lambda index, gradient: gradient
        trial.step()
        expect_finite(trial.values(), f"{before} steps with gradients, 3 with zeros, then one with gradients")


def frozen_parameter(subject: Subject) -> None:
    """A parameter that requires no gradient is accepted among others and stays as it is, bit for bit."""

    def frozen(params: list[Tensor]) -> list[Tensor]:
        params[0].requires_grad_(False)
        return params

    trial = Trial(subject, groups=frozen)
    start = trial.values()
    trial.train(2)
    expect_same(trial.params[:1], start[:1], "2 steps with parameter 0 frozen")
    expect_moved(trial.values()[1:], start[1:], "2 steps with parameter 0 frozen")


def gradients_kept(subject: Subject) -> None:
    """A step leaves the gradients as it found them: they can be logged, clipped or accumulated afterwards."""
    trial = Trial(subject)
    seen: dict[int, Tensor] = {}

    def remember(index: int, gradient: Tensor) -> Tensor:
        seen[index] = gradient.clone()
        return gradient

    trial.alter = remember
    trial.train(2)
    for index, param in enumerate(trial.params):
        if param.grad is None or not torch.equal(bits(param.grad), bits(seen[index])):
            raise AssertionError(f"the step changed the gradient of parameter {index}")


def zero_grad(subject: Subject) -> None:
    """zero_grad() drops the gradients of every group, and zero_grad(set_to_none=False) fills them with zeros."""
    trial = Trial(subject).train(1)
    trial.closure()
    trial.optimizer.zero_grad(set_to_none=False)
    for index, param in enumerate(trial.params):
        if param.grad is None or bool(param.grad.any()):
            raise AssertionError(f"zero_grad(set_to_none=False) left {param.grad} at parameter {index}")
    trial.closure()
    trial.optimizer.zero_grad()
    for index, param in enumerate(trial.params):
        if param.grad is not None:
            raise AssertionError(f"zero_grad() left a gradient at parameter {index}")


def sparse_gradients(subject: Subject) -> None:
    """A sparse gradient does what the dense one does, or is refused by an error that says "sparse"."""

    def without_first_row(index: int, gradient: Tensor) -> Tensor:
        return gradient.index_fill(0, torch.tensor([0]), 0.0)

    def sparse(index: int, gradient: Tensor) -> Tensor:
        # Uncoalesced, every row twice, as an embedding's gradient comes.
        rows = torch.arange(1, len(gradient))
        halves = gradient[1:] / 2
        return torch.sparse_coo_tensor(
            torch.cat([rows, rows])[None], torch.cat([halves, halves]), gradient.shape, check_invariants=True
        )

    found, wanted = Trial(subject), Trial(subject)
    found.alter, wanted.alter = sparse, without_first_row
    start = found.values()
    if _refused("sparse", found.step):
        expect_same(found.params, start, "after sparse gradients were refused")
        return
    # One step: a lazy method may leave rows alone later on whose moments the dense method still decays.
    expect_close(found.values(), wanted.train(1).values(), start, 1, "sparse against dense gradients")


def complex_parameters(subject: Subject) -> None:
    """A complex parameter moves as its real view does, or is refused by an error that says "complex"."""
    built: list[Trial] = []
    if _refused("complex", lambda: built.append(Trial(subject, dtype=torch.complex128))):
        return
    trial = built[0]
    start = trial.values()
    if _refused("complex", lambda: trial.train(3)):
        expect_same(trial.params, start, "after complex parameters were refused")
        return
    try:
        real = Trial(subject, shapes=[(*shape, 2) for shape in subject.shapes]).train(3)
    except ValueError as refusal:
        raise Skipped(f"refuses the shapes of the real view: {refusal}") from refusal
    views = [[torch.view_as_real(tensor) for tensor in tensors] for tensors in (trial.values(), start)]
    expect_close(views[0], real.values(), views[1], 3, "complex parameters against their real views")


def _refused(word: str, act: Callable[[], object]) -> bool:
    """Whether it was refused by that name; any other error is one."""
    try:
        act()
    except Exception as error:
        # "Could not run 'aten::…' with arguments from the 'SparseCPU' backend" is an accident, not a refusal.
        if re.search(rf"\b{word}\b", str(error), re.IGNORECASE) and "aten::" not in str(error):
            return True
        # Torch lists a hundred backends behind the first sentence.
        found = str(error).partition(". ")[0]
        raise AssertionError(f"an error that does not say {word!r}: {type(error).__name__}: {found}") from error
    return False


CHECKS = (
    missing_gradient,
    no_gradients,
    zero_gradients,
    frozen_parameter,
    gradients_kept,
    zero_grad,
    sparse_gradients,
    complex_parameters,
)
