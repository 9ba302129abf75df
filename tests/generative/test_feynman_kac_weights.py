"""Weights and drifts: the sheet's numbers, and the equation that they come from."""

import math

import pytest
import torch

from entrokit.generative.feynman_kac import anneal, cfg, fkc_drift, fkc_weight, mixed_score, product, tilt_weight
from entrokit.generative.feynman_kac import reward_tilt as tilt_of
from entrokit.generative.noising import LinearExploding, VarianceExploding
from entrokit.papers.generative._known_combinations import VP, A, B, Wanted, mixture

from .feynman_kac_cases import COMBINATIONS, T, log_density

X = torch.tensor([[-1.5], [0.3], [2.2]], dtype=torch.float64)
TIME = torch.tensor(T, dtype=torch.float64)
DRIFT, G2 = float(VP.drift(TIME)), float(VP.squared_diffusion(TIME))


def scores(laws, x=X, t=T):
    return [law.noised_by(VP, t).score(x) for law in laws]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("anneal", (-2.422594, -0.359409, 10.072989)),
        ("product", (-0.271942, -4.765489, -0.423249)),
        ("guidance", (3.692009, 13.008160, 2.672154)),
        ("annealed product", (9.442420, -12.550247, 7.990655)),
    ],
)
def test_check_2_weights(name, weights):
    laws, exponents = COMBINATIONS[name]
    found = fkc_weight(scores(laws), exponents, DRIFT, G2)
    assert found.tolist() == pytest.approx(weights, abs=5e-7)


@pytest.mark.parametrize(
    ("c", "drifts", "noise"),
    [
        (1.0, (3.597302, 11.108042, -10.468373), 2.463737),
        (1 / 3, (0.880701, 7.708861, -4.753249), 1.422439),
    ],
)
def test_check_3_drifts_of_annealing(c, drifts, noise):
    mixed = mixed_score(scores([A]), anneal(3.0))
    assert fkc_drift(mixed, DRIFT * X, G2, c).flatten().tolist() == pytest.approx(drifts, abs=5e-7)
    assert math.sqrt(c * G2) == pytest.approx(noise, abs=5e-7)


def test_the_papers_special_forms():
    a, b = scores([A, B])
    square = lambda s: s.square().sum(1)  # noqa: E731
    forms = [
        ([a], anneal(3.0), 2 * DRIFT + G2 / 2 * 3 * 2 * square(a)),
        ([a, b], product(2), DRIFT + G2 * (a * b).sum(1)),
        ([a, b], product(2, 1.7), 2.4 * DRIFT + G2 / 2 * 1.7 * 0.7 * square(a + b) + 1.7 * G2 * (a * b).sum(1)),
        ([a, b], cfg(2.5), G2 / 2 * 2.5 * 1.5 * square(a - b)),
    ]
    for of, exponents, expected in forms:
        torch.testing.assert_close(fkc_weight(of, exponents, DRIFT, G2), expected, rtol=1e-12, atol=1e-12)


def derivatives(log_p, x):
    """Gradient ``[K, D]`` and Laplacian ``[K]``."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_p(x).sum(), x, create_graph=True)
    second = [torch.autograd.grad(gradient[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return gradient.detach(), torch.stack(second).sum(0)


def divergence(field, x):
    x = x.clone().requires_grad_()
    value = field(x)
    parts = [torch.autograd.grad(value[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return torch.stack(parts).sum(0)


def reward(x):
    return torch.sin(x[:, 0]) - 0.2 * x.square().sum(1)


@pytest.mark.parametrize("noising", [VP, VarianceExploding(0.05, 8.0), LinearExploding(6.0)], ids=["vp", "ve", "edm"])
@pytest.mark.parametrize("strength", [0.0, 0.8], ids=["plain", "rewarded"])
@pytest.mark.parametrize("name", list(COMBINATIONS))
def test_check_4_the_equation_of_feynman_and_kac(name, strength, noising):
    """-∂_t log p = -∇·v - <v, ∇log p> + ½ς² (Δ log p + ‖∇log p‖²) + w, in two dimensions, for any noise."""
    laws, exponents = COMBINATIONS[name]
    wide = [
        mixture(law.weights.tolist(), torch.cat([law.means, 0.5 - law.means], 1).tolist(), law.stds.tolist())
        for law in laws
    ]
    x = 1.5 * torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    schedule = lambda t: strength * (1 - t) ** 2  # noqa: E731
    slope = -2 * strength * (1 - T)
    tilt = tilt_of(reward, schedule)

    def log_p(x, t=T):
        return log_density(wide, exponents, x, t, noising) + schedule(t) * reward(x)

    h = 1e-5
    left = -(log_p(x, T + h) - log_p(x, T - h)) / (2 * h)
    a, g2 = float(noising.drift(TIME)), float(noising.squared_diffusion(TIME))
    gradient, laplacian = derivatives(log_p, x)

    def parts(x):
        of = [law.noised_by(noising, T).score(x) for law in wide]
        graph = torch.cos(x[:, 0:1]) * torch.tensor([1.0, 0.0], dtype=torch.float64) - 0.4 * x
        return of, mixed_score(of, exponents), schedule(T) * graph

    of, mixed, pull = parts(x)
    torch.testing.assert_close(tilt.at(x, "here")[1] * schedule(T), pull, rtol=1e-12, atol=1e-12)
    weight = fkc_weight(of, exponents, 2 * a, g2) + tilt_weight(mixed, a * x, g2, pull) - slope * reward(x)
    for c in (1.0, 1 / sum(exponents), 0.5, 0.0):

        def drift(x, c=c):
            _, mixed, pull = parts(x)
            return fkc_drift(mixed, a * x, g2, c, pull)

        moved = -divergence(drift, x) - (drift(x) * gradient).sum(1)
        right = moved + 0.5 * c * g2 * (laplacian + gradient.square().sum(1)) + weight
        # Central differences of step 1e-5 leave h²/6 times a third derivative in time, and 1e-16 |log p| / h.
        torch.testing.assert_close(right, left, rtol=1e-6, atol=1e-5)


def test_check_5_one_model_or_the_same_models_have_no_weight():
    (a,), (b,) = scores([A]), scores([B])
    for of, exponents in (([a], anneal(1.0)), ([a, b], cfg(0.0)), ([a, b], cfg(1.0)), ([a, a], cfg(3.0))):
        # Squares of scores up to 1.1 times 3 times g²/2 cancel to a few roundings.
        assert float(fkc_weight(of, exponents, DRIFT, G2).abs().max()) <= 1e-13


def test_check_6_a_gaussian_s_normaliser():
    law, exponents = mixture([1.0], [[0.0]], [1.5]), anneal(3.0)
    wanted, noised = Wanted((law,), exponents), law.noised_by(VP, T)
    variance = float(noised.stds**2)
    assert variance == pytest.approx(1.495417, abs=5e-7)
    at = torch.tensor([[0.3]], dtype=torch.float64)
    assert float(fkc_weight([noised.score(at)], exponents, DRIFT, G2)) == pytest.approx(-5.337128, abs=5e-7)
    # Under p = N(0, V / 3) the weight is quadratic, and its mean that at the standard deviation.
    at = torch.tensor([[math.sqrt(variance / 3)]], dtype=torch.float64)
    mean = float(fkc_weight([noised.score(at)], exponents, DRIFT, G2))
    assert mean == pytest.approx(-2.010930, abs=5e-7)
    slope = (wanted.log_z(T - 1e-4) - wanted.log_z(T + 1e-4)) / 2e-4
    assert mean == pytest.approx(slope, abs=1e-5)
    change = wanted.log_z(1e-3) - wanted.log_z(1.0)
    assert change == pytest.approx(-0.810815, abs=5e-6)


def test_the_divergence_counts_in_the_normaliser_alone():
    of = [s.expand(3, 5) for s in scores([A, B])]
    with_it, without = (fkc_weight(of, product(2), div, G2) for div in (5 * DRIFT, 0.0))
    torch.testing.assert_close(with_it - without, torch.full((3,), 5 * DRIFT, dtype=torch.float64))


def test_particles_of_any_shape_and_weights_in_float64():
    """Two scores that differ by a thousandth: float32's roundings of their squares would be a tenth of the weight."""
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    near = 1.001 * images
    found = fkc_weight([images, near], cfg(2.0), DRIFT, G2)
    expected = G2 * (images.double() - near.double()).square().flatten(1).sum(1)
    assert found.shape == (4,)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("of", "exponents", "message"),
    [
        ([], (), "0 scores, 0 exponents"),
        ([X], (1.0, 1.0), "1 scores, 2 exponents"),
        ([X, X[:2]], (1.0, 1.0), r"score 1 has shape \[2, 1\], the first \[3, 1\]"),
    ],
)
def test_scores_that_do_not_belong_together(of, exponents, message):
    with pytest.raises(ValueError, match=message):
        fkc_weight(of, exponents, DRIFT, G2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: anneal(0.0), "above 0; it is 0"),
        (lambda: anneal(math.nan), "above 0; it is nan"),
        (lambda: anneal(lambda t: 1 + t), "needs log q"),
        (lambda: product(0), "n is 0"),
        (lambda: cfg(math.inf), "finite number; it is inf"),
        (lambda: tilt_of(reward, math.nan), "finite; it is nan"),
    ],
    ids=["zero", "nan", "schedule", "nothing", "infinite", "strength"],
)
def test_combinations_that_are_none(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_strength_rises_to_itself_and_a_reward_s_gradient_is_exact():
    tilt = tilt_of(reward, 2.0)
    assert (tilt.strength(1.0), tilt.strength(0.25), tilt.strength(0.0)) == (0.0, 1.5, 2.0)
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value, gradient = tilt.at(x, "here")
    h = 1e-6
    for i, unit in enumerate(torch.eye(2, dtype=torch.float64)):
        difference = (reward(x + h * unit) - reward(x - h * unit)) / (2 * h)
        torch.testing.assert_close(gradient[:, i], difference, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(value, reward(x))
    assert not value.requires_grad
    assert not gradient.requires_grad


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda x: x, r"at 0\.3: a reward is \[3\], one a particle; its shape is \[3, 1\]"),
        (lambda x: torch.zeros(3), "has no gradient"),
        (lambda x: x[:, 0].log(), r"the reward is NaN or infinite at 1 of 3 particles, the first of them 0"),
        (
            lambda x: (x[:, 0] - 0.3).abs().sqrt(),
            r"gradient is NaN or infinite at 1 of 3 particles, the first of them 1",
        ),
    ],
    ids=["shape", "constant", "nan", "kink"],
)
def test_rewards_that_are_none(of, message):
    with pytest.raises(ValueError, match=message):
        tilt_of(of, 1.0).at(X, "at 0.3")
