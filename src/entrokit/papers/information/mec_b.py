"""Minimum entropy coupling with bottleneck: a message in the actions of an agent that behaves as ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from entrokit.information.coupling import (
    GREEDY_GAP_BITS,
    GridWorld,
    MarkovCodingGame,
    entropy_bits,
    majorization_bound_bits,
    min_entropy_coupling,
    play,
    soft_policy,
    soft_q,
)
from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

MESSAGES, EPISODES, PAIRS = 32, 60, 100
RATES = (0.2, 0.35, 0.5, 0.75, 1.0)
_RATE, _BETA = 0.5, float(np.exp(-6))
_NAMES = {"greedy": "search", "quantize": "uniform quantizer"}


@dataclass(frozen=True)
class Games:
    """Share of the episodes whose message was read, and their mean reward."""

    accuracy: float
    reward: float


def miniature(budget: Budget) -> Iterator[Shown]:
    policy = soft_policy(soft_q(GridWorld(), _BETA), _BETA)
    played = {
        encoder: [[games(policy, encoder, rate, s) for s in budget.seeds] for rate in RATES] for encoder in _NAMES
    }
    at_half = {encoder: course[RATES.index(_RATE)] for encoder, course in played.items()}
    yield _hidden(at_half, played["greedy"][-1])
    yield _couplings(budget.seeds)
    series = tuple(
        Series(_NAMES[encoder], list(RATES), [float(np.mean([g.accuracy for g in own])) for own in course])
        for encoder, course in played.items()
    )
    yield Chart("Messages read from an agent's actions", "bits a step / bits of the message", "share read", series)


def games(policy: np.ndarray[tuple[int, int], np.dtype[np.float64]], encoder: str, rate: float, seed: int) -> Games:
    """60 episodes with one of 32 messages each (the setting of an independent check).

    ``rate``: bits a step as a share of the bits of the message.
    """
    world, prior, rng = GridWorld(), np.full(MESSAGES, 1.0 / MESSAGES), np.random.default_rng(seed)
    game = MarkovCodingGame(policy, rate * entropy_bits(prior), encoder)
    right, rewards = [], []
    for _ in range(EPISODES):
        message = int(rng.integers(MESSAGES))
        episode = play(world, game, message, prior, rng)
        right.append(episode.decoded == message)
        rewards.append(episode.reward)
    return Games(float(np.mean(right)), float(np.mean(rewards)))


def _hidden(half: dict[str, list[Games]], whole: list[Games]) -> Finding:
    def mean(own: list[Games]) -> tuple[float, float]:
        return float(np.mean([g.accuracy for g in own])), float(np.mean([g.reward for g in own]))

    search, quantizer, plain = mean(half["greedy"]), mean(half["quantize"]), mean(whole)
    return Finding(
        "At half the rate the search for a code lets the receiver read what a quantizer loses, at equal reward.",
        "32 messages, 60 episodes a seed, mean over seeds: search at least 0.3 above the quantizer in messages read, "
        "rewards within 0.05",
        f"search {search[0]:.3f}, quantizer {quantizer[0]:.3f}, no bottleneck {plain[0]:.3f}; rewards {search[1]:.3f}, "
        f"{quantizer[1]:.3f}, {plain[1]:.3f}",
        search[0] - quantizer[0] > 0.3 and abs(search[1] - quantizer[1]) < 0.05,
        "independent check: 0.72, 0.18, 0.68 at reward 0.33",
        {
            f"{what}, {name}": [getattr(g, what) for g in own]
            for what in ("accuracy", "reward")
            for name, own in (("search", half["greedy"]), ("quantizer", half["quantize"]), ("no bottleneck", whole))
        },
    )


def _couplings(seeds: tuple[int, ...]) -> Finding:
    entropies: dict[str, list[float]] = {"independent": [], "max": [], "zero": []}
    gaps: list[float] = []
    for s in seeds:
        rng = np.random.default_rng(s)
        for _ in range(PAIRS):
            p, q = (x / x.sum() for x in (rng.random(8), rng.random(8)))
            entropies["independent"].append(entropy_bits(p) + entropy_bits(q))
            for method in ("max", "zero"):
                entropies[method].append(min_entropy_coupling(p, q, method).entropy_bits)
            gaps.append(entropies["max"][-1] - majorization_bound_bits(p, q))
    mean = {name: float(np.mean(x)) for name, x in entropies.items()}
    return Finding(
        "Greedy couplings halve the entropy of independent ones; the one that seeks zeros is a little below the other.",
        "100 pairs of random laws on 8 symbols a seed: mean zero-seeking < max-seeking < 0.6 of independent, and "
        f"max-seeking never more than {GREEDY_GAP_BITS:.3f} bits above the bound that no coupling passes",
        f"{mean['zero']:.3f}, {mean['max']:.3f}, {mean['independent']:.3f} bits; largest gap {max(gaps):.3f}",
        mean["zero"] < mean["max"] < 0.6 * mean["independent"] and max(gaps) <= GREEDY_GAP_BITS,
        "paper: 2.937, 2.946, 5.443 bits, of another law of marginals",
        {
            **{f"{name}, mean bits": np.reshape(x, (-1, PAIRS)).mean(1).tolist() for name, x in entropies.items()},
            "largest gap, bits": np.reshape(gaps, (-1, PAIRS)).max(1).tolist(),
        },
    )


PAPER = Paper(
    slug="mec-b",
    title="Minimum Entropy Coupling with Bottleneck",
    arxiv="2410.21666",
    year=2024,
    family="information",
    claim="The most information through a code of limited entropy to an output of fixed law, by greedy search.",
    names=(
        "entrokit.information.coupling.min_entropy_coupling",
        "entrokit.information.coupling.bottleneck_coupling",
        "entrokit.information.coupling.greedy_ebim",
        "entrokit.information.coupling.ebim_refine",
        "entrokit.information.coupling.MarkovCodingGame",
    ),
    recipes=(),
    example=(
        "from entrokit.information.coupling import bottleneck_coupling\n"
        "joint = bottleneck_coupling([0.4, 0.3, 0.2, 0.1], [0.5, 0.3, 0.2], rate_bits=1.0)\n"
        "print(joint.xt.sum(0))  # a code of at most one bit\n"
        "print(joint.xy)"
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.3,
            criterion="at half the rate the search has 0.3 more of the messages read than a quantizer, at equal "
            "reward; greedy couplings stay below 0.6 of an independent one's entropy, the zero-seeking one lowest",
        ),
    },
)
