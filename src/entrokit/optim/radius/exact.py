"""The exact radius of one sample: the smallest zero of ``F(t) = Σ_k exp(z_k + a_k t)``, by the argument principle.

Zeros in the disc ``|t| < R`` are counted by how often F winds around 0 along its rim, in pieces on each of which F is
proven not to turn by a quarter. The smallest disc that holds a zero is narrowed down, Newton's method ends it, and a
count shows that nothing lies further in.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

_TOLERANCE = 1e-9
_MOST_PIECES = 1 << 21
_TOGETHER = "exact_radius: zeros so many, or so close to one another, that they cannot be told apart"
_Reals = npt.NDArray[np.float64]
_Complex = npt.NDArray[np.complex128]


def exact_radius(z: Tensor, a: Tensor) -> float:
    """``min |t|`` over the zeros of ``Σ_k exp(z_k + a_k t)``: the exact radius of convergence for linear logits.

    A search per sample, of milliseconds: for diagnostics. `taylor_radius` is the bound that it never goes below.

    Args:
        z, a: logits and their slopes, ``[K]``; classes with ``z = -inf`` are left out.

    Returns:
        Relative error about 1e-12. Infinite where all slopes that are left are equal.

    Raises:
        ValueError: other shapes, NaN, or an infinite slope.
        RuntimeError: so many zeros, or so close to one another, that they cannot be told apart.
    """
    if z.dim() != 1 or z.shape != a.shape:
        raise ValueError(f"exact_radius: expected z and a of one shape [K], got {list(z.shape)} and {list(a.shape)}")
    logits, slopes = (x.detach().double().cpu().numpy() for x in (z, a))
    present = logits != -np.inf
    logits, slopes = logits[present], slopes[present]
    if not (np.isfinite(logits).all() and np.isfinite(slopes).all()):
        raise ValueError("exact_radius: logits must be finite or -inf, and slopes finite")
    if not len(slopes) or np.ptp(slopes) == 0.0:
        return math.inf
    return _Sum(logits, slopes).smallest() / float(np.ptp(slopes))


class _Sum:
    """``Σ_k exp(z_k + s_k t)``, with slopes brought to a spread of 1."""

    def __init__(self, logits: _Reals, slopes: _Reals) -> None:
        self._z = logits
        self._s = (slopes - slopes.min()) / np.ptp(slopes)

    def smallest(self) -> float:
        """The modulus of the smallest zero."""
        low, high = math.pi * (1.0 - _TOLERANCE), 2.0 * math.pi
        zeros, near = self._within(high)
        while not zeros:
            low, high = high, 2.0 * high
            zeros, near = self._within(high)
        while high - low > _TOLERANCE * high:
            for found in self._from(near):
                if low <= found < high and not self._within(found * (1.0 - _TOLERANCE))[0]:
                    return found
            middle = (low + high) / 2.0
            zeros, near = self._within(middle)
            low, high = (low, middle) if zeros else (middle, high)
        raise RuntimeError(_TOGETHER)

    def _from(self, starts: _Complex) -> list[float]:
        """Moduli of the zeros to which Newton's method goes from some points, ascending."""
        found = []
        for t in starts:
            for _ in range(60):
                value, derivative = (x[0] for x in self._at(np.array([t])))
                # A step longer than the slopes' own scale has lost its zero.
                if abs(value) >= 4.0 * math.pi * abs(derivative):
                    break
                t = t - value / derivative
                if abs(value) <= 1e-12 * abs(t * derivative):
                    found.append(float(abs(t)))
                    break
        return sorted(found)

    def _terms(self, t: _Complex) -> tuple[_Complex, _Reals]:
        """Terms of F ``[N, K]`` scaled to at most 1, and their logarithms' real parts before that."""
        real = self._z + t.real[:, None] * self._s
        scaled = np.exp(real - real.max(1, keepdims=True)) * np.exp(1j * t.imag[:, None] * self._s)
        return scaled, real

    def _at(self, t: _Complex) -> tuple[_Complex, _Complex]:
        """F and its derivative at ``t [N]``, scaled alike."""
        terms, _ = self._terms(t)
        return terms.sum(1), (terms * self._s).sum(1)

    def _within(self, radius: float) -> tuple[int, _Complex]:
        """How many pairs of conjugate zeros have ``|t| < radius``, and points of the rim that are closest to zeros.

        The pairs are the turns of F along the upper half of the rim. Seen from its largest term k, ``F exp(-s_k t)``
        moves along a piece of length h by at most
        ``h Σ_j |s_j - s_k| exp(z_j - z_k + (s_j - s_k) Re t + h |s_j - s_k|)``. Where that is under half of its size, F
        turns by the phase of term k and by less than a sixth of a turn more, which the ends of the piece tell.
        """
        turned, pieces = 0.0, 64
        angles = np.linspace(0.0, math.pi, pieces + 1)
        begin, end = angles[:-1], angles[1:]
        near = begin
        while len(begin):
            near = (begin + end) / 2.0
            t, until = radius * np.exp(1j * begin), radius * np.exp(1j * end)
            h = radius * (end - begin)
            terms, real = self._terms(t)
            value = terms.sum(1)
            k = real.argmax(1)
            apart = np.abs(self._s - self._s[k][:, None])
            with np.errstate(over="ignore", divide="ignore"):
                reach = np.log(h)[:, None] + np.log(apart) + real - real.max(1, keepdims=True) + h[:, None] * apart
                proven = np.exp(reach).sum(1) < np.abs(value) / 2.0
            along = self._s[k] * (until.imag - t.imag)
            rest = self._terms(until)[0].sum(1) * np.exp(-1j * along) * np.conj(value)
            turned += float((along + np.angle(rest))[proven].sum())
            begin, end = begin[~proven], end[~proven]
            middle = (begin + end) / 2.0
            if len(middle) and (pieces > _MOST_PIECES or float((end - begin).min()) < 1e-14):
                raise RuntimeError(_TOGETHER)
            pieces += len(middle)
            begin, end = np.concatenate([begin, middle]), np.concatenate([middle, end])
        return round(turned / (2.0 * math.pi)), radius * np.exp(1j * near[:8])
