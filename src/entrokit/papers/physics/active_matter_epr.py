"""Entropy production of active matter, by learning the score of its stationary law."""

from __future__ import annotations

from collections.abc import Iterator

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget
from . import _active_laws, _active_particles


def known(budget: Budget) -> Iterator[Shown]:
    yield from _active_laws.known(budget)


def wells(budget: Budget) -> Iterator[Shown]:
    yield from _active_laws.wells(budget)


def swimmers(budget: Budget) -> Iterator[Shown]:
    yield from _active_particles.swimmers(budget)


def pair(budget: Budget) -> Iterator[Shown]:
    yield from _active_particles.pair(budget)


def plane(budget: Budget) -> Iterator[Shown]:
    yield from _active_particles.plane(budget)


def scaling(budget: Budget) -> Iterator[Shown]:
    yield from _active_particles.scaling(budget)


PAPER = Paper(
    slug="active-matter-epr",
    title="Deep learning probability flows and entropy production rates in active matter",
    arxiv="2309.12991",
    year=2023,
    family="physics",
    claim="A network that learns the score of a stationary law says where, and how fast, a system out of equilibrium "
    "makes entropy, for thousands of particles and for other numbers and densities than it was trained at.",
    names=(
        "entrokit.physics.active_matter.ActiveOrnsteinUhlenbeck",
        "entrokit.physics.active_matter.ActiveBrownian",
        "entrokit.physics.active_matter.ParticleScoreTransformer",
        "entrokit.physics.active_matter.ParticleScore",
        "entrokit.physics.active_matter.ScoreTrainer",
        "entrokit.physics.active_matter.score_matching_loss",
        "entrokit.physics.active_matter.denoising_loss",
        "entrokit.physics.active_matter.probability_flow",
        "entrokit.physics.active_matter.entropy_production_rate",
        "entrokit.physics.active_matter.epr_by_coordinate",
        "entrokit.physics.active_matter.epr_without_score",
        "entrokit.physics.active_matter.stationarity",
        "entrokit.physics.active_matter.divergence",
        "entrokit.physics.active_matter.ou_reference",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.physics.active_matter import entropy_production_rate, ou_reference\n"
        "x, A = torch.randn(10_000, 2), torch.tensor([[1.0, -1.0], [1.0, 1.0]])  # a swirl\n"
        "print(entropy_production_rate(x, lambda x: -x @ A.T, lambda x: -x, 1.0))\n"
        "print(ou_reference(A, 1.0).epr)  # exactly, in nats a unit of time"
    ),
    experiments={
        "known": Experiment(
            known,
            seeds=5,
            minutes=3,
            needs=("physics",),
            criterion="entropy production of a learnt score on 200,000 fresh samples within 2 % of the exact one by "
            "the median over seeds, for a trapped active particle, a rotation and a system of three dimensions; of "
            "the trap on every seed within 0.06, and its two parts within 0.04",
        ),
        "double-well": Experiment(
            wells,
            seeds=5,
            minutes=4,
            needs=("physics",),
            criterion="a double well with a solenoidal force, with and without the stationary equation's term: learnt "
            "rate within 4 % of the exact score's on the same samples and local rates correlated above 0.99 on every "
            "seed; the term leaves the score's error no larger on the mean",
        ),
        "swimmers": Experiment(
            swimmers,
            seeds=5,
            minutes=2,
            needs=("physics",),
            criterion="two swimmers on a ring, by their difference: learnt rate within 5 % of what needs no score by "
            "the median over seeds at v0 = 1; at v0 = 0 at most 2 % of that on every seed, and what needs no score is "
            "0 within two standard errors over seeds",
        ),
        "pair": Experiment(
            pair,
            seeds=5,
            minutes=2,
            needs=("physics",),
            criterion="two particles on a ring, each with the networks that crowds have: learnt rate within 5 % of "
            "what needs no score by the median over seeds",
        ),
        "plane": Experiment(
            plane,
            seeds=2,
            minutes=2,
            needs=("physics",),
            criterion="400 steps on 8 particles in the plane: learnt rate within 5 % of what needs no score, and "
            "within 10 % on 64 particles that the same network sees for the first time",
        ),
        "scaling": Experiment(
            scaling,
            seeds=3,
            minutes=1,
            needs=("physics",),
            criterion="CPU seconds of one evaluation at 32,768 particles at most 12 times those at 4,096",
        ),
    },
)
