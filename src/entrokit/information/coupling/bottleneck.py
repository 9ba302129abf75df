"""Minimum entropy coupling with a bottleneck: the most information through a code of limited entropy.

Minimum Entropy Coupling with Bottleneck (arXiv 2410.21666). Given p_X, p_Y and a rate R in bits: an encoder p(t|x) with
H(T) <= R and a decoder q(y|t) with Y exactly as p_Y, and I(X; Y) as large as possible. Solved in two parts: the encoder
maximises I(X; T) (`greedy_ebim`, Algorithm 1; `ebim_refine`, Theorem 3), the decoder couples p_T and p_Y.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import Floats
from .min_entropy import Coupling, min_entropy_coupling
from .pmf import entropy_bits, information_bits, pmf

ENCODERS = ("greedy", "refine", "quantize", "best")
MAPS = ("path", "all")
# More partitions than those of eight symbols (4140) are not tried one by one.
_MOST_SYMBOLS = 8
_SCAN, _BISECTIONS, _SLACK = 64, 60, 1e-12

Labels = NDArray[np.int64]


def merge_loss_bits(a: ArrayLike, b: ArrayLike) -> Floats:
    """By how much the entropy falls when two masses become one: ``(a + b) h(a / (a + b))``."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.asarray(a * np.log2(1.0 + b / a) + b * np.log2(1.0 + a / b))


def greedy_ebim(p_x: ArrayLike, rate_bits: float) -> Labels:
    """The code of every symbol, ``[n]`` int64 from 0 on; -1 for symbols of no mass. A deterministic encoder.

    From one code a symbol: merges the two smallest masses if that suffices, else the two largest if that does, else
    goes on from the latter (Algorithm 1). I(X; T) = H(T) falls short of the best by at most h(second largest
    probability), and by at most that of the rate (Theorem 2). Ties go to the lowest index. O(n log n).

    Raises:
        ValueError: no probabilities, or a negative rate.
    """
    p = _checked(p_x, rate_bits)
    used = np.flatnonzero(p > 0)
    down = used[np.argsort(-p[used], kind="stable")]
    up = used[np.argsort(p[used], kind="stable")]
    labels = np.arange(len(p))
    labels[p == 0] = -1
    H = entropy_bits(p)
    merged, blob = 1, float(p[down[0]])
    inside = np.zeros(len(p), dtype=bool)
    smallest = 0
    while rate_bits + _SLACK < H:
        left = len(down) - merged
        # What is not in the blob, and the blob itself once it is all there is beside one symbol.
        inside[down[0]] = merged > 1
        if left >= 2:
            while inside[up[smallest]]:
                smallest += 1
            first = up[smallest]
            second = next(i for i in up[smallest + 1 :] if not inside[i])
            if H - float(merge_loss_bits(p[first], p[second])) <= rate_bits + _SLACK:
                labels[labels == labels[second]] = labels[first]
                break
        following = down[merged]
        H -= float(merge_loss_bits(blob, p[following]))
        labels[following] = labels[down[0]]
        inside[following] = True
        blob += float(p[following])
        merged += 1
        if merged == len(down):
            break
    return _numbered(labels)


def quantize(p_x: ArrayLike, rate_bits: float) -> Labels:
    """Blocks of consecutive symbols, ``floor(2^R)`` of them at most, ``[n]``: the baseline, Algorithm 5."""
    p = _checked(p_x, rate_bits)
    codes = max(1, min(len(p), math.floor(2.0 ** min(rate_bits, 60.0))))
    labels = np.arange(len(p)) // math.ceil(len(p) / codes)
    labels[p == 0] = -1
    return _numbered(labels)


def joint_of(p_x: ArrayLike, labels: ArrayLike) -> Floats:
    """The joint law of X and its code, ``[n, codes]``, of a deterministic encoder."""
    p, t = pmf(p_x, "joint_of: p_x"), np.asarray(labels)
    joint = np.zeros((len(p), int(t.max()) + 1))
    known = t >= 0
    joint[np.flatnonzero(known), t[known]] = p[known]
    return joint


def ebim_refine(p_x: ArrayLike, rate_bits: float, maps: str = "path") -> Floats:
    """A stochastic encoder that uses the whole rate: the joint of X and T, ``[n, codes]``.

    Next to a deterministic map, the best encoder of a slightly other rate moves mass of one cell: to a code of its own
    (more rate) or to the largest code (less rate) (Theorem 3). That move is made until H(T) = R, from every map, and
    the encoder of most information is kept; for a whole distance this is our extension of the theorem.

    Args:
        maps: ``path``: the maps that Algorithm 1 passes; ``all``: all partitions (at most 8 symbols).

    Raises:
        ValueError: as `greedy_ebim`, an unknown ``maps``, or ``all`` with more than 8 symbols.
    """
    p = _checked(p_x, rate_bits)
    if maps not in MAPS:
        raise ValueError(f"ebim_refine: unknown maps {maps!r}; valid names are {list(MAPS)}")
    if maps == "all" and (p > 0).sum() > _MOST_SYMBOLS:
        raise ValueError(
            f"ebim_refine: maps='all' tries every partition, of at most {_MOST_SYMBOLS} symbols; use 'path'"
        )
    best = joint_of(p, greedy_ebim(p, rate_bits))
    found = entropy_bits(best.sum(0))
    for labels in _partitions(p) if maps == "all" else _path(p):
        joint = joint_of(p, labels)
        H = entropy_bits(joint.sum(0))
        if rate_bits + _SLACK >= H > found:
            best, found = joint, H
        for moved in _reach(joint, H, rate_bits):
            information = information_bits(moved)
            if information > found:
                best, found = moved, information
    return best


@dataclass(frozen=True)
class BottleneckCoupling:
    """X, its code T and Y. xt: ``[n, k]``, xy: ``[n, m]``, joints; ty: the decoder's coupling."""

    xt: Floats
    ty: Coupling
    xy: Floats


def bottleneck_coupling(
    p_x: ArrayLike, p_y: ArrayLike, rate_bits: float, encoder: str = "greedy", method: str = "max"
) -> BottleneckCoupling:
    """X to Y through a code of at most ``rate_bits``; both marginals are exact.

    Args:
        encoder: ``greedy``, ``refine``, ``quantize``, or ``best``: whichever of the three tells most of X.
        method: of `min_entropy_coupling`.

    Raises:
        ValueError: no probabilities, a negative rate, or an unknown name.
    """
    p = _checked(p_x, rate_bits)
    make: dict[str, Callable[[], Floats]] = {
        "greedy": lambda: joint_of(p, greedy_ebim(p, rate_bits)),
        "refine": lambda: ebim_refine(p, rate_bits),
        "quantize": lambda: joint_of(p, quantize(p, rate_bits)),
    }
    if encoder not in ENCODERS:
        raise ValueError(f"bottleneck_coupling: unknown encoder {encoder!r}; valid names are {list(ENCODERS)}")
    xt = max((m() for m in make.values()), key=information_bits) if encoder == "best" else make[encoder]()
    code = xt.sum(0)
    ty = min_entropy_coupling(code / code.sum(), p_y, method)
    return BottleneckCoupling(xt, ty, (xt / code) @ ty.dense())


def _checked(p_x: ArrayLike, rate_bits: float) -> Floats:
    if not rate_bits >= 0:
        raise ValueError(f"rate_bits: must be at least 0, got {rate_bits}")
    return pmf(p_x, "p_x")


def _numbered(labels: Labels) -> Labels:
    """Codes from 0 on in order of their first symbol; -1 stays."""
    known = labels >= 0
    _, first, index = np.unique(labels[known], return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    out = np.full(len(labels), -1)
    out[known] = rank[index]
    return out


def _path(p: Floats) -> Iterator[Labels]:
    """The maps that merge the largest, one after another, and each with its two smallest merged too."""
    used = np.flatnonzero(p > 0)
    down = used[np.argsort(-p[used], kind="stable")]
    base = np.full(len(p), -1)
    base[used] = used
    for merged in range(1, len(down) + 1):
        labels = base.copy()
        labels[down[:merged]] = down[0]
        yield _numbered(labels)
        if len(down) - merged >= 2:
            labels[down[-1]] = labels[down[-2]]
            yield _numbered(labels)


def _partitions(p: Floats) -> Iterator[Labels]:
    used = np.flatnonzero(p > 0)

    def grow(codes: list[int]) -> Iterator[list[int]]:
        if len(codes) == len(used):
            yield codes
            return
        for code in range(max(codes, default=-1) + 2):
            yield from grow([*codes, code])

    for codes in grow([]):
        labels = np.full(len(p), -1)
        labels[used] = codes
        yield labels


def _reach(joint: Floats, H: float, rate: float) -> Iterator[Floats]:
    """The encoders next to a map, moved until their code's entropy is the rate, where they get there."""
    sums = joint.sum(0)
    if rate > H:
        share = np.where(joint > 0, joint / sums, np.inf)
        row, column = divmod(int(np.argmin(share)), share.shape[1])
        wide = np.pad(joint, ((0, 0), (0, 1)))
        target = joint.shape[1]
    elif rate < H and len(sums) > 1:
        column = int(np.argmin(sums))
        row = int(np.argmin(np.where(joint[:, column] > 0, joint[:, column], np.inf)))
        wide, target = joint, int(np.argmax(sums))
        if target == column:
            return
    else:
        return

    def moved(delta: float) -> Floats:
        out = wide.copy()
        out[row, column] -= delta
        out[row, target] += delta
        return out

    def off(delta: float) -> float:
        return entropy_bits(moved(delta).sum(0).clip(min=0.0)) - rate

    mass = float(joint[row, column])
    grid = np.linspace(0.0, mass, _SCAN)
    signs = [off(d) > 0 for d in grid]
    crossing = next((i for i in range(1, _SCAN) if signs[i] != signs[0]), None)
    if crossing is None:
        return
    low, high = float(grid[crossing - 1]), float(grid[crossing])
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if (off(middle) > 0) == signs[0] else (low, middle)
    # The end whose entropy stays within the rate.
    yield moved(low if off(low) <= 0 else high)
