"""One cell of the diagram: prune a dense network, retrain copies with different seeds, compare them in pairs.

A Three-regime Model of Network Pruning (arXiv 2305.18383). The paper has three dense networks and three retrained
copies of each; means over dense networks are left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Literal

import torch
from torch import nn

from .connectivity import linear_mode_connectivity
from .magnitude import prune_magnitude
from .networks import Batches, copy_model, outputs_of
from .similarity import agreement, linear_cka, mean_jensen_shannon


@dataclass(frozen=True, eq=False)
class Probe:
    """What retrained copies of one pruned network have in common; lists have one number for each pair.

    Attributes:
        lmc: linear mode connectivity, in units of error. cka: of softmax outputs (or logits). jsd: mean Jensen-Shannon
            divergence of the outputs, in nats. agreement: share of equal answers.
        networks: the retrained copies, with masks on.
    """

    lmc: list[float]
    cka: list[float]
    jsd: list[float]
    agreement: list[float]
    networks: tuple[nn.Module, ...]

    def means(self) -> dict[str, float]:
        """Means over pairs."""
        return {name: fmean(getattr(self, name)) for name in ("lmc", "cka", "jsd", "agreement")}


def probe_pruning(
    dense: nn.Module,
    retrain: Callable[[nn.Module, int], object],
    loader: Batches,
    density: float,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    scope: Literal["uniform", "global"] = "uniform",
    skip: Collection[str] | None = None,
    points: int = 11,
    of: Literal["softmax", "logits"] = "softmax",
) -> Probe:
    """Prunes a copy of a trained network, retrains it once for every seed, and measures all pairs.

    Args:
        dense: the trained network; it is not changed. retrain: called with a pruned copy and a seed, trains it in
            place; its optimizer is made inside.
        loader: training batches (x, y) without augmentation.
        density, scope, skip: of `prune_magnitude`. points: of `linear_mode_connectivity`.
        of: what CKA is taken of; the paper's code has the softmax, whose CKA differs from that of the logits.

    Raises:
        ValueError: fewer than two different seeds; see also the functions named.
    """
    if len(set(seeds)) < 2 or len(set(seeds)) < len(seeds):
        raise ValueError(f"probe_pruning: pairs need two or more different seeds, got {list(seeds)}")
    if of not in ("softmax", "logits"):
        raise ValueError(f"probe_pruning: of is 'softmax' or 'logits', got {of!r}")
    pruned = copy_model(dense)
    prune_magnitude(pruned, density, scope, skip)
    networks = tuple(copy_model(pruned) for _ in seeds)
    for network, seed in zip(networks, seeds, strict=True):
        retrain(network, seed)
    logits = outputs_of(networks, loader, "probe_pruning")
    answers = [torch.softmax(own.double(), 1) for own in logits] if of == "softmax" else logits
    pairs = list(combinations(range(len(seeds)), 2))
    return Probe(
        lmc=[linear_mode_connectivity(networks[i], networks[j], loader, points).lmc for i, j in pairs],
        cka=[linear_cka(answers[i], answers[j]) for i, j in pairs],
        jsd=[mean_jensen_shannon(logits[i], logits[j]) for i, j in pairs],
        agreement=[agreement(logits[i], logits[j]) for i, j in pairs],
        networks=networks,
    )


def choose_dense(lmc: Sequence[float], cka: Sequence[float], tau_c: float = 0.1) -> int | None:
    """Which of several dense networks to prune: of those whose copies are connected, the one of the largest CKA.

    This is the paper's second use of the regimes as its abstract tells it; the procedure is a reconstruction.

    Args:
        lmc, cka: one for each candidate, at the density that is wanted; NaN leaves a candidate out.

    Returns:
        Its index; None where none is connected: all are in regime I, and dense training should be hotter.

    Raises:
        ValueError: lists of different lengths, or empty ones.
    """
    if not len(lmc) or len(lmc) != len(cka):
        raise ValueError(f"choose_dense: needs lmc and cka of each candidate, got {len(lmc)} and {len(cka)}")
    # NaN compares as False on either side.
    connected = [i for i in range(len(lmc)) if lmc[i] >= -tau_c and cka[i] == cka[i]]
    return max(connected, key=lambda i: cka[i], default=None)
