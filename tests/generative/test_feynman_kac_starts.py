"""Where particles begin, and among how many: what would give another law than the one that was asked for."""

import warnings

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EDMEulerScheduler, EulerDiscreteScheduler

from entrokit.generative.feynman_kac import (
    FKCSampler,
    anneal,
    cfg,
    product,
    reward_tilt,
    scheduler_noising,
    scheduler_times,
    time_grid,
)
from entrokit.generative.noising import LinearExploding, VarianceExploding
from entrokit.papers.generative._known_combinations import VP, A, B


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def plain(x, t):
    return -x


SMALL = r"groups of {}: .* uncorrected.*Each group needs a population"


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize(
    ("laws", "exponents", "tilt"),
    [
        ((A,), anneal(2.0), None), ((A, B), product(2), None), ((A, B), cfg(2.0), None),
        ((A,), anneal(1.0), reward_tilt(lambda x: x[:, 0], 1.0)),
    ],
    ids=["anneal", "product", "guidance", "reward"],
)  # fmt: skip
def test_groups_that_nothing_corrects_are_told(size, laws, exponents, tilt):
    sampler = FKCSampler([law.score_under(VP) for law in laws], exponents, VP, tilt=tilt, c=2.0)
    with pytest.warns(UserWarning, match=SMALL.format(size)) as said:
        sampler.sample(4 * size, 30, (1,), groups=4, generator=generator())
    assert {told.filename for told in said if "groups of" in str(told.message)} == {__file__}


@pytest.mark.parametrize(
    ("exponents", "size", "resample"),
    [(cfg(1.0), 1, "systematic"), (cfg(0.0), 2, "birth_death"), (cfg(2.0), 3, "systematic"), (cfg(2.0), 1, None)],
    ids=["conditional", "free", "three", "weights"],
)
def test_groups_with_nothing_to_correct_or_three_are_not(exponents, size, resample):
    sampler = FKCSampler([A.score_under(VP), B.score_under(VP)], exponents, VP, resample=resample, c=1.5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sampler.sample(4 * size, 60, (1,), groups=4, generator=generator())
    assert not [told for told in said if "groups of" in str(told.message)]


def test_a_start_with_data_in_it_is_refused():
    sampler = FKCSampler([plain], anneal(1.0), VP)
    # The integral of the rate to 0.4 is 0.04 + 0.08 * 19.9: α² / σ² is 1 / (e^1.632 - 1).
    with pytest.raises(ValueError, match=r"t = 0\.4, still has data in it: α² / σ² is 0\.243 there.*initial="):
        sampler.sample(4, [0.4, 0.2], (1,))
    with pytest.raises(ValueError, match="still has data in it"):
        FKCSampler([plain], anneal(1.0), VP, start_step=17).sample(4, 20, (1,))
    x, _ = sampler.sample(4, [0.4, 0.2], (1,), initial=torch.zeros(4, 1), generator=generator())
    assert x.shape == (4, 1)


@pytest.mark.parametrize(
    "noising", [VP, VarianceExploding(), VarianceExploding(0.01, 1.0), LinearExploding(), LinearExploding(1.0)],
    ids=["vp", "ve", "small-ve", "edm", "small-edm"],
)  # fmt: skip
def test_grids_of_processes_begin_at_their_end(noising):
    sampler = FKCSampler([plain], anneal(1.0), noising)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for times in (20, time_grid(noising, 20, data_std=0.3)):
            next(sampler.run(4, times, (1,), generator=generator()))


LATENT = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize(
    ("scheduler", "least"),
    [
        (DDPMScheduler(), 2), (DDIMScheduler(**LATENT), 4), (EulerDiscreteScheduler(**LATENT), 2),
        (DDIMScheduler(beta_schedule="squaredcos_cap_v2"), 4), (EDMEulerScheduler(), 2),
    ],
    ids=["ddpm", "latent", "euler", "cosine", "edm"],
)  # fmt: skip
def test_grids_of_schedulers_pass(scheduler, least):
    sampler = FKCSampler([plain], anneal(1.0), scheduler_noising(scheduler))
    for count in (least, 10, 50):
        scheduler.set_timesteps(count)
        next(sampler.run(4, scheduler_times(scheduler), (1,), generator=generator()))
