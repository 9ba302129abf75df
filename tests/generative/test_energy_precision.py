"""Half precision and mixed dtypes: what is computed in what."""

import pytest
import torch

from entrokit.generative.energy import (
    EnergyScore,
    TimeExperts,
    denoising_loss,
    equal_weight,
    force_of,
    langevin_simulate,
    sample_flow,
    sample_sde,
    training_loss,
)

from .energy_cases import VP, drawn

HALF = [torch.bfloat16, torch.float16]


def normal(count, dimensions=1, seed=0):
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def seen(dtypes, score):
    def noted(x, *t):
        dtypes.update({x.dtype, *(v.dtype for v in t)})
        return score(x, *t)

    return noted


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_chains_of_half_precision_do_not_stand_still(dtype):
    """A free particle of velocity 1: steps of 1e-4 at 1 are less than half a rounding, and would all be lost."""
    x0, v0 = torch.ones(1, 1, dtype=dtype), torch.ones(1, 1, dtype=dtype)
    dtypes = set()
    force = seen(dtypes, torch.zeros_like)
    frames = langevin_simulate(force, x0, 5000, 1e-4, 0.0, 1.0, 1.0, every=5000, velocity=v0)
    assert frames.dtype == dtype
    assert dtypes == {dtype}
    # 1 + 5000 · 1e-4, to the rounding of what is given back.
    assert frames.item() == pytest.approx(1.5, rel=torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_a_spring_of_half_precision_has_its_temperatures_variance(dtype):
    count = 4000
    own, exact = (
        langevin_simulate(
            lambda x: -x, normal(count).to(d), 200, 0.02, 2.0, 1.0, 1.0, every=200,
            generator=torch.Generator().manual_seed(1),
        ).float()
        for d in (dtype, torch.float32)
    )  # fmt: skip
    # The same noise; the force is off by a rounding of each position, over the time 1 / k of the spring's memory.
    assert (own - exact).abs().max() <= 4 * torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.parametrize("sample", [sample_sde, sample_flow])
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_samples_of_half_precision_are_those_of_float32(sample, dtype):
    """Of a standard normal law, whose score is -x: each step's is off by the rounding of x, all of them by its sum."""
    dtypes = set()
    noise = normal(500, 2).to(dtype)
    knobs = {} if sample is sample_flow else {"generator": torch.Generator().manual_seed(2)}
    own = sample(seen(dtypes, lambda x, t: -x), noise, VP, steps=400, **knobs)
    if knobs:
        knobs["generator"].manual_seed(2)
    exact = sample(lambda x, t: -x, noise.float(), VP, steps=400, **knobs)
    assert own.dtype == dtype
    assert dtypes == {dtype}
    # A score's rounding eps / 2 of x, weighed by beta dt, of which all steps have about 10, and that of the result.
    bound = (0.5 * 10 + 1) * torch.finfo(dtype).eps * exact.abs().max().clamp_min(noise.abs().max())
    assert (own - exact).abs().max() <= bound


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_denoising_of_half_precision_is_averaged_in_float32(dtype):
    x0 = normal(64, 3).to(dtype)
    t = torch.linspace(0.1, 0.9, 64).to(dtype)
    dtypes = set()
    found = denoising_loss(
        seen(dtypes, lambda x, t: -x), x0, t, VP, generator=torch.Generator().manual_seed(3), weight=lambda t: 1 + t
    )
    exact = denoising_loss(
        lambda x, t: -x, x0.float(), t.float(), VP, generator=torch.Generator().manual_seed(3), weight=lambda t: 1 + t
    )
    assert dtypes == {dtype}
    assert found.dtype == torch.float32
    at, points = t.float(), []
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(3))
    denoising_loss(lambda x, t: points.append(x) or -x, x0, t, VP, generator=torch.Generator().manual_seed(3))
    # Rounded once, and not each part by itself.
    assert torch.equal(points[0], (VP.alpha(at)[:, None] * x0 + VP.sigma(at)[:, None] * noise).to(dtype))
    # The rounding of x alone: noise - sigma x is off by eps / 2 of x, at most 5, its square by twice it times that.
    assert found.item() == pytest.approx(exact.item(), rel=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_an_energy_of_half_precision_trains_and_simulates(dtype):
    torch.manual_seed(0)
    model = EnergyScore.mlp(2, (8, 8)).to(dtype)
    x0 = normal(16, 2).to(dtype)
    loss = training_loss(model, x0, 0.5, VP)
    loss.total.backward()
    assert all(p.grad.dtype == dtype for p in list(model.parameters())[:-1])
    assert langevin_simulate(force_of(model, 1.0), x0, 3, 0.1, 1.0, 1.0, 1.0).dtype == dtype


def test_scores_and_forces_of_more_digits_leave_the_points_dtype():
    """A model asked with points of float64 that it gave itself would refuse them."""
    dtypes = set()
    score = seen(dtypes, lambda x, t: -x.double())
    force = seen(dtypes, lambda x: -x.double())
    velocity = torch.zeros(3, 1, dtype=torch.float64)
    assert sample_sde(score, normal(3), VP, steps=3).dtype == torch.float32
    assert langevin_simulate(force, normal(3), 3, 0.1, 1.0, 1.0, 1.0, velocity=velocity).dtype == torch.float32
    assert denoising_loss(score, normal(3), 0.5, VP).dtype == torch.float32
    assert dtypes == {torch.float32}


def test_scores_under_autocast_are_taken_and_energies_refused():
    net = torch.nn.Linear(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert denoising_loss(lambda x, t: net(x), normal(4, 2), 0.5, VP).dtype == torch.float32
        experts = TimeExperts([EnergyScore.mlp(2, (4,)), EnergyScore.mlp(2, (4,))], [(0.0, 0.5), (0.5, 1.0)])
        for t in (torch.tensor([0.1, 0.9]), 0.1):
            with pytest.raises(ValueError, match=r"bfloat16.*float32.*autocast"):
                experts.score(normal(2, 2), t)


def test_weights_of_times_have_the_digits_of_their_sum():
    for own, expected in (
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ):
        found = equal_weight(torch.tensor([0.1, 0.9], dtype=own))
        assert found.dtype == expected
        torch.testing.assert_close(found, torch.tensor([1 / 0.6, 1 / 1.4], dtype=expected))


def test_arguments_are_left_as_they_were():
    x0, t = drawn(4, 2, seed=0)
    copies = x0.clone(), t.clone()
    model = EnergyScore.mlp(2, (4,)).double()
    training_loss(model, x0, t, VP).total.backward()
    langevin_simulate(force_of(model, 1.0), x0, 2, 0.1, 1.0, 1.0, 1.0, velocity=t[:, None].expand(4, 2))
    sample_sde(model, x0, VP, steps=2)
    assert torch.equal(x0, copies[0])
    assert torch.equal(t, copies[1])
    assert not x0.requires_grad
    assert not t.requires_grad
    assert x0.grad is None


def test_a_generator_leaves_the_global_one_alone():
    x0, t = drawn(4, 2, seed=0)
    model = EnergyScore.mlp(2, (4,)).double()
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    training_loss(model, x0, t, VP, generator=generator)
    langevin_simulate(force_of(model, 1.0), x0, 2, 0.1, 1.0, 1.0, 1.0, generator=generator)
    sample_sde(model, x0, VP, steps=2, generator=generator)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_leaves_the_range_of_float16_is_named():
    """Finite in float32, in which steps are taken, and not in the dtype that is given back."""
    x = torch.ones(1, 1, dtype=torch.float16)
    with pytest.raises(ValueError, match="a sample is not finite at 1 of 1"):
        sample_flow(lambda x, t: 0 * x + 6e4, x, VP, steps=1)
    with pytest.raises(ValueError, match="at step 1 1 of 1 chains"):
        langevin_simulate(lambda x: 0 * x + 6e4, x, 1, 2.0, 0.0, 1.0, 1.0, velocity=x)
