"""Whether the units and axes of tracks fit one another."""

from __future__ import annotations

import warnings
from itertools import permutations, product

import numpy as np

from .checked import several
from .track_file import Floats

# Without noise, and with noise that has no direction, no other order or signs of axes agree better than the right ones:
# products of every axis with every other are a matrix of second moments then, whose trace no rotation raises.
_AGREE, _REFUSED, _NOTED = 0.9, 0.1, 0.05
_LITTLE = 0.5
# Of displacements that know nothing of where agents swam, a half is above a quarter of the box.
_FAR = 0.1


def in_box(x: Floats, box: float, periodic: bool) -> Floats:
    """Positions in [0, box]: what float32 puts above the far wall lies on it.

    Raises:
        ValueError: positions outside of the box, or none at all.
    """
    if np.isnan(x).all():
        raise ValueError("positions: every one is missing")
    low, high = np.nanmin(x, axis=(0, 1)), np.nanmax(x, axis=(0, 1))
    if (low < 0).any() or (high > box * (1 + np.finfo(np.float32).eps / 2)).any():
        reach = ", ".join(f"{axis} {a:g} to {b:g}" for axis, a, b in zip("xyz", low, high, strict=True))
        cure = "wrap them (positions % box)" if periodic else "give the tank's own side"
        raise ValueError(
            f"positions reach outside of the box [0, {box:g}]: {reach}. Give the box in their unit, shift its corner "
            f"to 0, or {cure}"
        )
    if (high - low).max() < 0.01 * box:
        warnings.warn(
            f"positions span {(high - low).max():g} at most of a box of {box:g}: are both in one unit?", stacklevel=3
        )
    return np.minimum(x, box)


def check_order(x: Floats, box: float | None) -> None:
    """
    Raises:
        ValueError: neighbours along the axis of agents lie as near as if these were frames.
    """
    if min(x.shape[:2]) < 3:
        return
    along = [_typical(np.diff(x, axis=axis), box) for axis in (0, 1)]
    if along[1] < 0.1 * along[0]:
        raise ValueError(
            f"axes look swapped: from frame to frame agents move by {along[0]:.3g}, and agents next to one another are "
            f"{along[1]:.3g} apart; arrays are (frames, agents, 3), here {x.shape}. A "
            ".npz with `times` says which axis is which"
        )


def check_steps(x: Floats, box: float) -> None:
    """Warns where frames lie so far apart that displacements in a periodic box do not say where agents went."""
    step = np.abs(np.diff(x, axis=0))
    step = np.minimum(step, box - step)
    if np.nanmean(np.where(np.isnan(step), np.nan, step > box / 4)) > _FAR:
        warnings.warn(
            f"from frame to frame more than {_FAR:.0%} of the displacements along an axis are above a quarter of the "
            f"periodic box of {box:g}: frames lie too far apart to tell where agents went; give velocities",
            stacklevel=3,
        )


def check_walls(x: Floats, box: float) -> None:
    """Warns where agents that move little otherwise are on the other side of a tank in the next frame."""
    step = np.abs(np.diff(x, axis=0))
    far = step > box / 2
    if far.any() and np.nanmedian(step) < box / 10:
        t, agent, axis = np.argwhere(far)[0]
        warnings.warn(
            f"{several(int(far.sum()), 'displacement')} along an axis {'is' if far.sum() == 1 else 'are'} above half "
            f"of the tank, the first of agent {agent} along {'xyz'[axis]} after frame {t}; half of all are at most "
            f"{np.nanmedian(step):.3g}. Is the box periodic (without --walls, "
            "periodic=True), or is one agent followed as another?",
            stacklevel=3,
        )


def check_axes(given: Floats, derived: Floats) -> list[str]:
    """Notes on velocities beside the displacements of the positions.

    Raises:
        ValueError: another order or other signs of the axes of velocities agree with the displacements, and clearly
            better than their own.
    """
    both = np.isfinite(given).all(-1) & np.isfinite(derived).all(-1)
    a, b = given[both], derived[both]
    lengths = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
    moving = (lengths[0] > 0) & (lengths[1] > 0)
    if moving.sum() < 10:
        return []
    a, b = a[moving] / lengths[0][moving, None], b[moving] / lengths[1][moving, None]
    own, best, order = _best_axes(a, b)
    said = (
        f"velocities point where agents go with a mean cosine of {own:.2f}, ({order}) as (vx, vy, vz) would with "
        f"{best:.2f}"
    )
    if best > _AGREE and best - own > _REFUSED:
        raise ValueError(f"{said}: axes of positions and velocities differ in order or sign")
    notes = []
    if best - own > _NOTED:
        notes.append(f"{said}: do axes of positions and velocities differ in order or sign?")
    elif own < _LITTLE:
        notes.append(f"velocities point little where agents go: mean cosine {own:.2f}")
    ratio = float(np.median(lengths[0][moving] / lengths[1][moving]))
    if not 0.5 <= ratio <= 2.0:
        notes.append(
            f"velocities are {ratio:.3g} times the displacements by time: of another unit, or dt is; headings are "
            "as they are"
        )
    return notes


def _best_axes(a: Floats, b: Floats) -> tuple[float, float, str]:
    """Mean cosine of unit vectors ``(M, 3)``, the largest with signed orders of the axes of ``a``, and that order."""
    # Mean of the products of every axis with every other: all signed orders of the axes are sums of three of them.
    mixed = a.T @ b / len(a)
    found = [
        (float(sum(s * mixed[o, i] for i, (o, s) in enumerate(zip(order, signs, strict=True)))), order, signs)
        for order in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    ]
    # The first of equals changes least: (vx, vy, vz) themselves stand before all.
    best, order, signs = max(found, key=lambda one: round(one[0], 6))
    return found[0][0], best, ", ".join(f"{'-' if s < 0 else ''}v{'xyz'[o]}" for o, s in zip(order, signs, strict=True))


def _typical(step: Floats, box: float | None) -> float:
    if box is not None:
        step = step - box * np.round(step / box)
    return float(np.nanmedian(np.linalg.norm(step, axis=-1)))
