"""Layers by names and patterns, and what is said of a pattern that fits none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase


def matching(
    what: str, names: Sequence[Sequence[str]], patterns: str | Sequence[str], others: Mapping[str, str] | None = None
) -> set[int]:
    """Indices of those of whose names one fits a pattern.

    Args:
        others: what cannot be chosen, by name, and what it is.

    Raises:
        ValueError: a pattern that fits none; says which there are and which is nearest, or what it is that fits.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    found: set[int] = set()
    for pattern in patterns:
        own = {i for i, every in enumerate(names) if any(fnmatchcase(name, pattern) for name in every)}
        if not own:
            kind = next(
                (f"{name}, {kind}" for name, kind in (others or {}).items() if fnmatchcase(name, pattern)), None
            )
            if kind is not None:
                raise ValueError(
                    f"{what}: nothing is named {pattern!r} that is quantised: it fits {kind}, and weights of linear "
                    "layers, convolutions and MultiheadAttention are"
                )
            there = [every[0] for every in names]
            more = f" and {len(there) - 8} more" if len(there) > 8 else ""
            near = _nearest(pattern, there)
            raise ValueError(
                f"{what}: nothing is named {pattern!r}; there are {', '.join(there[:8]) or 'no layers'}{more}"
                f"{'' if near is None else f'; did you mean {near!r}?'}"
            )
        found |= own
    return found


def _nearest(pattern: str, there: Sequence[str]) -> str | None:
    """The shortest name that holds the pattern (``lm_head`` of ``head``), or the one that is spelt most like it."""
    held = sorted((name for name in there if pattern and pattern in name), key=len)
    near = held or get_close_matches(pattern, there, n=1)
    return near[0] if near else None
