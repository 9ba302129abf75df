"""Cross-entropy search of zeta's zeros, and nucleus sampling over paths: a demonstration, and no evidence on RH."""

from __future__ import annotations

from collections.abc import Iterator

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget
from . import _minima_compared, _paths_of_chains, _paths_of_model, _rare_events, _zeta_zeros


def rare(budget: Budget) -> Iterator[Shown]:
    yield from _rare_events.exponential_tail(budget)
    yield _rare_events.normal_tails(budget)
    yield from _rare_events.two_sides(budget)
    yield from _rare_events.mixtures(budget)


def minimum(budget: Budget) -> Iterator[Shown]:
    yield from _minima_compared.shown(budget)


def zeros(budget: Budget) -> Iterator[Shown]:
    yield from _zeta_zeros.shown(budget)


def chains(budget: Budget) -> Iterator[Shown]:
    yield from _paths_of_chains.shown(budget)


def real_model(budget: Budget) -> Iterator[Shown]:
    yield from _paths_of_model.shown(budget)


PAPER = Paper(
    slug="cross-entropy-riemann",
    title="Analysis on Riemann Hypothesis with Cross Entropy Optimization and Reasoning",
    arxiv="2409.19790",
    year=2024,
    family="search",
    claim="Zeros of the zeta function are searched by the cross-entropy method, and tokens chosen by the probability "
    "of k paths. A numerical demonstration, and no evidence for or against the Riemann Hypothesis.",
    names=(
        "entrokit.search.cross_entropy.cross_entropy_probability",
        "entrokit.search.cross_entropy.cross_entropy_minimize",
        "entrokit.search.cross_entropy.Sampler",
        "entrokit.search.zeta.zeta",
        "entrokit.search.zeta.hardy_z",
        "entrokit.search.zeta.find_critical_zeros",
        "entrokit.search.zeta.count_zeros",
        "entrokit.search.zeta.search_zero",
        "entrokit.decoding.path_nucleus.path_nucleus",
        "entrokit.decoding.path_nucleus.PathTopP",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.search.zeta import find_critical_zeros, search_zero\n"
        "print(find_critical_zeros(10, 30))\n"
        "print(search_zero(10, 18, generator=torch.Generator().manual_seed(0)).s)"
    ),
    experiments={
        "rare": Experiment(
            rare,
            seeds=5,
            minutes=0.1,
            criterion="every seed: e^-20 within 15 % from 30,000 draws; normal tails within 3.5 of the standard errors "
            "that are reported; of a two-sided event one Gaussian sees half and reports below 5 %, a family with both "
            "sides gives it within 10 %; so does a mixture of events in two places, and one Gaussian that is off does "
            "not say that it reached them",
        ),
        "minimum": Experiment(
            minimum,
            seeds=5,
            minutes=1,
            needs=("physics",),
            criterion="10,000 evaluations in 10 dimensions: the sphere to 1e-8; CMA-ES below both on Rosenbrock; at or "
            "below CMA-ES on Rastrigin in the median; as good as the better peer on all three",
        ),
        "zeros": Experiment(
            zeros,
            seeds=5,
            minutes=3,
            criterion="ζ within 1e-12 of mpmath up to t = 1,000; 649 changes of sign up to there, as many as the "
            "argument principle counts; the search by samples ends on the zero in three windows, is refused where "
            "there is none, and finds one of two",
        ),
        "chains": Experiment(
            chains,
            seeds=5,
            minutes=0.3,
            criterion="Markov chains, four paths: likelier than the best of four samples and less likely than beam "
            "search (95 % intervals); exp(H(w)) at most 1.5 at the end; half of the tokens common to all paths",
        ),
        "real-model": Experiment(
            real_model,
            seeds=5,
            minutes=3,
            criterion="SmolLM2-135M-Instruct, sentences and sums, four paths of 24 tokens at equal passes, each by a "
            "95 % interval over seeds: right more often than the best of four samples and than beam search, likelier "
            "than the samples, less likely than beam search, fewer different texts; exp(H(w)) at most 1.5 from the "
            "17th token on; half of the tokens common to all paths",
        ),
    },
)
