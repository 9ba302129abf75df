"""Counts and generators of random numbers, as every topic of physics asks for them."""

from __future__ import annotations

from numbers import Integral, Real

import torch

__all__ = ["as_count", "check_generator"]


def as_count(name: str, value: object, least: int = 1) -> int:
    """A whole number of at least ``least``, as an int; 20.0 and 1e5 are whole, True is no number.

    Raises:
        TypeError: it is no number. ValueError: it is not whole, or below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: a whole number of at least {least} is expected; got {value!r}")
    number = float(value)
    if not number.is_integer():
        raise ValueError(f"{name}: a whole number of at least {least} is expected; got {value}")
    if number < least:
        raise ValueError(f"{name}: at least {least} is expected; got {value}")
    return int(value) if isinstance(value, Integral) else int(number)


def check_generator(generator: object) -> None:
    """Raises TypeError: neither a `torch.Generator` nor None; a seed is none, nor is a generator of NumPy."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator: a torch.Generator, such as torch.Generator().manual_seed(0), is expected; got {generator!r}"
        )
