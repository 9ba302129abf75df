"""Gaussian mixtures and noising processes: what the wing's methods are held to."""

import math

import numpy as np
import pytest
import torch

from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.noising import (
    LinearExploding,
    TabulatedPreserving,
    VarianceExploding,
    VariancePreserving,
)

A = GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in ([0.3, 0.7], [[-2.0], [2.0]], [0.5, 1.0])))
B = GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in ([0.6, 0.4], [[-1.0], [3.0]], [0.8, 0.6])))
T = torch.tensor(0.3, dtype=torch.float64)


def test_the_sheets_scores_under_the_sheets_schedule():
    """Sheet feynman-kac-correctors, check 1."""
    vp = VariancePreserving()
    alpha, sigma = float(vp.alpha(T)), float(vp.sigma(T))
    assert (alpha, sigma, float(vp.beta(T))) == pytest.approx((0.629550, 0.776960, 6.07), abs=5e-7)
    x = torch.tensor([[-1.5], [0.3], [2.2]], dtype=torch.float64)
    for law, scores in ((A, (0.447545, 0.559997, -0.941536)), (B, (1.017101, -0.509090, -0.456989))):
        assert law.noised(alpha, sigma).score(x).flatten().tolist() == pytest.approx(scores, abs=5e-7)


def test_the_density_is_that_of_torch_and_the_score_its_gradient():
    law = GaussianMixture.circle(5, dtype=torch.float64)
    theirs = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(law.weights),
        torch.distributions.Independent(torch.distributions.Normal(law.means, law.stds[:, None].expand(-1, 2)), 1),
    )
    x = (3 * torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).requires_grad_()
    torch.testing.assert_close(law.log_prob(x), theirs.log_prob(x), rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    torch.testing.assert_close(law.score(x), gradient, rtol=1e-10, atol=1e-10)


def test_samples_have_the_laws_moments():
    count = 200_000
    x = A.sample(count, torch.Generator().manual_seed(1))
    mean, second = 0.3 * -2 + 0.7 * 2, 0.3 * (4 + 0.25) + 0.7 * (4 + 1)
    assert float(x.mean()) == pytest.approx(mean, abs=5 * math.sqrt((second - mean**2) / count))
    # The fourth moment of either Gaussian is below 16 + 24 + 3.
    assert float(x.square().mean()) == pytest.approx(second, abs=5 * math.sqrt(43 / count))


def test_far_out_a_score_is_finite():
    assert A.score(torch.tensor([[1e4]], dtype=torch.float64)).item() == pytest.approx(2.0 - 1e4)


TABLE = TabulatedPreserving(torch.linspace(0.99, 0.01, 9, dtype=torch.float64))


@pytest.mark.parametrize(
    "process",
    [VariancePreserving(), VarianceExploding(0.02, 30.0), LinearExploding(30.0), TABLE],
    ids=["vp", "ve", "edm", "table"],
)
def test_drift_and_diffusion_are_the_derivatives_of_what_they_make(process):
    """a = d log alpha / dt, and d sigma^2 / dt = 2 a sigma^2 + g^2."""
    t, h = torch.linspace(0.05, 0.95, 7, dtype=torch.float64), 1e-6
    log_alpha = (process.alpha(t + h).log() - process.alpha(t - h).log()) / (2 * h)
    variance = (process.sigma(t + h) ** 2 - process.sigma(t - h) ** 2) / (2 * h)
    torch.testing.assert_close(process.drift(t), log_alpha, rtol=1e-7, atol=1e-9)
    expected = 2 * process.drift(t) * process.sigma(t) ** 2 + process.squared_diffusion(t)
    torch.testing.assert_close(expected, variance, rtol=1e-6, atol=1e-8)


def test_a_table_is_met_at_its_steps_and_starts_from_data():
    """Nine steps; a time of float32 just behind one counts as that one."""
    steps = torch.arange(1, 10, dtype=torch.float64) / 9
    torch.testing.assert_close(TABLE.alpha(steps) ** 2, TABLE.alphas_cumprod, rtol=1e-12, atol=0)
    assert float(TABLE.alpha(torch.tensor(0.0))) == 1
    assert float(TABLE.sigma(torch.tensor(0.0))) == 0
    rates = TABLE.squared_diffusion(steps)
    late = TABLE.squared_diffusion(steps[:-1].float() + 1e-6)
    # A neighbour's rate is off by a seventh at least.
    torch.testing.assert_close(late, rates[:-1].float(), rtol=1e-3, atol=0)
    expected = -9 * torch.cat([torch.ones(1), TABLE.alphas_cumprod]).log().diff()
    torch.testing.assert_close(rates, expected, rtol=1e-12, atol=0)


def test_a_mixture_s_score_under_a_process_is_that_of_its_noised_law():
    x, t = torch.tensor([[-1.0], [2.0]], dtype=torch.float64), torch.full((2,), 0.3, dtype=torch.float64)
    vp = VariancePreserving()
    assert torch.equal(A.score_under(vp)(x, t), A.noised(float(vp.alpha(T)), float(vp.sigma(T))).score(x))
    with pytest.raises(ValueError, match="times of a call must be the same"):
        A.score_under(vp)(x, torch.tensor([0.3, 0.4]))


def test_noise_is_exact_near_the_data():
    """1 - alpha^2 in float32 would be 0 or 1.2e-7 here."""
    assert float(VariancePreserving().sigma(torch.tensor(1e-7))) == pytest.approx(1e-4, rel=1e-4)


@pytest.mark.parametrize("t", [-0.25, 1.5, math.nan])
def test_a_time_outside_the_schedule_is_named(t):
    for process in (VariancePreserving(), VarianceExploding(), LinearExploding(), TABLE):
        with pytest.raises(ValueError, match=r"times lie in \[0, 1\].*" + str(t)):
            process.sigma(torch.tensor([0.5, t]))


@pytest.mark.parametrize(
    ("weights", "means", "stds", "message"),
    [
        ([0.5, 0.5], [[0.0]], [1.0], "shapes"),
        ([1.0], [0.0], [1.0], "shapes"),
        ([0.5, 0.6], [[0.0], [1.0]], [1.0, 1.0], "sum to 1"),
        ([0.0, 1.0], [[0.0], [1.0]], [1.0, 1.0], "above 0"),
        ([1.0], [[0.0]], [0.0], "stds"),
        ([1.0], [[math.nan]], [1.0], "finite"),
    ],
)
def test_what_is_no_mixture_is_refused(weights, means, stds, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(torch.tensor(weights), torch.tensor(means), torch.tensor(stds))


def test_points_of_other_dimensions_and_rates_out_of_order_are_refused():
    with pytest.raises(ValueError, match=r"points \[\.\.\., 1\]"):
        A.score(torch.zeros(3, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match="beta_min <= beta_max"):
        VariancePreserving(2.0, 1.0)
    with pytest.raises(ValueError, match="sigma_min < sigma_max"):
        VarianceExploding(1.0, 1.0)
    with pytest.raises(ValueError, match="sigma_max must be finite"):
        LinearExploding(0.0)


@pytest.mark.parametrize("table", [[], [[0.5]], [0.5, 0.6], [1.0, 0.5], [0.5, 0.0], [0.5, math.nan]])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(ValueError, match="alphas_cumprod"):
        TabulatedPreserving(torch.tensor(table))


@pytest.mark.parametrize("table", [np.linspace(0.9, 0.1, 5), [0.9, 0.1], None], ids=["numpy", "list", "none"])
def test_a_table_that_is_no_tensor_is_named(table):
    with pytest.raises(TypeError, match=r"alphas_cumprod must be a torch\.Tensor, as torch\.as_tensor makes"):
        TabulatedPreserving(table)


def test_whole_times_are_times():
    t = torch.tensor([0, 1])
    for process in (VariancePreserving(), VarianceExploding(0.02, 30.0)):
        for name in ("alpha", "sigma", "drift", "squared_diffusion"):
            found = getattr(process, name)(t)
            assert found.is_floating_point()
            torch.testing.assert_close(found, getattr(process, name)(t.float()), rtol=1e-6, atol=0)
        with pytest.raises(TypeError, match=r"t must be a torch.Tensor"):
            process.sigma(0.5)


def test_what_mixtures_cannot_say_is_named():
    with pytest.raises(ValueError, match=r"overflow torch.float32: points are up to 1e\+20"):
        GaussianMixture.circle().score(torch.tensor([[0.0, 0.0], [1e20, 0.0]]))
    with pytest.raises(ValueError, match="count"):
        A.sample(0)
    with pytest.raises(ValueError, match="modes"):
        GaussianMixture.circle(0)
    with pytest.raises(ValueError, match="floating point"):
        GaussianMixture(torch.ones(1), torch.ones(1, 2, dtype=torch.long), torch.ones(1))
    with pytest.raises(TypeError, match="weights must be a torch.Tensor"):
        GaussianMixture([1.0], A.means[:1], A.stds[:1])


def test_mixtures_are_compared_without_asking_tensors_for_a_truth():
    assert A != B
    assert len({A, B, A}) == 2


def test_a_mode_that_is_too_narrow_to_reach_counts_nothing():
    law = GaussianMixture(torch.tensor([0.5, 0.5]), torch.tensor([[0.0], [1.0]]), torch.tensor([1.5e-19, 1.0]))
    assert law.score(torch.tensor([[3.0]])).item() == pytest.approx(-2.0)


def test_samples_are_the_generators():
    first, second = (A.sample(50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
