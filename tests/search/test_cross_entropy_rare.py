"""Probabilities of rare events: closed forms, what the estimate knows of its error, and what is said when it fails."""

import math
import warnings

import numpy as np
import pytest
import torch

from entrokit.search.cross_entropy import (
    EmptyEliteError,
    Exponential,
    ShiftedGaussian,
    StallWarning,
    cross_entropy_probability,
    estimate_probability,
)

from .cross_entropy_cases import Mirrored, double, generator, normal_tail

ONE = Exponential(1.0)


def value(x):
    return x


@pytest.mark.parametrize("seed", range(5))
def test_check_1_the_tail_of_an_exponential_law(seed):
    found = cross_entropy_probability(value, ONE, 20.0, generator=generator(seed), n=2000, n_final=20_000)
    assert found.status == "reached"
    assert 3 <= len(found.history) <= 5
    assert found.probability == pytest.approx(math.exp(-20), rel=0.15)
    assert found.log_probability == pytest.approx(math.log(found.probability))
    assert estimate_probability(value, ONE, 20.0, ONE, n=30_000, generator=generator(seed)).probability == 0.0


def test_check_1_levels_follow_the_recursion_of_the_population():
    """γ_t = v ln(1/ρ) and v_t = γ_t + 1 in the limit of many draws; the last level is γ itself."""
    found = cross_entropy_probability(value, ONE, 20.0, generator=generator(), n=200_000, n_final=2)
    expected = [(2.302585, 3.302585), (7.604483, 8.604483), (19.812555, 20.812555), (20.0, 21.0)]
    assert len(found.history) == 4
    # A quantile is off by v sqrt((1 - ρ) / (ρ n)), a mean by v sqrt(relative variance / n); errors add up over levels.
    for level, (gamma, mean) in zip(found.history, expected, strict=True):
        assert level.gamma == pytest.approx(gamma, rel=0.06)
        assert float(level.sampler.mean) == pytest.approx(mean, rel=0.06)
    assert float(found.sampler.mean) == pytest.approx(21.0, rel=0.02)


def test_check_1_the_relative_error_is_the_one_of_theory():
    """At v = 21 a draw's relative variance is 26.878444, known from 400,000 of them to half a per cent."""
    found = estimate_probability(value, ONE, 20.0, Exponential(21.0), n=400_000, generator=generator())
    assert found.relative_error**2 * 400_000 == pytest.approx(26.878444, rel=0.02)
    assert math.sqrt(26.878444 / 20_000) == pytest.approx(0.0367, abs=5e-5)


@pytest.mark.parametrize(
    ("gamma", "mean", "probability"),
    [(3.0, 3.283099, 1.349898e-03), (4.0, 4.225607, 3.167124e-05), (5.0, 5.186504, 2.866516e-07)],
    ids=["3", "4", "5"],
)
def test_check_2_the_tail_of_a_normal_law(gamma, mean, probability):
    found = cross_entropy_probability(value, ShiftedGaussian(0.0), gamma, generator=generator(), n=50_000)
    assert probability == pytest.approx(normal_tail(gamma), rel=1e-6)
    assert abs(found.probability / probability - 1.0) < 5 * found.relative_error
    # The elite's standard deviation is below 1/3, and W makes at least one draw in a hundred count.
    assert float(found.sampler.mean) == pytest.approx(mean, abs=5 / 3 / math.sqrt(500))


def test_check_3_with_the_law_itself_it_is_plain_monte_carlo():
    found = estimate_probability(value, ONE, 1.0, ONE, n=5000, generator=generator(3))
    hits = int((ONE.sample(5000, generator(3)) >= 1.0).sum())
    assert found.hits == hits
    assert found.probability == pytest.approx(hits / 5000)
    assert found.effective == pytest.approx(hits)
    assert found.relative_error == pytest.approx(math.sqrt((1 - hits / 5000) / hits * 5000 / 4999))


def test_check_3_weights_have_mean_1():
    found = estimate_probability(torch.ones_like, ONE, 0.5, Exponential(1.5), n=50_000, generator=generator())
    assert abs(found.probability - 1.0) < 5 * found.relative_error


def test_probabilities_below_the_smallest_double_stand_as_logs():
    found = estimate_probability(value, ONE, 2000.0, Exponential(2001.0), n=20_000, generator=generator())
    assert found.probability == 0.0
    assert found.log_probability == pytest.approx(-2000.0, abs=5 * found.relative_error)
    assert 0 < found.relative_error < 1
    assert 1 < found.effective < found.hits


def test_the_reported_error_does_not_see_what_the_sampler_does_not_visit():
    """P(|X| ≥ 4) has two sides; a sampler on one of them gives half, and reports 1 %."""
    found = estimate_probability(
        torch.abs, ShiftedGaussian(0.0), 4.0, ShiftedGaussian(4.2), n=20_000, generator=generator()
    )
    assert found.probability == pytest.approx(normal_tail(4.0), rel=0.1)
    assert found.relative_error < 0.02


def test_a_family_of_the_user_s_own():
    found = cross_entropy_probability(torch.abs, Mirrored(), 4.0, generator=generator(), n=2000, n_final=20_000)
    assert isinstance(found.sampler, Mirrored)
    assert abs(found.probability / (2 * normal_tail(4.0)) - 1.0) < 5 * found.relative_error
    assert found.sampler.mean == pytest.approx(4.2256, abs=0.1)


def test_events_in_many_dimensions():
    """The sum of ten normal numbers is normal with variance 10."""
    law = ShiftedGaussian(torch.zeros(10, dtype=torch.float64))
    gamma = 4.0 * math.sqrt(10)
    found = cross_entropy_probability(lambda x: x.sum(1), law, gamma, generator=generator(), n=20_000, n_final=20_000)
    assert abs(found.probability / normal_tail(4.0) - 1.0) < 5 * found.relative_error


@pytest.mark.parametrize("seed", range(5))
def test_an_event_that_is_not_rare_is_counted_among_draws_of_the_law(seed):
    """A proportion of n_final draws, with the error of a binomial."""
    found = cross_entropy_probability(value, ONE, 0.1, generator=generator(seed), n_final=4000)
    assert [level.gamma for level in found.history] == [0.1]
    assert found.status == "reached"
    assert found.sampler is found.history[0].sampler is ONE
    p = found.hits / 4000
    assert found.probability == pytest.approx(p, rel=1e-14)
    assert found.effective == pytest.approx(found.hits)
    assert found.relative_error == pytest.approx(math.sqrt((1 - p) / (p * 3999)))
    assert abs(found.probability / math.exp(-0.1) - 1.0) < 5 * found.relative_error


@pytest.mark.parametrize("law", [ONE, ShiftedGaussian([0.0, 0.0])], ids=["exponential", "normal"])
def test_a_sure_event_has_probability_1(law):
    for seed in range(5):
        found = cross_entropy_probability(lambda x: torch.zeros(len(x)), law, -1.0, generator=generator(seed))
        assert found.probability == 1.0
        assert found.log_probability == found.relative_error == 0.0
        assert found.hits == found.effective == 10_000


def test_the_law_is_refitted_as_soon_as_the_event_is_rarer_than_the_elite():
    """P(X ≥ 2.4) = 0.091 is below ρ, and P(X ≥ 2.2) = 0.111 above."""
    rare = cross_entropy_probability(value, ONE, 2.4, generator=generator(), n=100_000)
    often = cross_entropy_probability(value, ONE, 2.2, generator=generator(), n=100_000)
    assert len(rare.history) == 2
    assert float(rare.sampler.mean) == pytest.approx(3.4, rel=0.05)
    assert often.sampler is ONE


def test_a_stall_is_named():
    """No draw scores more than 1."""
    with pytest.warns(StallWarning, match=r"the level stands at 1 of 2 after \d+ levels \(stalled\): raise n"):
        found = cross_entropy_probability(lambda x: x.clamp(max=1.0), ONE, 2.0, generator=generator())
    assert found.status == "stalled"
    assert (found.probability, found.hits, found.effective) == (0.0, 0, 0.0)
    assert found.relative_error == math.inf
    assert found.log_probability == -math.inf


def test_one_gaussian_on_two_sides_stalls():
    with pytest.warns(StallWarning):
        found = cross_entropy_probability(torch.abs, ShiftedGaussian(0.0), 4.0, generator=generator(), n=2000)
    assert found.status == "stalled"


def test_too_few_levels_are_named():
    with pytest.warns(StallWarning, match="max_levels"):
        found = cross_entropy_probability(value, ONE, 20.0, generator=generator(), max_levels=1)
    assert found.status == "max_levels"
    assert len(found.history) == 1


def test_the_same_generator_gives_the_same_estimate_and_moves_no_other():
    before = torch.get_rng_state()
    a, b = (cross_entropy_probability(value, ONE, 10.0, generator=generator(7)) for _ in range(2))
    assert a.probability == b.probability
    assert torch.equal(torch.get_rng_state(), before)


def test_scores_may_be_numpy_s():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a = cross_entropy_probability(lambda x: np.asarray(x) * 1.0, ONE, 5.0, generator=generator())
    assert a.probability == cross_entropy_probability(value, ONE, 5.0, generator=generator()).probability


class Uniform:
    """On [0, 1 + shift], refitted to beyond where the law is."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def sample(self, n, generator):
        return torch.rand(n, generator=generator, dtype=torch.float64) + self.shift

    def log_prob(self, x):
        inside = (x >= self.shift) & (x <= self.shift + 1)
        return torch.where(inside, 0.0, -torch.inf).double()

    def fit(self, x, log_weights, smoothing=1.0):
        return Uniform(self.shift + 2.0)


def test_an_elite_that_cannot_come_of_the_law_is_named():
    with pytest.raises(EmptyEliteError, match=r"level 2: none of the \d+ draws .* can come of the law"):
        cross_entropy_probability(value, Uniform(), 10.0, generator=generator())


def test_the_first_draw_of_which_a_score_is_nan_is_named():
    x = ONE.sample(100, generator())
    beyond = (x > 2.0).nonzero()[:, 0]
    with pytest.raises(
        ValueError, match=rf"score is NaN in {len(beyond)} of 100 draws, first at {float(x[beyond[0]])}"
    ):
        estimate_probability(lambda x: torch.where(x > 2.0, torch.nan, x), ONE, 1.0, ONE, n=100, generator=generator())
    assert 1 < len(beyond) < 100


class Silent(Uniform):
    def log_prob(self, x):
        return torch.zeros(len(x), 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rho": 1.0}, "rho must lie between 0 and 1"),
        ({"n": 1}, "n must be a whole number of at least 2"),
        ({"n_final": 2.5}, "n_final must be a whole number"),
        ({"smoothing": 0.0}, "smoothing"),
        ({"patience": 0}, "patience"),
        ({"gamma": math.inf}, "gamma must be finite"),
        ({"gamma": torch.tensor(math.nan)}, "gamma must be finite"),
        ({"n": 1000.0}, r"n must be a whole number of at least 2, got 1000\.0"),
        ({"max_levels": True}, "max_levels must be a whole number"),
        ({"score": lambda x: x * torch.nan}, r"score is NaN in 1000 of 1000 draws, first at"),
        ({"score": lambda x: x.sum()}, r"\[1000\]; it returned \[\]"),
        ({"law": Silent()}, r"log_prob of the law must be one number a draw, \[1000\]; it is \[1000, 1\]"),
    ],
    ids=[
        "rho",
        "n",
        "n-final",
        "smoothing",
        "patience",
        "gamma",
        "gamma-nan",
        "n-float",
        "levels",
        "nan",
        "shape",
        "log-prob",
    ],
)
def test_what_cannot_be_is_named(change, said):
    given = {"score": value, "law": ONE, "gamma": 2.0} | change
    with pytest.raises(ValueError, match=said):
        cross_entropy_probability(**given, generator=generator())


def test_a_constant_score_has_all_draws_in_its_elite():
    found = cross_entropy_probability(torch.ones_like, ONE, 1.0, generator=generator(), n=50)
    assert found.history[0].elite == 50
    assert found.probability == 1.0
    assert double(found.history[0].effective) == 50


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gamma": [3.0]}, r"gamma must be a number, got \[3\.0\]"),
        ({"gamma": torch.tensor([3.0])}, r"gamma must be a number, got tensor"),
        ({"gamma": "3"}, "gamma must be a number, got '3'"),
        ({"gamma": True}, "gamma must be a number, got True"),
        ({"generator": 0}, "generator must be a torch.Generator, as .* got 0"),
        ({"law": [0.0, 1.0]}, r"law must be a sampler, .*; \[0\.0, 1\.0\] has no sample and no log_prob and no fit"),
        ({"law": ShiftedGaussian}, "is a class, and no law of it"),
        ({"score": 3.0}, "score must be a function of draws"),
    ],
    ids=["gamma-list", "gamma-tensor", "gamma-text", "gamma-bool", "generator", "law-list", "law-class", "score"],
)
def test_what_is_of_another_kind_is_named(change, said):
    given = {"score": value, "law": ONE, "gamma": 2.0, "generator": generator()} | change
    with pytest.raises(TypeError, match=said):
        cross_entropy_probability(**given)
    with pytest.raises(TypeError, match=said):
        estimate_probability(**given, sampler=ONE, n=100)


def test_the_last_step_alone_is_checked_too():
    with pytest.raises(TypeError, match="sampler must be a sampler"):
        estimate_probability(value, ONE, 2.0, [ONE], n=100, generator=generator())
    with pytest.raises(TypeError, match="rho must be a number"):
        cross_entropy_probability(value, ONE, 2.0, rho=[0.1], generator=generator())


@pytest.mark.parametrize("whole", [np.int64(100), np.int32(100)], ids=["int64", "int32"])
def test_numbers_may_be_numpy_s_and_torch_s(whole):
    a = estimate_probability(value, ONE, np.float64(1.0), ONE, n=whole, generator=generator())
    b = estimate_probability(value, ONE, torch.tensor(1.0), ONE, n=100, generator=generator())
    assert a.probability == b.probability


def test_hits_that_cannot_come_of_the_law_are_hits_of_probability_0():
    found = estimate_probability(value, Uniform(), 2.0, Uniform(3.0), n=50, generator=generator())
    assert (found.probability, found.log_probability, found.relative_error) == (0.0, -math.inf, math.inf)
    assert (found.hits, found.effective) == (50, 0.0)


class Wrong(Uniform):
    """Uniform, with a log-density that is nowhere what it should be."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def log_prob(self, x):
        return torch.full((len(x),), self.given, dtype=torch.float64)


@pytest.mark.parametrize(
    ("law", "sampler"),
    [(Wrong(math.nan), Uniform()), (Uniform(), Wrong(-math.inf)), (Wrong(math.inf), Uniform())],
    ids=["nan", "own-draws", "infinite"],
)
def test_densities_that_are_none_are_named(law, sampler):
    with pytest.raises(ValueError, match="log_prob is NaN or infinite: a sampler must give its own draws"):
        estimate_probability(value, law, 0.5, sampler, n=50, generator=generator())


def test_one_draw_has_no_error():
    with pytest.raises(ValueError, match="n must be a whole number of at least 2, got 1"):
        estimate_probability(value, ONE, 0.5, ONE, n=1, generator=generator())


@pytest.mark.parametrize(
    ("rho", "n", "rank"),
    [
        (0.1, 1000, 900),
        (0.1, 10, 9),
        (0.3, 10, 7),
        (0.7, 10, 3),
        (0.25, 10, 8),
        (0.0999, 10, 10),
        (0.001, 50, 50),
        (0.999, 3, 1),
        (1 - 1e-12, 3, 1),
    ],
    ids=["0.1-1000", "0.1-10", "0.3-10", "0.7-10", "0.25-10", "0.0999-10", "last", "first", "not-below-1"],
)
def test_a_level_is_the_quantile_of_its_draws(rho, n, rank):
    """The ⌈(1 - ρ) n⌉-th smallest score, where (1 - 0.7) · 10 is 3.0000000000000004 in doubles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StallWarning)
        found = cross_entropy_probability(value, ONE, 99.0, generator=generator(), rho=rho, n=n, max_levels=1)
    scores = ONE.sample(n, generator()).sort().values
    assert found.history[0].gamma == float(scores[rank - 1])
    assert found.history[0].elite == n - rank + 1


def test_a_stall_is_as_many_levels_as_patience_after_the_last_rise():
    """The first level is a rise."""
    for patience in (1, 3):
        with pytest.warns(StallWarning, match="stalled") as caught:
            found = cross_entropy_probability(torch.ones_like, ONE, 2.0, generator=generator(), patience=patience)
        assert len(found.history) == 1 + patience
        assert caught[0].filename == __file__


def test_a_level_refits_the_sampler_that_drew_it_by_the_weights_of_its_elite():
    g = generator()
    with pytest.warns(StallWarning, match="max_levels"):
        found = cross_entropy_probability(value, ONE, 20.0, generator=generator(), smoothing=0.5, max_levels=2)
    sampler = ONE
    for level in found.history:
        x = sampler.sample(1000, g)
        weights = torch.where(x >= level.gamma, (ONE.log_prob(x) - sampler.log_prob(x)).exp(), 0.0)
        mean = 0.5 * float(sampler.mean) + 0.5 * float((weights * x).sum() / weights.sum())
        assert float(level.sampler.mean) == pytest.approx(mean, rel=1e-12)
        assert level.effective == pytest.approx(float(weights.sum() ** 2 / weights.square().sum()), rel=1e-12)
        sampler = Exponential(mean)
