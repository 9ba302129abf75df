"""What the losses are given, looked at once."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from numbers import Real

import torch
from torch import Tensor

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def widened(values: Tensor, what: str, *, integers: bool = False) -> Tensor:
    """Floats in at least float32; of integers, where they are allowed, float32.

    Raises:
        TypeError: they are no real floats; says where a tensor is, if what came holds one.
    """
    if not isinstance(values, Tensor):
        raise TypeError(f"{what}: a tensor of floating point numbers is expected, got {_told(values)}")
    if values.dtype.is_floating_point:
        return values.float() if values.dtype.itemsize < 4 else values
    if integers and values.dtype in _INTEGERS:
        return values.float()
    raise TypeError(f"{what}: a tensor of floating point numbers is expected, got {values.dtype}")


def _told(values: object) -> str:
    """What it is, and where in it tensors are: outputs of diffusers are mappings, a loss with what it was made of a
    tuple."""
    held: list[str] = []
    if isinstance(values, Mapping):
        held = [f".{k}" if hasattr(values, str(k)) else f"[{k!r}]" for k, v in values.items() if isinstance(v, Tensor)]
    elif isinstance(values, tuple | list):
        held = [f"[{i}]" for i, v in enumerate(values) if isinstance(v, Tensor)]
    kind = type(values).__name__
    if held:
        return f"{kind}, in which {', '.join(held)} {'are tensors' if len(held) > 1 else 'is one'}"
    return "None" if values is None else f"{kind}; torch.as_tensor makes one of numbers"


def check_number(value: float | Tensor, what: str) -> float:
    """A number, of a 0-dim tensor too.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, Tensor) and value.ndim == 0 and not value.dtype.is_complex:
        return float(value.detach())
    if isinstance(value, bool) or not isinstance(value, Real):
        shape = f" of shape {list(value.shape)}" if isinstance(value, Tensor) else ""
        raise TypeError(f"{what} must be a number, got {type(value).__name__}{shape}")
    return float(value)


def check_count(value: int, least: int, what: str) -> int:
    """An integer of at least so many.

    Raises:
        TypeError, ValueError: it is none, or less.
    """
    try:
        found = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer, got {value!r}") from None
    if isinstance(value, bool) or found < least:
        raise ValueError(f"{what} must be an integer of at least {least}, got {value!r}")
    return found


def check_finite(values: Tensor, what: str, advice: str, *, integers: bool = False) -> Tensor:
    """Floats in at least float32, all of them finite.

    Raises:
        TypeError, ValueError: they are not; says how many, where the first is, and what to do.
    """
    values = widened(values, what, integers=integers)
    bad = ~values.isfinite()
    if bool(bad.any()):
        at = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(
            f"{what}: {int(bad.sum())} of {bad.numel()} are NaN or infinite, the first {float(values[at])} at "
            f"{list(at)}; {advice}"
        )
    return values


def check_logits(logits: Tensor, what: str) -> Tensor:
    """Finite logits ``[B, heads]`` in at least float32, neither being 0.

    Raises:
        TypeError, ValueError: they are not.
    """
    if isinstance(logits, list | tuple) and logits and all(isinstance(x, Tensor) for x in logits):
        raise TypeError(
            f"{what}: logits [B, heads] are expected, got a {type(logits).__name__} of {len(logits)} tensors; "
            "torch.cat([x.flatten(1) for x in logits], 1) makes them heads of one"
        )
    if isinstance(logits, Tensor) and (logits.ndim != 2 or not logits.numel()):
        hint = ""
        if logits.numel() and logits.ndim == 1:
            hint = "; write logits[:, None] for one head"
        elif logits.numel() and logits.ndim > 2:
            # Not their mean: a discriminator's loss is of every patch, and softplus of a mean is another one.
            hint = (
                "; write logits.flatten(1), a head a patch: the ratio is then the geometric mean of the patches' ratios"
            )
        raise ValueError(f"{what}: logits [B, heads] are expected, got shape {list(logits.shape)}{hint}")
    return check_finite(logits, f"{what}: logits", "the discriminator has diverged, or its features hold NaN")


def check_column(values: Tensor, rows: int, what: str, advice: str, *, integers: bool = False) -> Tensor:
    """Finite numbers ``[B]`` in at least float32.

    Raises:
        TypeError, ValueError: they are not.
    """
    if isinstance(values, Real):
        raise TypeError(
            f"{what}: a tensor [{rows}] is expected, a number a sample; torch.full(({rows},), {values!r}) says the "
            "same of all"
        )
    if isinstance(values, Tensor) and values.shape != (rows,):
        hint = ""
        if values.numel() == rows:
            hint = "; write .flatten()"
        elif values.numel() == 1:
            hint = f"; write .expand({rows}) if it is the same of all" if values.ndim < 2 else ""
        raise ValueError(f"{what}: shape [{rows}] is expected, a number a sample; got {list(values.shape)}{hint}")
    return check_finite(values, what, advice, integers=integers)


def check_weight(values: Tensor, rows: int, what: str, advice: str, *, integers: bool = False) -> Tensor:
    """Finite numbers ``[B]``, none below 0, in at least float32.

    Raises:
        TypeError, ValueError: they are not.
    """
    values = check_column(values, rows, what, advice, integers=integers)
    bad = values < 0
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise ValueError(f"{what}: none may be negative, got {float(values[at]):g} at [{at}]; {advice}")
    return values


def check_samples(gen: Tensor, teacher_x0: Tensor, fake_x0: Tensor, sample_norm: str, what: str) -> None:
    """Finite floats of one shape ``[B, *]``, and a known norm.

    Raises:
        TypeError, ValueError: they are not.
    """
    if sample_norm not in ("dmd", "none"):
        raise ValueError(f"{what}: sample_norm must be 'dmd' or 'none', got {sample_norm!r}")
    samples = {"gen": gen, "teacher_x0": teacher_x0, "fake_x0": fake_x0}
    for name, x in samples.items():
        widened(x, f"{what}: {name}")
    if gen.ndim < 2 or not gen.numel() or not gen.shape == teacher_x0.shape == fake_x0.shape:
        shapes = ", ".join(str(list(x.shape)) for x in samples.values())
        raise ValueError(f"{what}: gen, teacher_x0 and fake_x0 of one shape [B, *] are expected, got {shapes}")
    check_finite(gen.detach(), f"{what}: gen", "the student has diverged")
    check_finite(teacher_x0.detach(), f"{what}: teacher_x0", "samples are far from what the teacher was trained on")
    check_finite(fake_x0.detach(), f"{what}: fake_x0", "the fake score net has diverged")
