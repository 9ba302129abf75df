"""Checks of an optimizer: that schedulers drive it, and what it makes of unusual rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, StepLR

from .checks import Skipped
from .optimizer_trial import Subject, Trial, expect_close, expect_moved, expect_same

_STEPS = 4


def schedulers(subject: Subject) -> None:
    """`StepLR`, `LambdaLR` and `OneCycleLR` drive the steps: each is the step that this lr takes when set by hand."""
    lr = subject.lr
    constant = Trial(subject).train(_STEPS)
    kinds: dict[str, Callable[[Optimizer], LRScheduler]] = {
        "StepLR": lambda optimizer: StepLR(optimizer, step_size=2, gamma=0.25),
        "LambdaLR": lambda optimizer: LambdaLR(optimizer, lambda step: 1.0 / (1 + step)),
        "OneCycleLR": lambda optimizer: OneCycleLR(optimizer, max_lr=lr, total_steps=10, cycle_momentum=False),
    }
    for name, kind in kinds.items():
        reference = SGD([torch.zeros(1)], lr=lr)
        driven, by_hand = Trial(subject), Trial(subject)
        clock, scheduler = kind(reference), kind(driven.optimizer)
        for _ in range(_STEPS):
            wanted = reference.param_groups[0]["lr"]
            found = float(driven.optimizer.param_groups[0]["lr"])
            if not math.isclose(found, wanted, rel_tol=1e-9):
                raise AssertionError(f"{name} set lr {wanted:.6g}, and the optimizer has {found:.6g}")
            by_hand.optimizer.param_groups[0]["lr"] = wanted
            driven.step()
            by_hand.step()
            scheduler.step()
            reference.step()
            clock.step()
        expect_same(driven.params, by_hand.params, f"{_STEPS} steps under {name} against lr set by hand")
        if subject.lr_zero_stands_still and torch.equal(driven.params[0], constant.params[0]):
            raise AssertionError(f"{_STEPS} steps under {name} are those of a constant lr")


def lr_zero(subject: Subject) -> None:
    """With every group's lr at zero a step changes no parameter."""
    if not subject.lr_zero_stands_still:
        raise Skipped("lr_zero_stands_still=False")
    lr = subject.lr
    for before in (0, 2):
        trial = Trial(subject).train(before)
        for group in trial.optimizer.param_groups:
            group["lr"] = 0.0
        start = trial.values()
        expect_same(trial.train(2).params, start, f"{before} steps at lr {lr:.6g}, then 2 at lr 0")


def lr_tensor(subject: Subject) -> None:
    """An lr given as a tensor is the same lr, also once it was written to in place; or it is refused."""
    subject.require_knob("lr")
    lr = subject.lr
    try:
        found = Trial(subject, lr=torch.tensor(lr, dtype=torch.float64))
    except (TypeError, ValueError) as refusal:
        raise Skipped(f"refuses a tensor: {refusal}") from refusal
    wanted = Trial(subject, lr=lr)
    start = found.values()
    for trial in (found, wanted):
        scheduler = LambdaLR(trial.optimizer, lambda step: 0.5**step)
        for _ in range(3):
            trial.step()
            scheduler.step()
    expect_moved(found.values(), start, "lr as a tensor")
    expect_close(found.values(), wanted.values(), start, 3, "lr as a tensor against the same number")


def bad_hyperparameters(subject: Subject) -> None:
    """A negative lr or weight decay is refused by a ValueError."""
    knobs = [knob for knob in ("lr", "weight_decay") if subject.takes(knob)]
    if not knobs:
        raise Skipped("make takes neither `lr` nor `weight_decay`")
    for knob in knobs:
        negative: dict[str, Any] = {knob: -1.0}
        try:
            Trial(subject, **negative)
        except ValueError:
            continue
        raise AssertionError(f"{knob}=-1 is accepted")


CHECKS = (schedulers, lr_zero, lr_tensor, bad_hyperparameters)
