"""The tail of importance weights, and what is said of an estimate that a few of them carry."""

import math
import warnings

import pytest
import torch

from entrokit.search.cross_entropy import (
    DiagonalGaussian,
    HeavyTailWarning,
    ShiftedGaussian,
    cross_entropy_probability,
    estimate_probability,
)
from entrokit.search.cross_entropy.tails import largest_reliable_k, pareto_k

from .cross_entropy_cases import double, generator, normal_tail


@pytest.mark.parametrize("k", [-0.5, 0.1, 0.3, 0.7, 1.0, 1.5])
def test_a_generalized_pareto_law_has_its_own_shape(k):
    """Beyond a threshold it has the same k; an estimate by M = 300 excesses has a standard deviation of (1 + k) / √M.

    The prior of ten observations at 1/2 moves it by 10/310 of the way.
    """
    u = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    weights = 1.0 + (u**-k - 1.0) / k
    assert pareto_k(weights.log()) == pytest.approx(k, abs=(1 + k) / math.sqrt(300) + abs(0.5 - k) / 31)
    assert pareto_k(weights.log() - 5000.0) == pytest.approx(pareto_k(weights.log()), rel=1e-9)


def test_weights_without_a_tail():
    assert pareto_k(torch.zeros(1000)) == -math.inf
    # Two values, as of a Bernoulli law's draws: the largest are one point.
    assert pareto_k((torch.arange(1000) % 2).double()) == -math.inf
    assert math.isnan(pareto_k(torch.randn(20, generator=generator())))
    assert pareto_k(torch.arange(1000.0) * 100) == math.inf


def test_few_draws_bear_less():
    assert [largest_reliable_k(n) for n in (10, 100, 1000, 10_000)] == pytest.approx([0.0, 0.5, 2 / 3, 0.7])


def test_a_sampler_of_a_known_width_has_the_tail_of_theory():
    """Of N(0, 1) by N(0, s²) weights exceed w as w^(-1 / (1 - s²)), but for a power of ln w."""
    law = ShiftedGaussian(0.0)
    ks = []
    for std in (0.4, 0.7, 1.5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HeavyTailWarning)
            found = estimate_probability(
                lambda x: x, law, -50.0, ShiftedGaussian(0.0, std), n=100_000, generator=generator()
            )
        ks.append(found.pareto_k)
    # The power lowers k by less than 0.2 there.
    assert ks[0] == pytest.approx(1 - 0.16, abs=0.2)
    assert ks[1] == pytest.approx(1 - 0.49, abs=0.2)
    assert ks[2] < 0


def test_runs_that_are_off_by_five_errors_are_told_and_runs_of_a_kept_width_are_not():
    truth = normal_tail(3.0)

    def told(law, seed):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = cross_entropy_probability(lambda x: x, law, 3.0, generator=generator(seed))
        said = any(issubclass(each.category, HeavyTailWarning) for each in caught)
        assert said == (found.pareto_k > 0.7)
        return said, abs(found.probability / truth - 1) > 5 * found.relative_error

    narrow = [told(DiagonalGaussian(0.0, 1.0), seed) for seed in range(20)]
    off = [said for said, wrong in narrow if wrong]
    assert len(off) >= 3
    assert sum(off) >= 0.75 * len(off)
    assert [told(ShiftedGaussian(0.0), seed) for seed in range(20)] == [(False, False)] * 20


def test_the_warning_names_what_to_do_and_the_line_that_called():
    sampler = DiagonalGaussian(double(3.1), double(0.05))
    law = DiagonalGaussian(double(0.0), double(1.0))
    with pytest.warns(
        HeavyTailWarning, match=r"of the \d+ hits have a tail of Pareto shape k = \d.* raise n"
    ) as caught:
        estimate_probability(lambda x: x[:, 0], law, 3.0, sampler, n=10_000, generator=generator())
    assert caught[0].filename == __file__
