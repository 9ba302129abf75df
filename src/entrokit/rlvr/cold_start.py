"""Cold-start data whose length fits the difficulty: short answers to easy problems, long ones to hard problems.

ARES (arXiv 2510.08457, section on the cold start): with p the pass rate of a problem and L(p) the length that suits it,

    L_target(p) = (1 - p) L(0) + p L(1)

where L(0) and L(1) are the median lengths, in tokens, of responses to problems of pass rate 0 and 1 of the same source.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def length_target(pass_rate: ArrayLike, hardest: float, easiest: float) -> NDArray[np.float64]:
    """L_target in tokens, of the shape of ``pass_rate`` (in [0, 1]); ``hardest`` is L(0), ``easiest`` L(1)."""
    p = np.asarray(pass_rate, dtype=np.float64)
    return (1.0 - p) * hardest + p * easiest


def select_cold_start(
    pass_rate: ArrayLike, length: ArrayLike, source: Sequence[str], count: int, *, brackets: int = 9
) -> NDArray[np.int64]:
    """The responses to fine-tune on first: uniformly over brackets of pass rate, those nearest to their target length.

    Args:
        pass_rate: ``[N]``, of each response's problem, in [0, 1]. length: ``[N]``, tokens of each response.
        source: ``[N]``, the data set that each is from: every source has lengths of its own.
        count: responses wanted. brackets: of equal width, over [0, 1].

    Returns:
        Indices, ascending; fewer than ``count`` where there are fewer. A bracket that has too few gives its share to
        the others.

    Raises:
        ValueError: shapes that differ, a pass rate outside [0, 1], a source without problems of pass rate 0 or 1.
    """
    p, tokens, sources = (np.asarray(x) for x in (pass_rate, length, source))
    if p.ndim != 1 or not p.shape == tokens.shape == sources.shape:
        raise ValueError(f"select_cold_start: expected three [N], got {p.shape}, {tokens.shape} and {sources.shape}")
    if len(p) and not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"select_cold_start: pass rates must lie in [0, 1], got {p[(p < 0) | (p > 1)][0]}")
    if count < 0 or brackets < 1:
        raise ValueError(f"select_cold_start: needs count >= 0 and brackets >= 1, got {count} and {brackets}")
    off = np.empty(len(p))
    for name in np.unique(sources):
        own = sources == name
        ends = []
        for rate in (0.0, 1.0):
            lengths = tokens[own & (p == rate)]
            if not len(lengths):
                raise ValueError(
                    f"select_cold_start: source {name!r} has no response to a problem of pass rate {rate:g}, whose "
                    "median length the target needs"
                )
            ends.append(float(np.median(lengths)))
        off[own] = np.abs(tokens[own] - length_target(p[own], *ends))
    bracket = np.minimum((p * brackets).astype(int), brackets - 1)
    ranked = [sorted(np.flatnonzero(bracket == b), key=lambda i: (off[i], i)) for b in range(brackets)]
    # One from every bracket in turn, nearest first.
    turns = [row[turn] for turn in range(max(map(len, ranked))) for row in ranked if turn < len(row)]
    return np.sort(np.array(turns[:count], dtype=np.int64))
