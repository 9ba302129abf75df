"""log Z of single runs, the error that they claim, and steps of the noising that both rest on."""

import math
import warnings

import pytest
import torch
from diffusers import DDPMScheduler

from entrokit.generative.feynman_kac import FKCSampler, anneal, log_z_error, reward_tilt, scheduler_noising, time_grid
from entrokit.generative.feynman_kac.grid import mean_rates
from entrokit.generative.noising import LinearExploding, VarianceExploding
from entrokit.papers.generative._known_combinations import VP, Wanted, mixture

from .feynman_kac_cases import COMBINATIONS

WIDE = mixture([1.0], [[0.0]], [1.5])
# Of 100 groups the share beyond two errors is 0.0455, if log Z is normal; more than 14 of them come once in 100 000.
GROUPS, MOST = 100, 14


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def populations(exponents, steps, *, count=100, seed=0, tilt=None, law=WIDE, **settings):
    sampler = FKCSampler([law.score_under(VP)], exponents, VP, tilt=tilt, **settings)
    _, info = sampler.sample(GROUPS * count, steps, (1,), groups=GROUPS, generator=generator(seed))
    return info["log_z"], info["log_z_error"]


def beyond(log_z, error, middle):
    return int(((log_z - middle).abs() > 2 * error).sum())


@pytest.mark.parametrize("resample", ["systematic", "stratified", "residual", None])
def test_the_error_is_calibrated_against_the_exact_normaliser(resample):
    """exp(1.2 x) on N(0.3, 0.9²): log Z is 0.36 + 0.72 * 0.81, and what steps add a tenth of the error."""
    law, schedule = mixture([1.0], [[0.3]], [0.9]), lambda t: 1.2 * (1 - t) ** 2
    log_z, error = populations(
        anneal(1.0), time_grid(VP, 60, 1e-3), tilt=reward_tilt(lambda x: x[:, 0], schedule), law=law, resample=resample
    )
    exact = 1.2 * 0.3 + 1.2**2 * 0.81 / 2
    assert beyond(log_z, error, exact) <= MOST
    # A standard deviation of 100 is known to 1 / sqrt(200); five of them, and what resampling adds to families.
    ratio = float(error.square().mean().sqrt() / log_z.std())
    assert 1 - 5 / math.sqrt(200) < ratio < 2


def test_the_error_is_calibrated_with_noise_enough():
    """Annealing with c above 2 (1 - 1 / B). Steps move all populations alike: around their mean."""
    log_z, error = populations(anneal(2.0), 100, c=2.0, seed=1)
    assert beyond(log_z, error, log_z.mean()) <= MOST
    exact = Wanted((WIDE,), anneal(2.0)).log_z(1e-3) - Wanted((WIDE,), anneal(2.0)).log_z(1.0)
    assert abs(float(log_z.mean()) - exact) > 2 * float(error.median())


def test_an_error_that_cannot_be_right_is_warned_of():
    """Weights without a variance: more populations stray than chance allows, and the sampler says why."""
    with pytest.warns(UserWarning, match=r"sum 4 and noise c = 1: .* no finite variance.*take c above 1\.5"):
        log_z, error = populations(anneal(4.0), 150, count=40)
    assert beyond(log_z, error, log_z.mean()) > MOST
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for exponents, c in ((anneal(2.0), 1.0), (anneal(4.0), 1.5), (anneal(0.5), 0.0)):
            FKCSampler([WIDE.score_under(VP)], exponents, VP, c=c).sample(4, 60, (1,), generator=generator())


def test_check_6_the_normaliser_of_a_gaussian_and_its_steps():
    """1500 particles close in on the exact log Z as steps are halved; its own error covers nothing of the distance."""
    off = []
    for steps in (100, 200, 400):
        sampler = FKCSampler([WIDE.score_under(VP)], anneal(3.0), VP, c=2.0)
        _, info = sampler.sample(1500, steps, (1,), generator=generator(0))
        off.append(float(info["log_z"]) + 0.810815)
        error = float(info["log_z_error"])
    assert off[0] > 2 * off[1] > 0
    assert off[0] > 5 * error
    assert abs(off[2]) < 0.5 * off[1] + 2 * error


def test_the_error_without_resampling_is_that_of_a_mean_of_weights():
    laws, exponents = COMBINATIONS["product"]
    scores = [law.score_under(VP) for law in laws]
    *_, last = FKCSampler(scores, exponents, VP, resample=None).run(500, 40, (1,), generator=generator(0))
    weights = last.log_weights.exp()
    expected = float(weights.std() / weights.mean() / math.sqrt(500))
    assert float(log_z_error(last)) == pytest.approx(expected, rel=1e-9)
    assert float(last.log_z) == pytest.approx(float(weights.mean().log()), rel=1e-9)


@pytest.mark.parametrize(("beta", "steps"), [(1.0, 4), (2.0, 8)])
def test_a_first_step_that_overshoots_is_warned_of(beta, steps):
    """Steps of a clock of 10.05: with c = 1 one takes noise 10.05 B / steps times the way."""
    with pytest.warns(UserWarning, match=r"first step, from t = 1 to 0\.\d+, takes noise 2\.5 times"):
        FKCSampler([WIDE.score_under(VP)], anneal(beta), VP).sample(4, steps, (1,), generator=generator())


PROCESSES = {
    "vp": VP,
    "ve": VarianceExploding(),
    "edm": LinearExploding(),
    "ddpm": scheduler_noising(DDPMScheduler()),
}


@pytest.mark.parametrize("name", list(PROCESSES))
def test_rates_of_a_step_are_their_means(name):
    """Exact without a drift; with one the step's error falls by eight as the step is halved."""
    noising, errors = PROCESSES[name], []
    for now, then in ((0.8, 0.6), (0.75, 0.65)):
        # Midpoints of 20 000 parts; knots of the thousand training steps lie on their edges.
        t = then + (now - then) * (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
        a, g2 = mean_rates(noising, now, then)
        assert a == pytest.approx(float(noising.drift(t).mean()), rel=1e-7, abs=1e-12)
        errors.append((now - then) * (g2 - float(noising.squared_diffusion(t).mean())))
    if name in ("ve", "edm"):
        assert max(map(abs, errors)) < 1e-6 * float(noising.sigma(torch.tensor(0.8))) ** 2
    else:
        assert errors[0] / errors[1] == pytest.approx(8, rel=0.25)


@pytest.mark.parametrize("noising", [VarianceExploding(), LinearExploding(), VP], ids=["ve", "edm", "vp"])
def test_the_default_grid_gives_a_gaussian_s_width_in_a_hundred_steps(noising):
    """Rates of a step's start would give variance exploding ones 0.82 for 0.5."""
    law = mixture([1.0], [[0.5]], [0.5])
    sampler = FKCSampler([law.score_under(noising)], anneal(1.0), noising)
    x, _ = sampler.sample(4000, 100, (1,), generator=generator())
    # What Euler's steps leave with data_std twice the law's, and five standard errors.
    assert float(x.std()) == pytest.approx(0.5, rel=0.15 + 5 / math.sqrt(2 * 4000))
