"""Wrong kinds of input at every public door: named, with what to do; and prompts and processes that would mix."""

import math

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepInverseScheduler,
    UNet2DModel,
)

from entrokit.generative.feynman_kac import (
    BirthDeathClocks,
    FKCSampler,
    anneal,
    cfg,
    diffusers_score,
    effective_sample_size,
    fkc_weight,
    mixed_score,
    product,
    reward_tilt,
    scheduler_noising,
    systematic_resample,
    time_grid,
)
from entrokit.generative.noising import LinearExploding, TabulatedPreserving, VariancePreserving
from entrokit.papers.generative._known_combinations import VP, A, B

SCORE = A.score_under(VP)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small_unet():
    return UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score_fns": SCORE}, "score_fns is a list of score functions; it is a MixtureScore"),
        ({"score_fns": [torch.zeros(3)]}, r"score 0 must be a function score\(x, t\); it is a Tensor"),
        ({"score_fns": [small_unet()]}, r"it is a UNet2DModel.*diffusers_score\(model, scheduler\)"),
        ({"sde": DDPMScheduler()}, r"sde .* is a DDPMScheduler.*scheduler_noising\(scheduler\)"),
        ({"sde": None}, "sde must be a noising process.* is a NoneType"),
        ({"exponents": 2.0}, r"exponents are one a score, such as anneal\(2\.0\), .* they are 2\.0"),
        ({"exponents": torch.tensor(2.0)}, r"exponents are one a score"),
        ({"tilt": lambda x: x[:, 0]}, r"tilt is made by reward_tilt\(r, strength\); it is a function"),
    ],
    ids=["one-score", "tensor", "unet", "scheduler", "none", "number", "scalar", "tilt"],
)
def test_settings_of_another_kind(settings, message):
    with pytest.raises(TypeError, match=message):
        FKCSampler(**{"score_fns": [SCORE], "exponents": (1.0,), "sde": VP, **settings})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": 2}, r"shape is that of one particle, such as \(2,\).*it is 2"),
        ({"shape": (2.0,)}, r"it is \(2\.0,\)"),
        ({"K": 10.0}, "K is a whole number; it is 10.0"),
        ({"groups": None}, "groups is a whole number; it is None"),
        ({"generator": 0}, "generator is a torch.Generator.* is a int"),
        ({"initial": np.zeros((10, 1))}, "initial must be a torch.Tensor.* ndarray"),
    ],
    ids=["shape", "floats", "count", "groups", "seed", "numpy"],
)
def test_arguments_of_another_kind(change, message):
    with pytest.raises(TypeError, match=message):
        FKCSampler([SCORE], (1.0,), VP).sample(**{"K": 10, "steps": 20, "shape": (1,), **change})


@pytest.mark.parametrize(
    ("output", "kind"),
    [(None, "NoneType"), (lambda x: x.numpy(), "ndarray"), (lambda x: (x,), "tuple"), (lambda x: {"a": x}, "dict")],
    ids=["none", "numpy", "tuple", "dict"],
)
def test_a_score_that_is_no_tensor_names_the_step_and_the_model(output, kind):
    sampler = FKCSampler([SCORE, lambda x, t: output and output(x)], product(2), VP)
    with pytest.raises(TypeError, match=rf"step 1 \(t = 1\): score 1 must be a tensor \[10, 1\]; it is a {kind}"):
        sampler.sample(10, 40, (1,))


@pytest.mark.parametrize(
    ("reward", "error", "message"),
    [
        (lambda x: torch.nn.Parameter(torch.ones(3)) * 2, ValueError, "no gradient in the particles"),
        (lambda x: x.detach()[:, 0], ValueError, "no gradient in the particles"),
        (lambda x: 1.0, TypeError, r"a reward is a tensor \[3\]; it is a float"),
        (lambda x: np.zeros(3), TypeError, "ndarray"),
    ],
    ids=["parameter", "detached", "float", "numpy"],
)
def test_rewards_that_know_nothing_of_the_particles(reward, error, message):
    with pytest.raises(error, match=f"here: .*{message}"):
        reward_tilt(reward, 1.0).at(torch.zeros(3, 1), "here")


def test_a_strength_that_is_not_finite_is_named_with_its_time():
    tilt = reward_tilt(lambda x: x[:, 0], lambda t: math.nan if t < 0.5 else torch.tensor(1.0 - t))
    assert tilt.strength_at(0.75) == 0.25
    with pytest.raises(ValueError, match=r"strength of a reward must be finite; at t = 0\.\d+ it is nan"):
        FKCSampler([SCORE], (1.0,), VP, tilt=tilt).sample(10, 40, (1,), generator=generator())


@pytest.mark.parametrize(
    "call",
    [
        lambda x: effective_sample_size(x),
        lambda x: systematic_resample(torch.zeros(3), u=x if x is not None else "none"),
        lambda x: mixed_score([torch.zeros(3, 1), x], (1.0, 1.0)),
        lambda x: fkc_weight([x], (2.0,), 0.0, 1.0),
        lambda x: TabulatedPreserving(x),
        lambda x: A.log_prob(x),
        lambda x: SCORE(torch.zeros(3, 1), x),
    ],
    ids=["ess", "u", "mixed", "weight", "table", "mixture", "time"],
)
@pytest.mark.parametrize("value", [np.full((3, 1), 0.5), None, 0.5], ids=["numpy", "none", "number"])
def test_functions_of_tensors_name_what_is_none(call, value):
    with pytest.raises(TypeError, match="must be a torch.Tensor"):
        call(value)


def test_grids_of_another_kind():
    with pytest.raises(TypeError, match=r"noising must be .* it is a DDPMScheduler"):
        time_grid(DDPMScheduler(), 10)
    with pytest.raises(TypeError, match="steps is a whole number; it is 10.5"):
        time_grid(VP, 10.5)
    with pytest.raises(TypeError, match="noising must be"):
        A.score_under(None)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s, u: diffusers_score(DDPMPipeline(u, s), s), TypeError, r"is a pipeline: .*model, pipeline\.unet"),
        (lambda s, u: diffusers_score(u, DDPMPipeline(u, s)), TypeError, r"is a pipeline: take pipeline\.scheduler"),
        (lambda s, u: diffusers_score(s, u), TypeError, "the model comes first.*a DDPMScheduler: swapped"),
        (lambda s, u: diffusers_score(u, type(s)), TypeError, "the class DDPMScheduler itself: call it"),
        (lambda s, u: diffusers_score(u, u), TypeError, "a scheduler is expected; it is the model UNet2DModel"),
        (lambda s, u: scheduler_noising(type(s)), TypeError, "the class DDPMScheduler itself"),
        (lambda s, u: diffusers_score(u, DDIMInverseScheduler()), ValueError, "goes from data to noise"),
        (lambda s, u: scheduler_noising(DPMSolverMultistepInverseScheduler()), ValueError, "goes from data to noise"),
    ],
    ids=["pipeline", "its-scheduler", "swapped", "class", "model", "noising-class", "inverse", "noising-inverse"],
)  # fmt: skip
def test_parts_of_diffusers_in_each_others_places(call, error, message):
    with pytest.raises(error, match=message):
        call(DDPMScheduler(), small_unet())


def test_a_score_of_another_process_is_refused():
    with pytest.raises(ValueError, match=r"score 0 is of another noising.* under the score's VariancePreserving"):
        FKCSampler([SCORE], anneal(1.0), LinearExploding())
    linear, scaled = DDPMScheduler(), DDPMScheduler(beta_schedule="scaled_linear")
    of = diffusers_score(lambda x, t: x, linear)
    with pytest.raises(ValueError, match=r"score 1 is of another noising process than the sampler: at t = 0\.1"):
        FKCSampler([diffusers_score(lambda x, t: x, scaled), of], product(2), scheduler_noising(scaled))


def test_processes_that_are_nearly_the_same_are_taken():
    """The table of DDPM's thousand steps is that of the continuous process, but for 0.08 nats at the end."""
    for scores, combination, noising in (
        ([SCORE, B.score_under(VariancePreserving())], product(2), VariancePreserving()),
        ([diffusers_score(lambda x, t: x, DDPMScheduler())], anneal(1.0), VP),
        ([lambda x, t: -x], anneal(1.0), LinearExploding()),
    ):
        x, _ = FKCSampler(scores, combination, noising).sample(4, 4, (1,), generator=torch.Generator().manual_seed(0))
        assert x.shape == (4, 1)
        assert x.isfinite().all()


@pytest.mark.parametrize("nested", [False, True])
def test_two_prompts_in_one_group_are_refused(nested):
    scheduler, prompts = DDPMScheduler(), torch.tensor([0.0, 1.0]).repeat_interleave(2)[:, None]
    scheduler.set_timesteps(30)
    seen = []

    def model(x, timestep, **inputs):
        seen.append(inputs)
        return x

    inputs = {"added_cond_kwargs": {"embeds": prompts}} if nested else {"embeds": prompts}
    of = diffusers_score(model, scheduler, scale=3, shared=torch.zeros(1, 5), flag=torch.tensor(2.0), **inputs)
    sampler = FKCSampler([of], anneal(1.0), of.noising)
    with pytest.raises(ValueError, match="embeds differs between particles of group 0, of 1: .* groups="):
        sampler.sample(4, 30, (1,))
    mixed = FKCSampler(
        [diffusers_score(model, scheduler, embeds=torch.tensor([0.0, 0.0, 0.0, 1.0]))], anneal(1.0), of.noising
    )
    with pytest.raises(ValueError, match="particles of group 1, of 2"):
        mixed.sample(4, 30, (1,), groups=2)
    assert not seen
    sampler.sample(4, 30, (1,), groups=2, generator=generator())
    FKCSampler([of], anneal(1.0), of.noising, resample=None).sample(4, 30, (1,), generator=generator())


def test_a_state_of_clocks_is_a_copy_and_says_what_it_lacks():
    clocks = BirthDeathClocks(1, 4, generator())
    state = clocks.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    clocks.step(torch.tensor([[0.0, 0.1, 0.2, 0.3]]))
    assert all(torch.equal(state[name], before[name]) for name in before)
    assert not torch.equal(clocks.state_dict()["clock"], before["clock"])
    clocks.load_state_dict(state)
    clocks.step(torch.tensor([[0.0, 0.1, 0.2, 0.3]]))
    assert all(torch.equal(state[name], before[name]) for name in before)
    with pytest.raises(ValueError, match="there is no gained, threshold"):
        clocks.load_state_dict({"clock": state["clock"]})


def test_guidance_and_nothing_of_ones_own_is_changed():
    start = torch.randn(20, 1, dtype=torch.float64, generator=generator()).requires_grad_()
    kept, state = start.detach().clone(), torch.random.get_rng_state()
    x, info = FKCSampler([SCORE, B.score_under(VP)], cfg(2.0), VP, tilt=reward_tilt(lambda x: x[:, 0], 1.0)).sample(
        20, [0.5, 0.4, 0.3], (1,), initial=start, generator=generator()
    )
    assert torch.equal(start, kept)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not x.requires_grad
    assert not any(value.requires_grad for value in info.values())
