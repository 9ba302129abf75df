"""Which matrices to train, by their condition numbers: KappaTune's choice (arXiv 2506.16289) and its controls."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from .measure import MatrixCondition

ORDERS = ("lowest", "highest", "random", "all")


def select_by_condition(
    kappas: Mapping[str, float | MatrixCondition],
    *,
    num: int | None = None,
    top_p: float | None = None,
    threshold: float | None = None,
    order: str = "lowest",
    seed: int = 0,
) -> list[str]:
    """Names of matrices, in the order chosen; exactly one budget, and none for ``all``.

    Ties go by name, so that a selection can be reproduced.

    Args:
        kappas: by name, infinity included, or anything else to rank by, as `relative_to_gaussian` gives; what
            `measure_matrices` gives is ranked by its κ.
        num: N, how many. top_p: N as a share of all, rounded down, at least one.
        threshold: κ <= threshold for ``lowest``, >= for ``highest``; ``random`` draws as many as ``lowest`` takes.
        order: ``lowest`` is the paper; ``highest``, ``random`` and ``all`` are what it is to be held to.
        seed: of the random draw.

    Raises:
        ValueError: no or several budgets, one out of range or that nothing meets, no matrices, NaN, an unknown order.
        TypeError: neither numbers by name nor what `measure_matrices` gives.
    """
    if order not in ORDERS:
        raise ValueError(f"select_by_condition: order is one of {', '.join(ORDERS)}; got {order!r}")
    if isinstance(kappas, Mapping) and not kappas:
        raise ValueError("select_by_condition: there are no condition numbers to choose by")
    kappas = _numbers(kappas)
    bad = [name for name, kappa in kappas.items() if math.isnan(kappa)]
    if bad:
        raise ValueError(f"select_by_condition: NaN cannot be ranked: {', '.join(bad[:5])}")
    ascending = sorted(kappas, key=lambda name: (kappas[name], name))
    if order == "all":
        if (num, top_p, threshold) != (None, None, None):
            raise ValueError("select_by_condition: all takes no budget")
        return ascending
    if order == "highest" and threshold is not None:
        _one_budget(num, top_p, threshold)
        count = sum(kappa >= threshold for kappa in kappas.values())
    else:
        count = _count(kappas, num, top_p, threshold)
    if not count:
        side = ">=" if order == "highest" else "<="
        raise ValueError(f"select_by_condition: no matrix has a condition number {side} {threshold}")
    if order == "highest":
        return sorted(kappas, key=lambda name: (-kappas[name], name))[:count]
    if order == "random":
        drawn = torch.randperm(len(kappas), generator=torch.Generator().manual_seed(seed))[:count]
        names = sorted(kappas)
        return [names[i] for i in drawn.tolist()]
    return ascending[:count]


def _numbers(kappas: Mapping[str, float | MatrixCondition]) -> dict[str, float]:
    if not isinstance(kappas, Mapping):
        raise TypeError(
            "select_by_condition: needs condition numbers by name, as condition_numbers(model) gives them, got "
            f"{type(kappas).__name__}"
        )
    found = {}
    for name, one in kappas.items():
        value = one.kappa if isinstance(one, MatrixCondition) else one
        try:
            found[name] = float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"select_by_condition: {name} is a {type(one).__name__}, and a number is needed, as "
                "condition_numbers(model) or relative_to_gaussian(measure_matrices(model)) gives"
            ) from error
    return found


def _one_budget(num: int | None, top_p: float | None, threshold: float | None) -> None:
    if sum(budget is not None for budget in (num, top_p, threshold)) != 1:
        raise ValueError(
            f"select_by_condition: give exactly one of num, top_p and threshold; got {num}, {top_p}, {threshold}"
        )


def _count(kappas: Mapping[str, float], num: int | None, top_p: float | None, threshold: float | None) -> int:
    _one_budget(num, top_p, threshold)
    if num is not None:
        if not 1 <= num <= len(kappas) or num != int(num):
            raise ValueError(
                f"select_by_condition: num must be a whole number, 1 to {len(kappas)}, the matrices there are; "
                f"got {num}"
            )
        return int(num)
    if top_p is not None:
        if not 0 < top_p <= 1:
            raise ValueError(f"select_by_condition: top_p must lie above 0 and be at most 1, got {top_p}")
        return max(1, int(top_p * len(kappas)))
    return sum(kappa <= threshold for kappa in kappas.values()) if threshold is not None else 0
