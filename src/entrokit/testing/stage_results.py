"""What the stages of a method return, listened to while a recipe runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from entrokit.rlvr import Intervention, Penalty, Recipe, Weighting, stages_of
from entrokit.rlvr.intervention import Replay

# Called after a stage with the method, the stage's name, its arguments and what it gave.
Listener = Callable[[Intervention, str, tuple[Any, ...], Any], None]


def listen(chosen: Recipe, listener: Listener) -> None:
    """Puts an ear at every stage that a method has."""
    for intervention in chosen.interventions:
        for stage in stages_of(intervention):
            put(intervention, stage, _heard(intervention, stage, getattr(intervention, stage), listener))


def put(intervention: Intervention, stage: str, function: Callable[..., Any]) -> None:
    """A function in a stage's place; a method may be a frozen dataclass."""
    object.__setattr__(intervention, stage, function)


def expect_kind(intervention: Intervention, stage: str, arguments: tuple[Any, ...], result: Any) -> None:
    """A stage's result is of the type that it must be.

    Raises:
        AssertionError: what it must return, what it returned, and where the stage is defined.
    """
    wanted, right = {
        "decode": ("a LogitsProcessor or None", result is None or callable(result)),
        "reward": ("a Tensor", isinstance(result, Tensor)),
        "advantage": ("a Tensor", isinstance(result, Tensor)),
        "prepare": ("tensors by name", _of_tensors(result)),
        "weight": ("a Weighting", isinstance(result, Weighting)),
        "penalty": ("a Tensor, a Penalty or None", result is None or isinstance(result, (Tensor, Penalty))),
        "replay": ("a Replay or None", result is None or isinstance(result, Replay)),
    }.get(stage, ("", True))
    if not right:
        got = "None" if result is None else type(result).__name__
        if isinstance(result, Mapping):
            got = ", ".join(f"{type(x).__name__} as {key!r}" for key, x in result.items() if not isinstance(x, Tensor))
        raise AssertionError(
            f"{intervention.name}.{stage} must return {wanted}, got {got}{_defined(intervention, stage)}"
        )


def expect_numbers(intervention: Intervention, stage: str, arguments: tuple[Any, ...], result: Any) -> None:
    """What a stage gives to trained tokens, or to rows with any, is finite.

    Raises:
        AssertionError: what is not, and where the stage is defined.
    """
    if stage not in ("reward", "advantage", "weight", "penalty"):
        return
    trained: Tensor = arguments[0].trained
    for path, value in tensors_in(result):
        mask = {trained.shape: trained, trained.shape[:1]: trained.any(1)}.get(value.shape)
        if mask is not None and not bool(value[mask].isfinite().all()):
            what = "NaN" if bool(value[mask].isnan().any()) else "infinite"
            raise AssertionError(
                f"{intervention.name}.{stage}{path} is {what} at tokens that are trained on"
                f"{_defined(intervention, stage)}"
            )


def tensors_in(x: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of an argument or a result, with a path to each."""
    if isinstance(x, Tensor):
        yield name, x
    elif isinstance(x, Mapping):
        for key, value in x.items():
            yield from tensors_in(value, f"{name}[{key!r}]")
    elif isinstance(x, (list, tuple)):
        for index, value in enumerate(x):
            yield from tensors_in(value, f"{name}[{index}]")
    elif is_dataclass(x) and not isinstance(x, (type, Intervention)):
        for f in fields(x):
            yield from tensors_in(getattr(x, f.name), f"{name}.{f.name}")


def _defined(intervention: Intervention, stage: str) -> str:
    code = getattr(getattr(type(intervention), stage), "__code__", None)
    return "" if code is None else f" (in {stage}, {code.co_filename}:{code.co_firstlineno})"


def _of_tensors(result: Any) -> bool:
    return isinstance(result, Mapping) and all(isinstance(x, Tensor) for x in result.values())


def _heard(
    intervention: Intervention, stage: str, original: Callable[..., Any], listener: Listener
) -> Callable[..., Any]:
    def called(*arguments: Any) -> Any:
        result = original(*arguments)
        listener(intervention, stage, arguments, result)
        return result

    return called
