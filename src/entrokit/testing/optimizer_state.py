"""Checks of an optimizer: what survives saving, loading and copying, and which knobs a param group has to itself."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .checks import Skipped
from .optimizer_trial import Subject, Trial, bits, expect_moved, expect_same, parameters


def resume(subject: Subject) -> None:
    """A run saved half way, and loaded into a fresh optimizer on a copy of the model, goes on bit for bit."""
    for before in (0, 3):
        _resumes(Trial(subject, dtype=torch.float32).train(before))


def resume_dtypes(subject: Subject) -> None:
    """A run in bfloat16 or float64 resumes bit for bit too: loading casts no state to the parameters' dtype."""
    # Optimizer.load_state_dict does; whoever keeps float32 beside other parameters has to see to it.
    for dtype in (torch.bfloat16, torch.float64):
        _resumes(Trial(subject, dtype=dtype).train(3))


def resume_from_saved_knobs(subject: Subject) -> None:
    """Loaded into an optimizer that was built with another lr, the saved lr is the one that counts."""
    subject.require_knob("lr")
    _resumes(Trial(subject, dtype=torch.float32).train(2), lr=subject.lr / 4)


def deep_copy(subject: Subject) -> None:
    """A deep copy of the optimizer goes on as the original does, bit for bit, and shares nothing with it."""
    _copied(subject, copy.deepcopy)


def pickled(subject: Subject) -> None:
    """An optimizer that went through pickle goes on as the original does, bit for bit."""
    _copied(subject, lambda optimizer: pickle.loads(pickle.dumps(optimizer)))


def group_override(subject: Subject) -> None:
    """An lr of its own reaches a group's parameters and no others, in whichever way it was set."""
    lr = subject.lr
    plain = _grouped(subject)
    given = _grouped(subject, lr=lr / 2)
    later = _grouped(subject)
    later.optimizer.param_groups[1]["lr"] = lr / 2
    for trial in (plain, given, later):
        trial.step()
    expect_same(given.params[:1], plain.params[:1], "a step, with another lr in the other group")
    expect_same(later.params, given.params, "lr set after construction against lr in the group")
    if torch.equal(given.params[1], plain.params[1]):
        raise AssertionError("a group's own lr does not reach its parameters")


def group_added(subject: Subject) -> None:
    """`add_param_group` after some steps leaves the state there is, fills in defaults, and trains the newcomer."""
    _grouped(subject)
    trial = Trial(subject, dtype=torch.float32).train(2)
    held = copy.deepcopy(trial.optimizer.state_dict()["state"])
    trial.params += parameters(subject.shapes[:1], torch.float32)
    trial.optimizer.add_param_group({"params": trial.params[-1:]})
    differs = _difference(trial.optimizer.state_dict()["state"], held)
    if differs:
        raise AssertionError(f"adding a group changed the state at {differs}")
    lacking = subject.defaults.keys() - trial.optimizer.param_groups[1].keys()
    if lacking:
        raise AssertionError(f"the added group lacks {', '.join(sorted(lacking))}")
    start = trial.values()
    expect_moved(trial.train(2).values(), start, "2 steps after a group was added")
    _resumes(trial, lambda params: [{"params": params[:-1]}, {"params": params[-1:]}])


def _resumes(trial: Trial, groups: Callable[[list[Tensor]], Any] | None = None, **knobs: Any) -> None:
    """Save, load into a fresh optimizer, and train both on."""
    if groups:
        trial.groups = groups
    file = io.BytesIO()
    torch.save(trial.optimizer.state_dict(), file)
    file.seek(0)
    try:
        saved = torch.load(file, weights_only=True)
    except pickle.UnpicklingError as error:
        raise AssertionError(f"torch.load(weights_only=True) does not read the state_dict: {error}") from error
    again = trial.restart(**knobs)
    untouched = copy.deepcopy(saved)
    again.optimizer.load_state_dict(saved)
    differs = _difference(saved, untouched)
    if differs:
        raise AssertionError(f"load_state_dict changed what it was given at {differs}")
    differs = _difference(again.optimizer.state_dict(), trial.optimizer.state_dict())
    if differs:
        raise AssertionError(f"the state_dict is another one once loaded, at {differs}")
    found, wanted = again.train(3).params, trial.train(3).params
    expect_same(found, wanted, f"3 steps after loading a run of {trial.taken - 3}")


def _copied(subject: Subject, duplicate: Callable[[Optimizer], Optimizer]) -> None:
    trial = Trial(subject).train(3)
    start = trial.values()
    twin = trial.continued_by(duplicate(trial.optimizer))
    expect_same(twin.params, start, "the copy's parameters")
    expect_moved(twin.train(3).values(), start, "3 steps of the copy")
    expect_same(trial.params, start, "the original's parameters after 3 steps of the copy")
    expect_same(twin.params, trial.train(3).params, "3 steps of the copy against 3 of the original")


def _grouped(subject: Subject, **override: Any) -> Trial:
    """Two groups, the second with knobs of its own; the check is skipped if the optimizer refuses a second group."""

    def groups(params: list[Tensor]) -> list[dict[str, Any]]:
        return [{"params": params[:1]}, {"params": params[1:], **override}]

    try:
        return Trial(subject, groups=groups)
    except ValueError as refusal:
        raise Skipped(f"refuses a second group: {refusal}") from refusal


def _difference(found: Any, wanted: Any, path: str = "") -> str:
    """Where two nests of containers and tensors differ first, bit for bit; nothing if nowhere."""
    if isinstance(wanted, Tensor):
        alike = isinstance(found, Tensor) and found.dtype == wanted.dtype and torch.equal(bits(found), bits(wanted))
        if not alike:
            kinds = getattr(found, "dtype", type(found).__name__), wanted.dtype
            return f"{path or '.'} ({kinds[0]} for {kinds[1]})" if kinds[0] != kinds[1] else path or "."
        return ""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping) or found.keys() != wanted.keys():
            return path or "."
        return next(filter(None, (_difference(found[key], wanted[key], f"{path}[{key!r}]") for key in wanted)), "")
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if not isinstance(found, Sequence) or len(found) != len(wanted):
            return path or "."
        pairs = enumerate(zip(found, wanted, strict=True))
        return next(filter(None, (_difference(one, other, f"{path}[{i}]") for i, (one, other) in pairs)), "")
    return "" if found == wanted else path or "."


CHECKS = (
    resume,
    resume_dtypes,
    resume_from_saved_knobs,
    deep_copy,
    pickled,
    group_override,
    group_added,
)
