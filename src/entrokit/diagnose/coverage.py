"""Coverage: how often at least one of k attempts is right."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pass_at_k(correct: Sequence[int], attempts: int, k: int) -> float:
    """Unbiased estimate of pass@k (Chen et al., arXiv 2107.03374), averaged over prompts.

    For ``c`` right of ``n`` attempts at a prompt: ``1 - C(n - c, k) / C(n, k)``.

    Args:
        correct: number of right attempts, one entry a prompt, each in [0, attempts].
        attempts: attempts per prompt, n.
        k: in [1, n].

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: k or a count out of range, or no prompts.
    """
    if not 1 <= k <= attempts:
        raise ValueError(f"pass_at_k: k must be in [1, attempts={attempts}], got {k}")
    if not len(correct) or not all(0 <= c <= attempts for c in correct):
        raise ValueError(f"pass_at_k: expected counts in [0, {attempts}], one a prompt, got {list(correct)}")
    misses = (math.comb(attempts - c, k) / math.comb(attempts, k) for c in correct)
    return 1.0 - sum(misses) / len(correct)
