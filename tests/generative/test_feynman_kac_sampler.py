"""The sampler: laws known exactly, at the end and on the way; normalisers; groups; what goes wrong by step."""

import math

import pytest
import torch

from entrokit.generative.feynman_kac import (
    FKCSampler,
    anneal,
    cfg,
    fkc_drift,
    fkc_weight,
    mixed_score,
    product,
    reward_tilt,
    time_grid,
)
from entrokit.generative.feynman_kac.grid import mean_rates
from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.noising import LinearExploding, VarianceExploding
from entrokit.papers.generative._known_combinations import VP, A, B, Wanted, mixture, total_variation

GRID = time_grid(VP, 100, data_std=0.4)
SHEET = {"anneal": ((A,), anneal(2.0)), "product": ((A, B), product(2)), "guidance": ((A, B), cfg(2.5))}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sampler(laws, exponents, noising=VP, **settings):
    return FKCSampler([law.score_under(noising) for law in laws], exponents, noising, **settings)


@pytest.mark.parametrize(("name", "below"), [("anneal", 0.2713), ("product", 0.3953), ("guidance", 0.9403)])
def test_check_8_the_exact_laws(name, below):
    shares = Wanted(*SHEET[name]).shares(1e-3)
    # Within [-6, 6], as the sheet's quadrature was.
    assert float(shares[:30].sum() / shares.sum()) == pytest.approx(below, abs=1e-4)


@pytest.mark.parametrize("name", list(SHEET))
def test_check_8_in_small(name):
    """Six populations of 500 side by side, 100 steps; the experiment `claim` has the sheet's size and its bounds."""
    laws, exponents = SHEET[name]
    found, shares = {}, Wanted(laws, exponents).shares(1e-3)
    for resample in ("systematic", None):
        x, _ = sampler(laws, exponents, resample=resample).sample(3000, GRID, (1,), groups=6, generator=generator(1))
        equal = torch.full((3000,), 1 / 3000)
        found[resample] = total_variation(x, equal, shares), float((x < 0).double().mean())
    (corrected, share), (plain, plain_share) = found.values()
    assert corrected < 0.6 * plain
    if name == "guidance":
        assert plain_share < 0.75
        assert share == pytest.approx(0.9403, abs=0.03)


GAUSSIAN = mixture([1.0], [[1.0]], [1.5])
OTHER = mixture([1.0], [[-0.5]], [0.8])


EXPLODING = VarianceExploding(0.05, 20.0)


@pytest.mark.parametrize(
    ("noising", "resample"),
    [
        (VP, "systematic"),
        (VP, "stratified"),
        (VP, "residual"),
        (VP, "birth_death"),
        (VP, None),
        (EXPLODING, "systematic"),
        (LinearExploding(20.0), "systematic"),
    ],
    ids=["systematic", "stratified", "residual", "birth-death", "weights", "ve", "edm"],
)
def test_a_gaussian_s_moments_at_every_time(noising, resample):
    """q1^-0.5 q2^1.5 is a Gaussian at every time, and its weights are not constant."""
    laws, exponents, count, steps = (GAUSSIAN, OTHER), cfg(1.5), 2000, time_grid(noising, 60, data_std=0.5)
    path = sampler(laws, exponents, noising, resample=resample, c=0.7).run(count, steps, (1,), generator=generator(0))
    for particles in path:
        if particles.step not in (20, 35, 50, 60):
            continue
        noised = [law.noised_by(noising, particles.t) for law in laws]
        precision = sum(b / float(law.stds) ** 2 for b, law in zip(exponents, noised, strict=True))
        mean = sum(b * float(law.means) / float(law.stds) ** 2 for b, law in zip(exponents, noised, strict=True))
        mean, std = mean / precision, precision**-0.5
        weights = particles.log_weights.softmax(0)
        z = (particles.x[:, 0].double() - mean) / std
        # Five standard errors of a tenth of the particles, and 0.1 of Euler's steps.
        error = 5 / math.sqrt(count / 10) / 3
        assert abs(float((weights * z).sum())) < error, particles.step
        assert abs(float((weights * z**2).sum()) - 1) < math.sqrt(2) * error + 0.1, particles.step


def test_tempered_noise_does_not_change_the_law():
    laws, exponents = SHEET["anneal"]
    x, _ = sampler(laws, exponents, c=0.5).sample(2000, GRID, (1,), generator=generator(2))
    share = float((x < 0).double().mean())
    # One in ten of the particles is worth an independent one.
    assert share == pytest.approx(0.2713, abs=5 * math.sqrt(0.2713 * 0.7287 / 200))


def reward(x):
    return x[:, 0]


def test_a_reward_tilts_the_law_and_its_normaliser_at_every_time():
    """exp(λ x) moves a Gaussian of variance V by λ V; log Z gains λ mean + λ² V / 2."""
    schedule, law = lambda t: 1.2 * (1 - t) ** 2, mixture([1.0], [[0.3]], [0.9])
    tilted = sampler([law], anneal(1.0), tilt=reward_tilt(reward, schedule))
    seen = 0
    for particles in tilted.run(2000, 60, (1,), generator=generator(0)):
        if particles.step not in (25, 45, 60):
            continue
        seen += 1
        noised, strength = law.noised_by(VP, particles.t), schedule(particles.t)
        variance = float(noised.stds**2)
        weights = particles.log_weights.softmax(0)
        mean = float((weights * particles.x[:, 0].double()).sum())
        assert mean == pytest.approx(float(noised.means) + strength * variance, abs=0.1)
        log_z = strength * float(noised.means) + strength**2 * variance / 2
        assert float(particles.log_z) == pytest.approx(log_z, abs=0.1)
    assert seen == 3


@pytest.mark.parametrize("resample", ["systematic", "birth_death"])
def test_a_reward_that_holds_at_the_start_weighs_the_start(resample):
    """A constant strength 1 on N(0, 1): the law is N(1, 1) and log Z 1 / 2, from the start on."""
    law = mixture([1.0], [[0.0]], [1.0])
    tilted = sampler([law], anneal(1.0), tilt=reward_tilt(reward, lambda t: 1.0), resample=resample)
    path = list(tilted.run(4000, 20, (1,), generator=generator(0)))
    for particles in (path[0], path[-1]):
        weights = particles.log_weights.softmax(0)
        assert float((weights * particles.x[:, 0].double()).sum()) == pytest.approx(1.0, abs=0.15)
        assert float(particles.log_z) == pytest.approx(0.5, abs=0.15)
    assert float(path[0].log_weights.std() > 0) == (resample == "systematic")


def test_groups_keep_to_themselves():
    """Two prompts, far apart: nobody of one descends from the other; each has its own log Z, as alone."""
    means = torch.tensor([-3.0, 3.0]).repeat_interleave(600)[:, None]

    def score(x, t):
        alpha, sigma = (float(of(t[:1].double())) for of in (VP.alpha, VP.sigma))
        return (alpha * means - x) / (alpha**2 * 0.5**2 + sigma**2)

    wide = GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1,), 2.0)).score_under(VP)
    guided = FKCSampler([wide, score], cfg(2.0), VP)
    x, info = guided.sample(1200, 50, (1,), groups=2, generator=generator(0))
    assert bool((x[:600] < 0).all() and (x[600:] > 0).all())
    assert info["ancestors"][:600].max() < 600 <= info["ancestors"][600:].min()
    assert info["ess"].shape == info["resampled"].shape == (50, 2)
    assert info["log_z"].shape == (2,)
    assert info["resampled"].any(0).all()
    error = float(info["log_z_error"].square().sum().sqrt())
    assert float(info["log_z"].diff().abs()) < 5 * error


def test_a_group_that_is_even_is_left_as_it_is():
    """One group's weights differ, the other's do not: only the first is resampled."""
    uneven = torch.tensor([1.0, 0.0]).repeat_interleave(50)[:, None]
    guided = FKCSampler([lambda x, t: -x, lambda x, t: -x + uneven * x.sin() * 4], cfg(3.0), VP, ess_threshold=0.7)
    _, info = guided.sample(100, 60, (1,), groups=2, generator=generator(0))
    assert info["resampled"][:, 0].any()
    assert not info["resampled"][:, 1].any()
    assert torch.allclose(info["ess"][:, 1], torch.full((60,), 50.0, dtype=torch.float64))


def test_what_a_run_says_fits_together():
    laws, exponents = SHEET["product"]
    x, info = sampler(laws, exponents).sample(400, 60, (1,), generator=generator(3))
    assert x.shape == (400, 1)
    assert info["times"].shape == (61,)
    assert (float(info["times"][0]), float(info["times"][-1])) == (1.0, 1e-3)
    assert torch.equal(info["resampled"], info["ess"] < 200)
    assert 0 < int(info["resampled"].sum()) < 60
    assert torch.equal(info["log_weights"], torch.zeros(400, dtype=torch.float64))
    again, _ = sampler(laws, exponents).sample(400, 60, (1,), generator=generator(3))
    assert torch.equal(again, x)


def test_intervals_thresholds_and_a_late_start():
    laws, exponents = SHEET["product"]
    _, info = sampler(laws, exponents, ess_threshold=1.0, interval=7).sample(200, 30, (1,), generator=generator(0))
    assert (info["resampled"].flatten().nonzero().flatten() + 1).tolist() == [7, 14, 21, 28]
    _, info = sampler(laws, exponents, ess_threshold=0.0).sample(200, 30, (1,), generator=generator(0))
    assert not info["resampled"].any()
    late = sampler(laws, exponents, VarianceExploding(0.05, 20.0), start_step=5)
    path = list(late.run(1000, 30, (1,), generator=generator(0)))
    grid = time_grid(late.sde, 30, 1e-3)
    assert [p.step for p in path] == list(range(5, 31))
    assert [p.t for p in path] == grid[5:].tolist()
    std = float(late.sde.sigma(grid[5])) / math.sqrt(2)
    assert float(path[0].x.std()) == pytest.approx(std, rel=5 / math.sqrt(2 * 1000))


def test_particles_of_ones_own_and_their_dtype():
    laws, exponents = SHEET["product"]
    start = torch.randn(50, 1, dtype=torch.float64, generator=generator(0))
    path = list(sampler(laws, exponents, c=0.0).run(50, [0.3, 0.29, 0.28], (1,), initial=start, generator=generator(1)))
    assert torch.equal(path[0].x, start)
    assert path[-1].x.dtype == torch.float64
    assert [p.t for p in path] == [0.3, 0.29, 0.28]


def test_a_step_is_euler_s():
    """Scores of the place before the step, rates of the whole of it, and one draw of noise."""
    law, exponents, (now, then) = A, anneal(3.0), (0.3, 0.29)
    start = torch.tensor([[-1.5], [0.3], [2.2]], dtype=torch.float64)
    made = sampler([law], exponents, c=1 / 3, resample=None)
    _, after = made.run(3, [now, then], (1,), initial=start, generator=generator(5))
    noise = torch.randn(3, 1, dtype=torch.float64, generator=generator(5))
    a, g2 = mean_rates(VP, now, then)
    scores = [law.noised_by(VP, now).score(start)]
    drift = fkc_drift(mixed_score(scores, exponents), a * start, g2, 1 / 3)
    moved = start + 0.01 * drift + math.sqrt(g2 / 3 * 0.01) * noise
    torch.testing.assert_close(after.x, moved, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after.log_weights, 0.01 * fkc_weight(scores, exponents, a, g2), rtol=1e-12, atol=1e-12)


def test_a_clamp_holds_increments_around_their_mean():
    law, start = A, torch.tensor([[-1.5], [0.3], [2.2]], dtype=torch.float64)
    _, after, _, free = (
        particles.log_weights
        for clamp in (0.05, None)
        for particles in sampler([law], anneal(3.0), resample=None, clamp=clamp).run(
            3, [0.3, 0.29], (1,), initial=start, generator=generator(5)
        )
    )
    assert float((free - free.mean()).abs().max()) > 0.05
    expected = free.mean() + (free - free.mean()).clamp(-0.05, 0.05)
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("resample", ["systematic", "birth_death"])
def test_nothing_to_correct_is_plain_sampling(resample):
    """One model with exponent 1: weights stay 0, nobody is replaced, log Z is 0 and known."""
    _, info = sampler([A], anneal(1.0), resample=resample).sample(300, 40, (1,), generator=generator(0))
    assert float(info["log_z"].abs()) <= 40 * 1e-13
    assert torch.allclose(info["ess"], torch.full_like(info["ess"], 300.0))
    assert sorted(info["ancestors"].tolist()) == list(range(300))
    assert float(info["log_z_error"]) <= 1e-6


def test_the_exact_law_of_the_cases_is_normalised():
    shares = Wanted(*SHEET["product"]).shares(0.3)
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-6)
