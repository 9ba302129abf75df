"""The arms of a fair trial: what else could be trained at the same number of parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch

from .measure import MatrixCondition
from .selection import select_by_condition


def control_arms(
    measured: Mapping[str, MatrixCondition],
    *,
    num: int | None = None,
    top_p: float | None = None,
    threshold: float | None = None,
    by: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, list[str]]:
    """Names to train in the arms ``lowest``, ``highest``, ``random`` and ``all``.

    ``lowest`` is the paper's choice. N counts tensors, whose sizes differ a hundredfold; so ``highest`` and ``random``
    are chosen within the shapes of ``lowest``, as many of each, and have exactly its number of parameters. Where
    ``lowest`` took all of a shape they must take them too, and the arms differ in less than it seems. ``all`` is every
    matrix.

    Args:
        measured: see `measure_matrices`. num, top_p, threshold: the budget, see `select_by_condition`.
        by: ranks by these instead of κ, as those of `relative_to_gaussian`; of the same names. seed: of ``random``.

    Raises:
        ValueError: see `select_by_condition`; or ``by`` is of other names.
        TypeError: ``measured`` is not of `measure_matrices`, whose shapes are needed.
    """
    if not isinstance(measured, Mapping) or not all(isinstance(one, MatrixCondition) for one in measured.values()):
        raise TypeError(
            "control_arms: needs what measure_matrices(model) gives, whose shapes it matches; κ alone, as of "
            "condition_numbers, says nothing of them (to rank by other numbers give by=)"
        )
    rank = {name: one.kappa for name, one in measured.items()} if by is None else dict(by)
    if rank.keys() != measured.keys():
        raise ValueError(
            "control_arms: by must rank the matrices that were measured; only one of both has "
            f"{sorted(rank.keys() ^ measured.keys())[:5]}"
        )
    lowest = select_by_condition(rank, num=num, top_p=top_p, threshold=threshold)
    sizes = {name: (one.count, *one.shape) for name, one in measured.items()}
    generator = torch.Generator().manual_seed(seed)
    highest: list[str] = []
    random: list[str] = []
    for size, wanted in Counter(sizes[name] for name in lowest).items():
        alike = {name: rank[name] for name in sorted(rank) if sizes[name] == size}
        highest += select_by_condition(alike, num=wanted, order="highest")
        draw = int(torch.randint(2**31, (), generator=generator))
        random += select_by_condition(alike, num=wanted, order="random", seed=draw)
    return {"lowest": lowest, "highest": highest, "random": random, "all": select_by_condition(rank, order="all")}
