"""When two noisy courses went apart: the first stretch whose difference chance does not explain, and its onset.

The difference of two runs of one law has mean 0 at every step, whatever their common course. What is left is noise. Its
size and memory are taken from how far each run moves over 1 to 12 of its own steps (a variogram, slow trends removed),
as those of an AR(1) process with the upper end of what its coefficient may be. Means of the difference over windows of
3, 6, 12, … steps are held against their standard error, with a bound that allows for every window of every series.

"Chance" is a run's noise around its course. What two seeds of one recipe differ by in their courses no single pair of
runs tells; where it is slow, the memory takes part of it up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from entrokit.runs.series import Floats

from .aligned import Pair

FEWEST = 10
"""Common points below which nothing is said of a series."""

_FALSE_ALARMS = 0.01
_SHORTEST_WINDOW = 3
_LAGS = (1, 2, 3, 4, 6, 8, 12)
# Mean of the squares of a standard normal's inner 90 %.
_INNER, _INNER_SQUARE, _FAR = 0.9, 0.6232, 6.0
_MEMORIES = np.linspace(0.0, 0.98, 50)
# One-sided allowance for the error of the memory's estimate, in units of 1/sqrt(points).
_MEMORY_ALLOWANCE = 0.6
# A point that lies further from the median of its neighbourhood is a spike: it counts with this many sigmas.
_SPIKE, _NEIGHBOURHOOD = 3.0, 5
# A point that many sigmas away counts as a spike of its own run.
_RARE = 6.0


@dataclass(frozen=True)
class Onset:
    """Where a pair went apart.

    Attributes:
        step: from which on. sigmas: of the stretch after it that says so most clearly, in standard errors; None where
            neither run has any noise. a, b: means over that stretch. lasting: whether they are apart at the end too.
    """

    step: float
    sigmas: float | None
    a: float
    b: float
    lasting: bool


def onset_of(pair: Pair, tests: int) -> Onset | None:
    """The onset of a difference that chance does not explain; None where there is none.

    Args:
        pair: at least `FEWEST` points.
        tests: points of all the series that are looked at together, this one's included.
    """
    d = pair.difference
    if not d.any():
        return None
    scaled = _even(pair)
    d = scaled.difference
    memory, va, vb = _noise(scaled)
    spread = va + vb
    if not spread.any():
        first = int(np.flatnonzero(d)[0])
        return Onset(float(pair.steps[first]), None, float(pair.a[first]), float(pair.b[first]), bool(d[-1] != 0))
    n = len(d)
    # Where one stretch has no noise of its own, it has at least the smallest that is seen elsewhere.
    spread = np.maximum(spread, spread[spread > 0].min())
    clean = _without_spikes(d, np.sqrt(spread))
    bound = _bound(tests, n)
    total, noise = _sums(clean), _sums(spread)
    ends = []
    for width in _widths(n):
        sums, mean_spread = total[width:] - total[:-width], (noise[width:] - noise[:-width]) / width
        beyond = np.abs(sums / width) > bound * np.sqrt(mean_spread * _share(width, memory))
        if beyond.any():
            ends.append(int(beyond.argmax()) + width)
    if not ends:
        return None
    end = min(ends)
    start = _change(clean, end, memory)
    return _described(pair, start, total, noise, memory)


def spikes(values: Floats) -> list[int]:
    """Points that lie far from the median of their neighbourhood: a window's mean hides them."""
    if len(values) < FEWEST:
        return []
    # As if points were independent: what memory adds, the neighbourhood's median follows.
    sigma = np.sqrt(_variance(_moves(values, 1), len(values)))
    far = np.abs(values - _running_median(values, _NEIGHBOURHOOD)) > _RARE * sigma
    return [int(i) for i in np.flatnonzero(far & (sigma > 0))]


def _described(pair: Pair, start: int, total: Floats, noise: Floats, memory: float) -> Onset:
    n, best, chosen = len(pair), 0.0, len(pair)
    for width in [*_widths(n - start), n - start]:
        mean = (total[start + width] - total[start]) / width
        error = math.sqrt((noise[start + width] - noise[start]) / width * _share(width, memory))
        if abs(mean) / error > best:
            best, chosen = abs(mean) / error, start + width
    sign = math.copysign(1.0, total[chosen] - total[start])
    last = min(max(_SHORTEST_WINDOW, n // 10), n - start)
    error = math.sqrt((noise[n] - noise[n - last]) / last * _share(last, memory))
    lasting = bool(sign * (total[n] - total[n - last]) / last > 2 * error)
    a, b = float(pair.a[start:chosen].mean()), float(pair.b[start:chosen].mean())
    return Onset(float(pair.steps[start]), best, a, b, lasting)


def _change(d: Floats, end: int, memory: float) -> int:
    """The start that best splits ``d[:end]`` into a difference of 0 and one of another mean, by least squares.

    What an AR(1) process adds anew is looked at, not the process: its memory would draw the onset to where it last
    happened to wander off.
    """
    fresh = d[:end].copy()
    fresh[1:] -= memory * d[: end - 1]
    # A shift of 1 that begins at i adds 1 at i, and 1 - memory at every point after it.
    after = fresh.sum() - np.cumsum(fresh)
    dot = fresh + (1.0 - memory) * after
    size = 1.0 + (1.0 - memory) ** 2 * np.arange(end - 1, -1, -1)
    return int((dot**2 / size).argmax())


def _even(pair: Pair) -> Pair:
    """On the scale on which noise has the least of a tail: as it is, its logarithm, or one that draws both tails in.

    Gradient norms and divergences vary by factors, and losses of a policy gradient have two long tails.
    """
    scales = [pair]
    if min(pair.a.min(), pair.b.min()) > 0:
        scales.append(Pair(pair.steps, np.log(pair.a), np.log(pair.b), pair.how))
    both = np.concatenate([pair.a, pair.b])
    middle = float(np.median(both))
    if (width := float(np.median(np.abs(both - middle)))) > 0:
        a, b = (np.arcsinh((x - middle) / width) for x in (pair.a, pair.b))
        scales.append(Pair(pair.steps, a, b, pair.how))
    return min(scales, key=_tail)


def _tail(pair: Pair) -> float:
    """Kurtosis of the moves."""
    moved = np.concatenate([_moves(x, 1) for x in (pair.a, pair.b)])
    square = float((moved**2).mean())
    return float((moved**4).mean()) / square**2 if square > 0 else 0.0


def _noise(pair: Pair) -> tuple[float, Floats, Floats]:
    """Memory of the noise (of both runs together), and its variance at every point of ``a`` and of ``b``, ``[N]``."""
    n = len(pair)
    lags = [k for k in _LAGS if k <= max(2, n // 15)]
    moved = {k: [_moves(x, k) for x in (pair.a, pair.b)] for k in lags}
    sizes = np.array([np.mean([_inner(m**2) / 2 for m in moved[k]]) for k in lags])
    memory = _memory(np.array(lags, dtype=np.float64), sizes, n)
    a, b = (_variance(m, n) / (1.0 - memory) for m in moved[1])
    return memory, a, b


def _memory(lags: Floats, sizes: Floats, n: int) -> float:
    """From half of the mean squared moves over lags: ``variance * (1 - memory ** lag)``."""
    if not (sizes > 0).all():
        return 0.0
    model = np.log1p(-(_MEMORIES[:, None] ** lags))
    rest = np.log(sizes) - model
    weight = 1.0 / lags
    rest -= (rest * weight).sum(1, keepdims=True) / weight.sum()
    fitted = float(_MEMORIES[int((rest**2 * weight).sum(1).argmin())])
    return min(fitted + _MEMORY_ALLOWANCE / math.sqrt(n), float(_MEMORIES[-1]))


def _moves(values: Floats, lag: int) -> Floats:
    """Differences over a lag, less their slow trend."""
    moved = values[lag:] - values[:-lag]
    return moved - _medians(moved, max(30, len(values) // 6))


def _mean_square(moved: Floats) -> float:
    """Mean square, of which no point has more than six times what a normal law's inner nine tenths would give.

    Where most points do not move, it is the mean of all.
    """
    square = moved**2
    if np.count_nonzero(square) <= len(square) / 2:
        return float(square.mean())
    return float(np.minimum(square, _FAR**2 * _inner(square)).mean())


def _inner(square: Floats) -> float:
    """Mean of squares from the smaller nine tenths of them, which a jump does not reach."""
    return float(np.sort(square)[: max(1, round(_INNER * len(square)))].mean()) / _INNER_SQUARE


def _variance(moved: Floats, n: int) -> Floats:
    """Half of the mean squared move at every point ``[N]``: that of the whole run, or more where it is noisier."""
    # 0.455 is the median of the square of a standard normal.
    local = _medians(moved**2, max(30, n // 8)) / 0.455
    whole = np.maximum(local, _mean_square(moved)) / 2
    return np.append(whole, whole[-1])


def _without_spikes(d: Floats, sigma: Floats) -> Floats:
    middle = _running_median(d, _NEIGHBOURHOOD)
    return np.clip(d, middle - _SPIKE * sigma, middle + _SPIKE * sigma)


def _running_median(values: Floats, width: int) -> Floats:
    """Medians of the ``width`` (odd) points around each, ``[N]``; the ends are taken as if they went on."""
    return np.asarray(np.median(sliding_window_view(np.pad(values, width // 2, "edge"), width), axis=1))


def _medians(values: Floats, width: int) -> Floats:
    """Medians of stretches of about ``width`` points, joined by straight lines, ``[N]``."""
    edges = np.linspace(0, len(values), max(1, len(values) // width) + 1).astype(int)
    medians = [float(np.median(values[i:j])) for i, j in pairwise(edges)]
    return np.interp(np.arange(len(values)), (edges[:-1] + edges[1:] - 1) / 2, medians)


def _bound(tests: int, n: int) -> float:
    """Standard errors beyond which some window of ``tests`` points in all lies by chance once in a hundred pairs."""
    # Windows of 3, 6, 12, … that overlap by half: 4 n / 3; twice as many for those in between.
    z = NormalDist().inv_cdf(1.0 - _FALSE_ALARMS / (2.0 * 3.0 * tests))
    # Student's t by way of the normal law (Gaver and Kafadar 1984): the noise is estimated.
    free = max(8.0, n / 2)
    return math.sqrt(free * math.expm1(z**2 * (free - 1.5) / (free - 1.0) ** 2))


def _share(width: int, memory: float) -> float:
    """Variance of the mean of ``width`` steps of an AR(1) process of variance 1."""
    if memory == 0.0:
        return 1.0 / width
    rest = 2.0 * memory * (1.0 - memory**width) / (width * (1.0 - memory) ** 2)
    return ((1.0 + memory) / (1.0 - memory) - rest) / width


def _widths(n: int) -> list[int]:
    widths = [min(_SHORTEST_WINDOW, n)]
    while 2 * widths[-1] <= n:
        widths.append(2 * widths[-1])
    return widths


def _sums(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])
