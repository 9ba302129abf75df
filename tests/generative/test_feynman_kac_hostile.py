"""Times that a sampler may be given, and what goes wrong: by step, and by how many particles."""

import math

import pytest
import torch

from entrokit.generative.feynman_kac import (
    FKCSampler,
    anneal,
    cfg,
    noise_clock,
    product,
    reward_tilt,
    time_grid,
)
from entrokit.generative.noising import VarianceExploding
from entrokit.papers.generative._known_combinations import VP, A


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sampler(laws, exponents, noising=VP, **settings):
    return FKCSampler([law.score_under(noising) for law in laws], exponents, noising, **settings)


def test_times_are_even_in_noise_and_fall():
    grid = time_grid(VP, 40, 0.01)
    assert bool((grid[1:] < grid[:-1]).all())
    assert grid[0] == 1
    assert grid[-1] == 0.01
    spent = VP.integrated_beta(grid)
    torch.testing.assert_close(noise_clock(VP, grid), spent, rtol=1e-9, atol=1e-12)
    steps = spent[:-1] - spent[1:]
    torch.testing.assert_close(steps, steps.mean().expand_as(steps), rtol=1e-9, atol=1e-9)
    clock = noise_clock(VarianceExploding(0.01, 50.0), time_grid(VarianceExploding(0.01, 50.0), 8))
    torch.testing.assert_close(clock[:-1] - clock[1:], ((clock[0] - clock[-1]) / 8).expand(8), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (0, "at least 1; it is 0"),
        ([1.0], r"at least two, or an int is how many steps; shape \[1\]"),
        ([1.0, 0.5, 0.7], "time 2 is 0.7, after 0.5"),
        ([1.0, 0.5, 0.5], "time 2 is 0.5, after 0.5"),
        ([1.5, 0.5], r"lie in \[0, 1\].*time 0 is 1.5"),
        ([1.0, -0.1], "time 1 is -0.1"),
        ([1.0, math.nan], "time 1 is nan"),
    ],
)
def test_times_outside_the_schedule(steps, message):
    with pytest.raises(ValueError, match=message):
        sampler([A], anneal(2.0)).sample(10, steps, (1,))


def test_a_grid_for_narrow_modes_is_even_in_their_clock():
    clock = noise_clock(VP, time_grid(VP, 8, data_std=0.3), 0.3)
    torch.testing.assert_close(clock[:-1] - clock[1:], ((clock[0] - clock[-1]) / 8).expand(8), rtol=1e-9, atol=1e-9)
    for wrong in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"data_std must be finite and above 0; it is {wrong}"):
            time_grid(VP, 8, data_std=wrong)


def test_an_end_outside_the_schedule():
    with pytest.raises(ValueError, match=r"\[0, 1\), data at 0; it is 1"):
        sampler([A], anneal(2.0), end=1.0).sample(10, 5, (1,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exponents": (1.0, 1.0)}, "1 score functions, 2 exponents"),
        ({"exponents": (-1.0,)}, r"sum above 0; they are \[-1.0\]"),
        ({"exponents": (math.nan,)}, "sum above 0"),
        ({"c": -0.1}, "c >= 0"),
        ({"c": math.inf}, "c >= 0"),
        ({"resample": "multinomial"}, "resample 'multinomial' is not known.*'residual', 'birth_death', None"),
        ({"ess_threshold": 1.5}, "1.5"),
        ({"interval": 0}, "interval >= 1"),
        ({"start_step": -1}, "start_step >= 0"),
        ({"clamp": 0.0}, "clamp must be above 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        FKCSampler(**{"score_fns": [A.score_under(VP)], "exponents": (1.0,), "sde": VP, **settings})


def test_no_model_at_all():
    with pytest.raises(ValueError, match="0 score functions, 0 exponents"):
        FKCSampler([], (), VP)


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (10, {"groups": 3}, "10 are in 3 groups"),
        (0, {}, "0 are in 1 groups"),
        (10, {"initial": torch.zeros(10, 2)}, r"\[10, 1\] of floats are expected; they are \[10, 2\]"),
        (10, {"initial": torch.zeros(9, 1)}, r"they are \[9, 1\]"),
        (10, {"initial": torch.zeros(10, 1, dtype=torch.long)}, "torch.int64"),
    ],
)
def test_particles_of_another_number_or_shape(count, options, message):
    with pytest.raises(ValueError, match=message):
        sampler([A], anneal(2.0)).sample(count, 5, (1,), **options)


def test_a_late_start_that_leaves_nothing():
    with pytest.raises(ValueError, match="start_step 5 leaves none of 5 steps"):
        sampler([A], anneal(2.0), start_step=5).sample(10, 5, (1,))


def test_a_score_of_another_shape_names_the_step():
    broken = FKCSampler([A.score_under(VP), lambda x, t: x[:, 0]], product(2), VP)
    with pytest.raises(ValueError, match=r"step 1 \(t = 1\): score 1 has shape \[10\], the particles \[10, 1\]"):
        broken.sample(10, 5, (1,))


def test_a_score_that_is_nan_in_a_corner_names_step_and_particles():
    seen = []

    def score(x, t):
        found = A.score_under(VP)(x.double(), t).float()
        corner = x[:, 0] > 1.0
        if float(t[0]) < 0.5:
            seen.append(int(corner.sum()))
            found[corner] = math.nan
        return found

    with pytest.raises(
        ValueError, match=r"step \d+ \(t = 0\.\d+\): score 0 is NaN or infinite at \d+ of 200"
    ) as caught:
        FKCSampler([score], anneal(2.0), VP).sample(200, 50, (1,), generator=generator(0))
    words = str(caught.value).split()
    times = time_grid(VP, 50, 1e-3)
    step = int(words[1])
    assert float(times[step - 1]) < 0.5 <= float(times[step - 2])
    assert seen == [int(words[words.index("at") + 1])]


def test_particles_that_run_away_and_rewards_that_break_name_the_step():
    with pytest.raises(ValueError, match=r"after step \d+ \(t = .*particles' places are NaN or infinite at \d+ of 20"):
        FKCSampler([lambda x, t: torch.full_like(x, 3e38)], anneal(1.0), VP).sample(
            20, 20, (1,), generator=generator(0)
        )
    tilt = reward_tilt(lambda x: (x[:, 0] + 1).log(), 1.0)
    with pytest.raises(ValueError, match=r"step 1 \(t = 1\): the reward is NaN or infinite at \d+ of 20 particles"):
        sampler([A], anneal(1.0), tilt=tilt).sample(20, 5, (1,), generator=generator(0))


def test_one_particle_with_all_the_weight_warns_once_and_names_the_step():
    """Scores far apart: increments of thousands of nats, which underflow but for one particle."""
    heavy = FKCSampler([lambda x, t: -x, lambda x, t: -x + 60 * x.sin()], cfg(40.0), VP)
    with pytest.warns(UserWarning, match=r"step 1 \(t = 0\.\d+\): one particle of 30 .* in 2 of 2 groups") as caught:
        x, info = heavy.sample(60, 3, (1,), groups=2, generator=generator(0))
    assert len([w for w in caught if "one particle" in str(w.message)]) == 1
    assert bool(x.isfinite().all())
    assert bool(info["log_z"].isfinite().all())
    assert float(info["ess"][0].max()) < 1.01


def test_a_population_of_one_is_never_degenerate():
    with pytest.warns(UserWarning, match="groups of 1") as caught:
        _, info = sampler([A], anneal(2.0)).sample(3, 40, (1,), groups=3, generator=generator(0))
    assert len(caught) == 1
    assert info["ess"].unique().tolist() == [1.0]
    assert info["log_z_error"].tolist() == [math.inf] * 3


def test_no_gradient_is_kept():
    weight = torch.tensor(1.0, requires_grad=True)
    x, info = FKCSampler([lambda x, t: -x * weight], anneal(1.0), VP).sample(10, 5, (1,), generator=generator(0))
    assert not x.requires_grad
    assert not info["log_z"].requires_grad
