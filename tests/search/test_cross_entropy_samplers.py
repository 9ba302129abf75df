"""Families: densities, weighted maximum likelihood, and what is floored."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.search.cross_entropy import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    EmptyEliteError,
    Exponential,
    Gaussian,
    ShiftedGaussian,
    estimate_probability,
)

from .cross_entropy_cases import FAMILIES, double, generator

PEERS = {
    "exponential": lambda f: torch.distributions.Independent(torch.distributions.Exponential(1 / f.mean), 1),
    "shifted": lambda f: torch.distributions.Independent(torch.distributions.Normal(f.mean, f.std), 1),
    "diagonal": lambda f: torch.distributions.Independent(torch.distributions.Normal(f.mean, f.std), 1),
    "gaussian": lambda f: torch.distributions.MultivariateNormal(f.mean, f.covariance),
    "bernoulli": lambda f: torch.distributions.Independent(torch.distributions.Bernoulli(f.probs), 1),
    "categorical": lambda f: torch.distributions.Independent(torch.distributions.Categorical(f.probs), 1),
}
NAMES = sorted(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_densities_and_moments_are_those_of_torch(name):
    law, peer = FAMILIES[name], PEERS[name](FAMILIES[name])
    x = law.sample(40_000, generator())
    torch.testing.assert_close(law.log_prob(x), peer.log_prob(x), atol=1e-9, rtol=1e-9)
    if name != "categorical":
        # Six standard errors.
        assert (x.mean(0) - peer.mean).abs().max() < 6 * peer.stddev.max() / 200
        assert (x.var(0) / peer.variance - 1).abs().max() < 6 * math.sqrt(9 / 40_000)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 50))
def test_a_fit_is_the_weighted_maximum_likelihood(name, seed):
    """No law of the family nearby has a higher weighted log-likelihood."""
    law = FAMILIES[name]
    g = generator(seed)
    x = law.sample(12, g)
    logw = torch.randn(12, generator=g, dtype=torch.float64)
    logw[0] = -torch.inf
    weights = logw.softmax(0)
    fitted = law.fit(x, logw)
    best = float((weights * fitted.log_prob(x)).sum())
    for smoothing in (0.9, 0.99, 0.999):
        assert float((weights * law.fit(x, logw, smoothing).log_prob(x)).sum()) <= best + 1e-9
    shifted = law.fit(x, logw + 5.0)
    torch.testing.assert_close(shifted.log_prob(x), fitted.log_prob(x))


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_of_weight_zero_counts_as_none(name):
    law = FAMILIES[name]
    x, logw = law.sample(9, generator()), torch.zeros(9, dtype=torch.float64)
    logw[4:] = -torch.inf
    torch.testing.assert_close(law.fit(x, logw).log_prob(x), law.fit(x[:4], logw[:4]).log_prob(x))


@pytest.mark.parametrize("name", NAMES)
def test_no_weight_at_all_is_an_empty_elite(name):
    law = FAMILIES[name]
    x = law.sample(3, generator())
    with pytest.raises(EmptyEliteError, match="every log_weight is -inf"):
        law.fit(x, torch.full((3,), -torch.inf, dtype=torch.float64))
    with pytest.raises(ValueError, match="NaN or \\+inf"):
        law.fit(x, double(0.0, torch.nan, 0.0))
    with pytest.raises(EmptyEliteError, match="every log_weight is -inf"):
        law.fit(x[:0], double())


def test_smoothing_mixes_parameters():
    law = DiagonalGaussian(double(0.0), double(1.0))
    x = torch.tensor([[2.0], [4.0]], dtype=torch.float64)
    fitted = law.fit(x, torch.zeros(2, dtype=torch.float64), 0.7)
    torch.testing.assert_close(fitted.mean, double(0.7 * 3.0))
    torch.testing.assert_close(fitted.std, double(0.7 * 1.0 + 0.3 * 1.0))
    assert float(Exponential(1.0).fit(double(3.0), torch.zeros(1), 0.5).mean) == 2.0


def test_an_elite_of_one_draw_leaves_the_floor():
    one, zero = torch.tensor([[1.0, 2.0]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    narrow = DiagonalGaussian([0.0, 0.0], 1.0, floor=1e-3).fit(one, zero)
    assert narrow.std.tolist() == [1e-3, 1e-3]
    assert narrow.mean.tolist() == [1.0, 2.0]
    assert narrow.floor == 1e-3
    flat = Gaussian([0.0, 0.0], torch.eye(2), floor=1e-3).fit(one, zero)
    assert not flat.covariance.any()
    drawn = flat.sample(4000, generator())
    assert torch.allclose(drawn.std(0), double(1e-3, 1e-3), rtol=0.1)
    assert flat.log_prob(drawn).isfinite().all()
    half = Gaussian([0.0, 0.0], torch.eye(2)).fit(one, zero, 0.7)
    torch.testing.assert_close(half.covariance, 0.3 * torch.eye(2, dtype=torch.float64))


def test_fewer_draws_than_dimensions_leave_a_flat_gaussian_that_can_be_drawn_from():
    law = Gaussian([0.0] * 5, torch.eye(5))
    fitted = law.fit(law.sample(3, generator()), torch.zeros(3, dtype=torch.float64))
    drawn = fitted.sample(100, generator(1))
    assert drawn.isfinite().all()
    assert fitted.log_prob(drawn).isfinite().all()
    assert torch.linalg.matrix_rank(drawn - drawn.mean(0), rtol=1e-5) == 2


def test_a_flat_gaussian_far_from_0_gives_its_own_draws_a_density():
    """Where numbers near 1e6 are 1e-10 apart a width of the floor, 1e-12, would be narrower than rounding."""
    flat = Gaussian([1e6, 1e6], torch.ones(2, 2))
    x = flat.sample(100, generator())
    assert (flat.log_prob(x) > flat.log_prob(flat.mean[None]) - 20.0).all()


def test_a_covariance_is_made_symmetric_to_the_last_place():
    law = Gaussian([0.0, 0.0], [[1.0, 0.5], [0.5 + 1e-7, 1.0]])
    assert torch.equal(law.covariance, law.covariance.T)
    assert float(law.covariance[0, 1]) == pytest.approx(0.5 + 5e-8, abs=1e-12)


def test_no_probability_reaches_0_or_1():
    ones, zero = torch.ones(4, 3, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    bits = Bernoulli([0.5, 0.5, 0.5], floor=1e-3).fit(ones, zero)
    assert bits.probs.tolist() == [0.999] * 3
    sure = Categorical([[0.5, 0.5]], floor=1e-3).fit(torch.zeros(4, 1, dtype=torch.long), zero)
    assert sure.probs.min() == pytest.approx(1e-3, rel=2e-3)
    assert Bernoulli([0.0]).fit(torch.zeros(4, 1).double(), zero).log_prob(torch.ones(1, 1)).isfinite()


def test_a_mean_of_bits_may_round_above_1():
    """Of 22 ones weighed alike it is 1 + 2.2e-16."""
    fitted = Bernoulli(double(0.5), floor=1e-17).fit(torch.ones(22, 1).double(), torch.zeros(22, dtype=torch.float64))
    assert fitted.probs.tolist() == [1.0]


def test_probabilities_of_a_law_that_is_given_have_no_floor():
    """Three parts of a machine, each of which fails once in 10⁸: drawn at a half each, all have failed in an eighth."""
    all_fail, law = torch.tensor([[1.0, 1.0, 1.0]]).double(), Bernoulli([1e-8] * 3)
    assert float(law.log_prob(all_fail)) == pytest.approx(3 * math.log(1e-8), rel=1e-14)
    found = estimate_probability(lambda x: x.sum(1), law, 3.0, Bernoulli([0.5] * 3), n=8000, generator=generator())
    assert abs(found.probability / 1e-24 - 1) < 5 * found.relative_error < 0.2
    rare = Categorical([9.0, 1.0, 1e-7])
    assert rare.probs.tolist() == pytest.approx([9 / 10.0000001, 1 / 10.0000001, 1e-7 / 10.0000001], rel=1e-14)
    assert float(Categorical([0.5, 0.5, 0.0]).log_prob(torch.tensor([2]))) == -math.inf


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays(name):
    law = FAMILIES[name]
    single = type(law)(
        *(v.float() if isinstance(v, torch.Tensor) else v for k, v in vars(law).items() if not k.startswith("_"))
    )
    x = single.sample(20, generator())
    fitted = single.fit(x, torch.zeros(20, dtype=torch.float64), 0.5)
    parameters = [v for k, v in vars(fitted).items() if isinstance(v, torch.Tensor)]
    assert {v.dtype for v in parameters} == {torch.float32}
    assert fitted.log_prob(x).dtype == torch.float32


@pytest.mark.parametrize("given", ["1", [[1.0], [2.0, 3.0]], None], ids=["text", "ragged", "none"])
def test_parameters_that_are_no_numbers(given):
    with pytest.raises(TypeError, match=r"Exponential\.mean must be numbers of a regular shape, got"):
        Exponential(given)


def test_parameters_are_doubles_of_whole_numbers_and_carry_no_gradient():
    assert Exponential(torch.tensor([2, 3])).mean.dtype == torch.float64
    assert not Exponential(torch.ones(2, requires_grad=True)).sample(3, generator()).requires_grad


def test_numbers_are_laws_of_numbers():
    x = Exponential(2.0).sample(7, generator())
    assert x.shape == (7,)
    assert x.dtype == torch.float64
    assert Exponential(2.0).log_prob(x).shape == (7,)
    assert float(Exponential(1.0).log_prob(double(-1.0))) == -math.inf
    assert float(Exponential(2.0).log_prob(double(0.0))) == -math.log(2.0)
    assert Bernoulli(0.3).sample(5, generator()).shape == (5,)
    assert Categorical([0.3, 0.7]).sample(5, generator()).shape == (5,)
    grid = Categorical(torch.full((2, 3, 4), 0.25)).sample(5, generator())
    assert grid.shape == (5, 2, 3)
    assert Categorical(torch.full((2, 3, 4), 0.25)).log_prob(grid).tolist() == pytest.approx([-6 * math.log(4)] * 5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Exponential(0.0), "mean must be above 0"),
        (lambda: Exponential(torch.nan), "mean must be finite"),
        (lambda: Exponential(torch.inf), "mean must be finite"),
        (lambda: ShiftedGaussian(0.0, -1.0), "std must be above 0"),
        (lambda: DiagonalGaussian([0.0, 0.0], [1.0]), "the shape of mean"),
        (lambda: DiagonalGaussian(0.0, 1.0, floor=0.0), "floor must be above 0"),
        (lambda: Gaussian([0.0], [[1.0, 0.0]]), r"covariance \[d, d\]"),
        (lambda: Gaussian([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (lambda: Gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "no negative eigenvalue, its least is -1"),
        (lambda: Gaussian([0.0], [[-1.0]]), "no negative eigenvalue, its least is -1"),
        (lambda: Bernoulli(1.5), r"\[0, 1\]"),
        (lambda: DiagonalGaussian(0.0, 1.0, floor=math.inf), "floor must be above 0"),
        (lambda: Bernoulli(0.5, floor=0.5), "floor"),
        (lambda: Bernoulli(0.5, floor=0.0), "floor"),
        (lambda: Categorical([-0.5, 1.5]), "at least 0"),
        (lambda: Categorical([0.5, 0.5], floor=0.5), "floor"),
        (lambda: Categorical([[0.5, 0.5], [0.0, 0.0]]), "above 0 in sum"),
    ],
    ids=[
        "mean-0",
        "mean-nan",
        "mean-infinite",
        "std-below-0",
        "std-shape",
        "floor-0",
        "covariance-shape",
        "covariance-skew",
        "covariance-indefinite",
        "covariance-negative",
        "bernoulli-above-1",
        "floor-infinite",
        "bernoulli-floor",
        "bernoulli-floor-0",
        "categorical-below-0",
        "categorical-floor",
        "categorical-0",
    ],
)
def test_parameters_that_are_none(make, said):
    with pytest.raises(ValueError, match=said):
        make()
