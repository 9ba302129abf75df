"""What the losses are given, looked at once."""

from __future__ import annotations

from torch import Tensor


def widened(values: Tensor, what: str) -> Tensor:
    """Floats in at least float32.

    Raises:
        TypeError: they are no real floats.
    """
    if not isinstance(values, Tensor) or not values.dtype.is_floating_point:
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{what}: a tensor of floating point numbers is expected, got {kind}")
    return values.float() if values.dtype.itemsize < 4 else values


def check_finite(values: Tensor, what: str, advice: str) -> Tensor:
    """Floats in at least float32, all of them finite.

    Raises:
        TypeError, ValueError: they are not; says how many, where the first is, and what to do.
    """
    values = widened(values, what)
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
    if isinstance(logits, Tensor) and (logits.ndim != 2 or not logits.numel()):
        hint = "; write logits[:, None] for one head" if logits.ndim == 1 and logits.numel() else ""
        raise ValueError(f"{what}: logits [B, heads] are expected, got shape {list(logits.shape)}{hint}")
    return check_finite(logits, f"{what}: logits", "the discriminator has diverged, or its features hold NaN")


def check_column(values: Tensor, rows: int, what: str, advice: str) -> Tensor:
    """Finite numbers ``[B]`` in at least float32.

    Raises:
        TypeError, ValueError: they are not.
    """
    if isinstance(values, Tensor) and values.shape != (rows,):
        raise ValueError(f"{what}: shape [{rows}] is expected, a number a sample; got {list(values.shape)}")
    return check_finite(values, what, advice)


def check_samples(gen: Tensor, teacher_x0: Tensor, fake_x0: Tensor, sample_norm: str, what: str) -> None:
    """Finite floats of one shape ``[B, *]``, and a known norm.

    Raises:
        TypeError, ValueError: they are not.
    """
    if sample_norm not in ("dmd", "none"):
        raise ValueError(f"{what}: sample_norm must be 'dmd' or 'none', got {sample_norm!r}")
    if gen.ndim < 2 or not gen.numel() or not gen.shape == teacher_x0.shape == fake_x0.shape:
        shapes = ", ".join(str(list(x.shape)) for x in (gen, teacher_x0, fake_x0))
        raise ValueError(f"{what}: gen, teacher_x0 and fake_x0 of one shape [B, *] are expected, got {shapes}")
    check_finite(gen.detach(), f"{what}: gen", "the student has diverged")
    check_finite(teacher_x0.detach(), f"{what}: teacher_x0", "samples are far from what the teacher was trained on")
    check_finite(fake_x0.detach(), f"{what}: fake_x0", "the fake score net has diverged")
