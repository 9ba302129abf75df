"""Models and schedulers of diffusers: real, tiny ones, and Gaussian data whose best prediction is known."""

import math

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
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
from entrokit.generative.feynman_kac.grid import mean_rates
from entrokit.generative.mixtures import GaussianMixture

LAW = GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in ([0.4, 0.6], [[-1.0], [1.5]], [0.5, 0.3])))
NULL = 2


def edm(steps=None):
    scheduler = EDMEulerScheduler(sigma_max=20.0)
    if steps is not None:
        scheduler.set_timesteps(steps)
    return scheduler


def predictor(scheduler, noised_by):
    """What a model that has learnt `LAW` predicts, of any shape of scalars, by the scheduler's own relations."""

    def model(x, timestep):
        if isinstance(scheduler, EDMEulerScheduler):
            sigma = (4 * timestep.double()).exp().reshape(-1, 1)
            x = x / scheduler._get_conditioning_c_in(sigma)
            alpha, sigma = torch.ones_like(sigma), sigma
        else:
            square = scheduler.alphas_cumprod.double()[timestep].reshape(-1, 1)
            alpha, sigma = square.sqrt(), (1 - square).sqrt()
        at = float(alpha.flatten()[0]), float(sigma.flatten()[0])
        score = LAW.noised(*at).score(x.double())
        noise, data = -sigma * score, (x + sigma**2 * score) / alpha
        if isinstance(scheduler, EDMEulerScheduler):
            spread = scheduler.config.sigma_data
            skip = spread**2 / (sigma**2 + spread**2)
            return (data - skip * x) * (sigma**2 + spread**2).sqrt() / (sigma * spread)
        return {"epsilon": noise, "sample": data, "v_prediction": alpha * noise - sigma * data}[
            scheduler.config.prediction_type
        ]

    return model


def schedulers():
    for kind in ("epsilon", "v_prediction", "sample"):
        scheduler = DDPMScheduler(prediction_type=kind)
        scheduler.set_timesteps(50)
        yield pytest.param(scheduler, id=f"ddpm-{kind}")
    scheduler = DDIMScheduler(beta_schedule="scaled_linear")
    scheduler.set_timesteps(40)
    yield pytest.param(scheduler, id="ddim")
    yield pytest.param(edm(20), id="edm")


@pytest.mark.parametrize("scheduler", schedulers())
def test_the_score_is_that_of_the_noised_data(scheduler):
    noising = scheduler_noising(scheduler)
    score = diffusers_score(predictor(scheduler, noising), scheduler)
    x = torch.tensor([[-1.5], [0.2], [2.0]], dtype=torch.float64)
    for t in scheduler_times(scheduler)[:-1:7].tolist():
        times = torch.full((3,), t, dtype=torch.float64)
        expected = LAW.noised_by(noising, t).score(x)
        # EDM's timestep, 0.25 log σ, and c_in come in the sample's dtype; sigmas of the scheduler are float32.
        torch.testing.assert_close(score(x, times), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("scheduler", schedulers())
def test_times_are_those_of_the_scheduler(scheduler):
    times, noising = scheduler_times(scheduler), scheduler_noising(scheduler)
    assert bool((times[1:] < times[:-1]).all())
    assert float(times[-1]) == 0
    if isinstance(scheduler, EDMEulerScheduler):
        torch.testing.assert_close(noising.sigma(times), scheduler.sigmas.double(), rtol=1e-6, atol=0)
        return
    kept = scheduler.alphas_cumprod.double()[scheduler.timesteps]
    torch.testing.assert_close(noising.alpha(times)[:-1] ** 2, kept, rtol=1e-12, atol=0)
    torch.testing.assert_close(noising.alpha(times[:-1].float()) ** 2, kept.float(), rtol=1e-3, atol=1e-7)
    # g² / N is -log(1 - β) of the training step that ends there.
    rate = noising.squared_diffusion(times)[:-1] / len(scheduler.alphas_cumprod)
    assert float((rate + torch.log1p(-scheduler.betas.double()[scheduler.timesteps])).abs().max()) < 1e-6


@pytest.mark.parametrize("scheduler", [p.values[0] for p in schedulers()][::4], ids=["ddpm", "edm"])
def test_annealing_what_a_scheduler_noised(scheduler):
    scheduler.set_timesteps(100)
    noising = scheduler_noising(scheduler)
    sampler = FKCSampler([diffusers_score(predictor(scheduler, noising), scheduler)], anneal(2.0), noising)
    start = float(noising.sigma(scheduler_times(scheduler)[0]))
    generator = torch.Generator().manual_seed(0)
    initial = start / math.sqrt(2) * torch.randn(3000, 1, dtype=torch.float64, generator=generator)
    x, _ = sampler.sample(3000, scheduler_times(scheduler), (1,), initial=initial, generator=generator)
    grid = torch.linspace(-5, 5, 2001, dtype=torch.float64)[:, None]
    exact = (2 * LAW.log_prob(grid)).softmax(0)
    share = float(exact[grid[:, 0] < 0.4].sum())
    # One in ten of the particles is worth an independent one.
    assert float((x < 0.4).double().mean()) == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / 300))


def unet(seed=0):
    torch.manual_seed(seed)
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
    # A fresh model's classes hardly differ.
    torch.nn.init.normal_(model.class_embedding.weight, std=30.0)
    return model.eval().requires_grad_(False)


def test_guidance_of_a_class_conditional_unet_in_groups():
    """Two classes, four particles each; the weight is ½ g² β (β - 1) times what one step's scores differ by."""
    model, scheduler = unet(), DDPMScheduler()
    scheduler.set_timesteps(12)
    labels = torch.tensor([0, 1]).repeat_interleave(4)
    conditional = diffusers_score(model, scheduler, class_labels=labels)
    free = diffusers_score(model, scheduler, class_labels=torch.full((8,), NULL))
    noising, times = scheduler_noising(scheduler), scheduler_times(scheduler)
    guided = FKCSampler([free, conditional], cfg(2.0), noising, ess_threshold=1.0)
    x, info = guided.sample(8, times, (1, 8, 8), groups=2, generator=torch.Generator().manual_seed(0))
    assert x.shape == (8, 1, 8, 8)
    assert bool(x.isfinite().all())
    assert info["ess"].shape == (12, 2)
    assert info["ancestors"][:4].max() < 4 <= info["ancestors"][4:].min()
    assert len(info["ancestors"].unique()) < 8

    plain = FKCSampler([free, conditional], cfg(2.0), noising, resample=None)
    before, after, *_ = plain.run(8, times, (1, 8, 8), groups=2, generator=torch.Generator().manual_seed(0))
    t = torch.full((8,), before.t)
    apart = (free(before.x, t) - conditional(before.x, t)).double().flatten(1).square().sum(1)
    step = float(times[0] - times[1]) * mean_rates(noising, float(times[0]), float(times[1]))[1]
    torch.testing.assert_close(after.log_weights, step * apart, rtol=1e-4, atol=0)
    assert float(apart.min()) > 0


@pytest.mark.parametrize("scheduler", [DDPMScheduler(), edm()], ids=["ddpm", "edm"])
def test_the_score_of_a_unet_is_its_prediction_over_sigma(scheduler):
    """An epsilon prediction at training step 500; EDM's denoiser by its own preconditioning."""
    model, labels = unet(1), torch.tensor([0, 1])
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    noising = scheduler_noising(scheduler)
    found = diffusers_score(model, scheduler, class_labels=labels)(x, torch.full((2,), 0.501))
    if isinstance(scheduler, EDMEulerScheduler):
        sigma = torch.tensor(20 * 0.501)
        inside = scheduler.precondition_inputs(x, sigma)
        output = model(inside, scheduler.precondition_noise(sigma), class_labels=labels).sample
        expected = (scheduler.precondition_outputs(x, output, sigma) - x) / sigma**2
    else:
        expected = -model(x, 500, class_labels=labels).sample / (1 - scheduler.alphas_cumprod[500]).sqrt()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert float(noising.sigma(torch.tensor(0.501))) > 0


def test_learnt_variances_are_left_aside():
    scheduler = DDPMScheduler()
    model = lambda x, timestep: torch.cat([x, torch.full_like(x, 9.0)], 1)  # noqa: E731
    x, t = torch.ones(2, 3, 4, 4), torch.full((2,), 0.5)
    sigma = float(scheduler_noising(scheduler).sigma(torch.tensor(0.5)))
    torch.testing.assert_close(diffusers_score(model, scheduler)(x, t), -x / sigma)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (FlowMatchEulerDiscreteScheduler(), "FlowMatchEulerDiscreteScheduler has neither"),
        (DDIMScheduler(rescale_betas_zero_snr=True), "zero terminal SNR"),
    ],
    ids=["flow", "zero-snr"],
)
def test_schedulers_that_have_no_such_process(scheduler, message):
    for call in (scheduler_noising, scheduler_times, lambda s: diffusers_score(lambda x, t: x, s)):
        with pytest.raises(ValueError, match=message):
            call(scheduler)


def test_a_scheduler_without_timesteps_and_a_prediction_that_is_not_known():
    with pytest.raises(ValueError, match=r"call set_timesteps\(n\) of DDPMScheduler first"):
        scheduler_times(DDPMScheduler())
    scheduler = DDPMScheduler()
    scheduler.register_to_config(prediction_type="flow")
    with pytest.raises(ValueError, match="prediction type 'flow' is not known"):
        diffusers_score(None, scheduler)
