"""What models and schedulers of diffusers may be: half precision, outputs of any kind, solvers with repeated times."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DDPMScheduler,
    EDMEulerScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    PNDMScheduler,
    RePaintScheduler,
    UNet2DModel,
)

from entrokit.generative.feynman_kac import (
    FKCSampler,
    anneal,
    cfg,
    diffusers_score,
    scheduler_noising,
    scheduler_times,
)
from entrokit.generative.noising import TabulatedPreserving


def unet(dtype=torch.float32):
    torch.manual_seed(0)
    model = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        num_class_embeds=3,
    )
    return model.eval().requires_grad_(False).to(dtype)


@pytest.mark.parametrize("scheduler", [DDPMScheduler(), EDMEulerScheduler(sigma_max=20.0)], ids=["ddpm", "edm"])
def test_a_model_of_half_precision_moves_particles_of_float32(scheduler):
    """bfloat16 keeps 8 bits: its score is that of float32 to a few of them, and what comes of it is float32."""
    labels = torch.tensor([0, 1]).repeat_interleave(2)
    x, t = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((4,), 0.501)
    whole, half = (
        diffusers_score(unet(dtype), scheduler, class_labels=labels) for dtype in (torch.float32, torch.bfloat16)
    )
    assert half(x, t).dtype == torch.float32
    assert not torch.equal(half(x, t), whole(x, t))
    torch.testing.assert_close(half(x, t), whole(x, t), rtol=0, atol=2**-5 * float(whole(x, t).abs().max()))
    scheduler.set_timesteps(20)
    sampler = FKCSampler([whole, half], cfg(1.5), scheduler_noising(scheduler))
    images, info = sampler.sample(
        4, scheduler_times(scheduler)[:4], (1, 8, 8), groups=2, generator=torch.Generator().manual_seed(0)
    )
    assert images.dtype == torch.float32
    assert info["log_weights"].dtype == info["log_z"].dtype == torch.float64


def test_a_model_s_tuple_is_read_and_what_holds_no_tensor_is_named():
    x, t, scheduler = torch.ones(2, 1), torch.full((2,), 0.5), DDPMScheduler()
    plain = diffusers_score(lambda x, s: 2 * x, scheduler)(x, t)
    assert torch.equal(diffusers_score(lambda x, s: (2 * x, "more"), scheduler)(x, t), plain)
    assert diffusers_score(lambda x, s: 2 * x.double(), scheduler)(x, t).dtype == torch.float32
    for output in (None, np.ones((2, 1)), (), ([1.0],)):
        with pytest.raises(TypeError, match=r"function gave a (NoneType|ndarray|tuple|list)"):
            diffusers_score(lambda x, s, output=output: output, scheduler)(x, t)
    with pytest.raises(TypeError, match=r"called model\(x, timestep\); a NoneType cannot be"):
        diffusers_score(None, scheduler)


@pytest.mark.parametrize(
    ("kind", "most"),
    [(PNDMScheduler, 21), (HeunDiscreteScheduler, 11), (KDPM2AncestralDiscreteScheduler, 21)],
    ids=["pndm", "heun", "kdpm2"],
)
def test_times_that_a_solver_repeats_are_taken_once(kind, most):
    scheduler = kind()
    scheduler.set_timesteps(10)
    times = scheduler_times(scheduler)
    assert len(scheduler.timesteps) > 11
    assert 11 <= len(times) <= most
    assert bool((times[1:] < times[:-1]).all())
    assert float(times[-1]) == 0
    assert set((scheduler.timesteps.double().cpu() + 1).div(1000).tolist()) == set(times[:-1].tolist())
    score = diffusers_score(lambda x, t: x, scheduler)
    x, _ = FKCSampler([score], anneal(1.0), score.noising).sample(4, times, (1,))
    assert bool(x.isfinite().all())


def test_a_largest_noise_that_rounds_up_stays_a_time():
    """float32 has 20.1 as 20.1000004."""
    scheduler = EDMEulerScheduler(sigma_max=20.1)
    scheduler.set_timesteps(10)
    assert float(scheduler.sigmas[0]) > 20.1
    assert float(scheduler_times(scheduler)[0]) == 1


def test_schedulers_that_go_the_other_way_or_say_no_prediction():
    scheduler = DDIMInverseScheduler()
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match="DDIMInverseScheduler goes from data to noise"):
        scheduler_times(scheduler)
    with pytest.raises(ValueError, match="prediction type None is not known"):
        diffusers_score(lambda x, t: x, RePaintScheduler())
    with pytest.raises(ValueError, match="NoneType has neither alphas_cumprod"):
        scheduler_noising(None)


def test_zero_terminal_snr_and_its_remedy():
    scheduler = DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="leading")
    with pytest.raises(ValueError, match=r"ends in 0 at training step 999.*take alphas_cumprod\[:-1\]"):
        scheduler_noising(scheduler)
    kept = scheduler.alphas_cumprod[:-1]
    scheduler.alphas_cumprod = kept
    scheduler.set_timesteps(20)
    seen = []

    def model(x, timestep):
        seen.append(int(timestep[0]))
        return x

    score, times = diffusers_score(model, scheduler), scheduler_times(scheduler)
    torch.testing.assert_close(score.noising.alpha(times)[:-1] ** 2, kept.double()[scheduler.timesteps])
    FKCSampler([score], anneal(1.0), score.noising).sample(4, times, (1,))
    assert seen == scheduler.timesteps.tolist()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([0.9, 0.5, 0.5], "falls from data to noise; at training step 2 it is 0.5, after 0.5"),
        ([1.0, 0.5], r"lies in \(0, 1\); at training step 0 it is 1"),
        ([0.9, float("nan")], "at training step 1 it is nan"),
        ([0.9, -0.1], "at training step 1 it is -0.1"),
    ],
    ids=["flat", "one", "nan", "negative"],
)
def test_tables_are_refused_by_their_cause(table, message):
    with pytest.raises(ValueError, match=message):
        TabulatedPreserving(torch.tensor(table))
