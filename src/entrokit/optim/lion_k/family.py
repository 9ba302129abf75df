"""The members of the family by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass

from .convex import ConvexK, check_members
from .elementwise import L1, DeadZone, HalfSquare, Huber
from .norms import LogSumExp, Lp, TopK
from .nuclear import Nuclear


def _l2() -> Lp:
    return Lp(2.0)


FAMILY: Mapping[str, Callable[..., ConvexK]] = {
    "l1": L1,
    "lp": Lp,
    "l2": _l2,
    "dead-zone": DeadZone,
    "huber": Huber,
    "top-k": TopK,
    "half-square": HalfSquare,
    "nuclear": Nuclear,
    "logsumexp": LogSumExp,
}
"""Every K of the paper's table, and logsumexp, by the name that `LionK` takes."""


def convex(name: str, **options: object) -> ConvexK:
    """A member of the family.

    Args:
        name: one of `FAMILY`. options: its own: ``p`` of lp (2 if not told), ``e`` of dead-zone and huber and ``k`` of
            top-k (which must be told), and ``newton_schulz`` (0, for the decomposition), ``coefficients`` (`MUON`) and
            ``bfloat16`` (False) of nuclear.

    Raises:
        ValueError: no such name or option, one that is lacking, or a value that is out of range.
    """
    if name not in FAMILY:
        raise ValueError(f"K {name!r} is none of {', '.join(FAMILY)}")
    try:
        return FAMILY[name](**options)
    except TypeError as error:
        raise ValueError(f"K {name!r} with options {options}: {error}") from error


def resolved(K: ConvexK | str) -> ConvexK:
    """A K by its name, or the object itself.

    Raises:
        ValueError: as `convex`, or an object that is no `ConvexK`.
    """
    if isinstance(K, str):
        return convex(K)
    check_members(K)
    return K


def named(K: ConvexK) -> tuple[str, dict[str, object]] | None:
    """Name and options of a member of the family; None of anybody else's K."""
    if not is_dataclass(K) or isinstance(K, type):
        return None
    name = next((name for name, make in FAMILY.items() if make is type(K)), None)
    return None if name is None else (name, asdict(K))
