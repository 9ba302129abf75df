"""Checks of a method: what it remembers, and that a run which was stopped goes on as if it had not been."""

from __future__ import annotations

import copy
import io
from collections import deque
from collections.abc import Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from entrokit.rlvr import Recipe

from .checks import Skipped
from .intervention_trial import Example, expect_close, expect_close_numbers, expect_same_step
from .rollouts_trial import Step, context_of, perturbed, random_batch, rows_of, take_step

# Batches of many completions after which a memory of ten thousand numbers is full, and those that show its growth.
_ROWS, _FULL, _MORE = 1024, 44, 8
# Without a state: batches before what the object holds is taken to grow, if it still does in the next ones.
_GLANCE = 4
# Bytes that a batch may add in the long run: a few numbers a batch fill no memory in any run.
_BYTES_A_BATCH = 64


def string(example: Example) -> None:
    """The recipe's string builds an equal recipe again, knobs included."""
    built = example.build()
    again = Example(str(built), example.cls).build()
    if str(again) != str(built):
        raise AssertionError(f"its string is {str(built)!r}, and the string of what that builds {str(again)!r}")
    # What is bound or remembered is no knob.
    if again != built:
        raise AssertionError(f"the string {str(built)!r} builds a recipe that is not equal to it")


def resume(example: Example) -> None:
    """A run that was saved (`torch.save`) and loaded (`weights_only`) goes on bit for bit: losses, gradients, metrics,
    what it samples and replays, and its state.
    """
    for before in (0, 3):
        straight, stopped = example.build(), example.build()
        for number in range(before):
            _train(straight, number)
            _train(stopped, number)
        fresh = example.build()
        fresh.load_state_dict(_saved(stopped.state_dict()))
        what = f"saved after {before} steps"
        expect_close_numbers(fresh.state_dict(), straight.state_dict(), f"{what}: the state", 0.0)
        for number in range(before, before + 2):
            found, wanted = _train(fresh, number), _train(straight, number)
            _expect_equal(found, wanted, f"{what}: step {number}")


def saved_state(example: Example) -> None:
    """A state that was taken stays what it was while the run goes on, as a checkpoint that is written later needs."""
    chosen = _with_memory(example)
    for number in range(4):
        state = chosen.state_dict()
        taken = copy.deepcopy(state)
        _train(chosen, number)
        expect_close_numbers(state, taken, f"a state taken after {number} steps, one step later", 0.0)


def foreign_state(example: Example) -> None:
    """The state of another method, or none where there must be one, is refused by an error and changes nothing."""
    chosen = example.build()
    for number in range(2):
        _train(chosen, number)
    for intervention in chosen.interventions:
        own = copy.deepcopy(intervention.state_dict())
        foreign: list[dict[str, Any]] = [{"of another method": 1.0}]
        for state in foreign + ([{}] if own else []):
            try:
                intervention.load_state_dict(state)
            except Exception:
                expect_close_numbers(
                    intervention.state_dict(), own, f"{intervention.name}: the state after a refusal", 0.0
                )
            else:
                raise AssertionError(f"{intervention.name} took the state {state}, which is not its own")


def memory(example: Example) -> None:
    """Its memory is bounded: once it has seen ten thousand prompts a batch adds at most a few numbers, and
    `memory_bytes` counts what the state holds. So is what it holds beside its state.
    """
    chosen = example.build()
    batch = random_batch(rows=_ROWS, length=3)
    values = perturbed(batch)
    sizes: list[dict[str, int]] = []
    for number in range(_FULL + _MORE):
        # Tensors of its own each time, as a run's are: whoever keeps them all keeps more and more.
        take_step(chosen, rows_of(batch, torch.arange(_ROWS)), values, context=context_of(number))
        sizes.append(_held(chosen))
        if number == 2 * _GLANCE and not _has_state(chosen) and sizes[-1] == sizes[_GLANCE]:
            break
    else:
        for what in sizes[-1]:
            # A memory of whole completions is now longer and now shorter.
            before, after = (
                max(one.get(what, 0) for one in part) for part in (sizes[_FULL - _MORE : _FULL], sizes[_FULL:])
            )
            if after - before > _BYTES_A_BATCH * _MORE:
                grown = (after - before) / _MORE
                raise AssertionError(f"a batch of {_ROWS} completions adds {grown:.0f} bytes in the long run to {what}")
    for intervention in chosen.interventions:
        tensors = _bytes(intervention.state_dict(), of_tensors=True)
        if intervention.memory_bytes < tensors:
            raise AssertionError(
                f"{intervention.name}.memory_bytes is {intervention.memory_bytes}, and its state has {tensors} bytes"
            )


def _with_memory(example: Example) -> Recipe:
    chosen = example.build()
    if not _has_state(chosen):
        raise Skipped("it has no state")
    return chosen


def _has_state(chosen: Recipe) -> bool:
    return any(state for state in chosen.state_dict().values())


def _held(chosen: Recipe) -> dict[str, int]:
    """Bytes of each intervention's state, and of what each of its attributes holds, by where they are."""
    sizes = {}
    for own in chosen.interventions:
        sizes[f"the state of {own.name}"] = _bytes(own.state_dict())
        sizes |= {f"{own.name}.{name}, an attribute": _reach(value, set()) for name, value in vars(own).items()}
    return sizes


def _reach(value: Any, seen: set[int]) -> int:
    """Bytes of the numbers and texts that can be reached from a value, each object once."""
    if isinstance(value, (bool, int, float, complex)):
        return 8
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.nbytes
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_reach(key, seen) + _reach(one, seen) for key, one in value.items())
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return sum(_reach(one, seen) for one in value)
    if isinstance(value, (type, ModuleType, FunctionType, MethodType)):
        return 0
    return _reach(getattr(value, "__dict__", ()), seen)


def _train(chosen: Recipe, number: int) -> Step:
    batch = random_batch(seed=number)
    return take_step(chosen, batch, perturbed(batch, seed=number), context=context_of(number))


def _saved(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def _expect_equal(found: Step, wanted: Step, what: str) -> None:
    expect_close(found.loss, wanted.loss, f"{what}: the loss", 0.0)
    expect_close_numbers(found.gradient, wanted.gradient, f"{what}: the gradient", 0.0)
    expect_close_numbers(found.metrics, wanted.metrics, f"{what}: the metrics", 0.0)
    expect_close_numbers(found.replayed, wanted.replayed, f"{what}: what is replayed", 0.0)
    expect_close_numbers(found.state, wanted.state, f"{what}: the state", 0.0)
    expect_same_step(found, wanted, what)


def _bytes(state: Any, *, of_tensors: bool = False) -> int:
    if isinstance(state, torch.Tensor):
        return state.nbytes
    if isinstance(state, dict):
        return sum(_bytes(value, of_tensors=of_tensors) for value in state.values())
    if isinstance(state, (list, tuple)):
        return sum(_bytes(value, of_tensors=of_tensors) for value in state)
    return 8 if isinstance(state, (int, float)) and not of_tensors else 0


CHECKS = (string, resume, saved_state, foreign_state, memory)
