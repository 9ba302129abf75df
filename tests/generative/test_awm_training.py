"""AWM in a training loop: rows, dtypes, memory, the pull, and a run that is broken off and taken up again."""

import copy
import io
import math
import weakref

import pytest
import torch
from torch import nn

from entrokit.generative.awm import (
    AWMLoss,
    ddpo_step,
    group_advantages,
    interpolate,
    sample_ode,
    sample_sde,
    training_times,
    trust_region_decay,
    update_average,
)

F64 = torch.float64


class Velocity(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 2))

    def forward(self, x, t):
        return self.net(torch.cat([x, t[:, None]], 1))


def normal(*shape, dtype=F64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_rows_are_sample_by_sample():
    """What a model is conditioned on is repeated in this order."""
    x0, noise, prompt = normal(3, 2), normal(3, 4, 2, seed=1), torch.tensor([1.0, 2.0, 3.0], dtype=F64)
    t = torch.rand(3, 4, dtype=F64, generator=torch.Generator().manual_seed(2))
    seen = []

    def model(x, at):
        seen.append((x, at))
        return prompt.repeat_interleave(4)[:, None] * torch.ones_like(x)

    found = AWMLoss(beta=0.1).log_prob(model, x0, t, noise)
    expected = -(prompt[:, None, None] - (noise - x0[:, None])).square().mean(2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(seen[0][1], t.flatten())
    x_t = (1 - t[..., None]) * x0[:, None] + t[..., None] * noise
    torch.testing.assert_close(seen[0][0], x_t.flatten(0, 1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("beta", "away"), [(0.5, True), (1.0, False), (2.0, False)])
def test_a_pull_of_max_abs_holds_any_advantage(beta, away):
    """At a velocity far off, an advantage of -1 gives -2 v, the pull 2 beta v."""
    v = torch.full((1, 2), 1e3, dtype=F64, requires_grad=True)
    x0, noise, t = normal(1, 2), normal(1, 2, seed=1), torch.tensor([0.5])
    loss = AWMLoss(beta=beta)
    value, _ = loss(lambda x, at: v, lambda x, at: 0 * x, x0, torch.tensor([-1.0]), t, noise)
    (gradient,) = torch.autograd.grad(value, v)
    # Of the mean over two elements; the target is what is left where both cancel.
    torch.testing.assert_close(gradient, -(v.detach() - (noise - x0)) + beta * v.detach(), rtol=1e-9, atol=1e-9)
    assert bool((gradient < -100).all()) == away


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_mixed_in_single(dtype):
    """In bfloat16 the time 0.99 is 0.98828, which leaves 17 % more data than the model is told of."""
    x0, noise, t = normal(50, 3, dtype=dtype), normal(50, 3, dtype=dtype, seed=1), torch.full((50,), 0.99)
    mixed = (1 - t[:, None]) * x0.float() + t[:, None] * noise.float()
    assert torch.equal(interpolate(x0, noise, t), mixed.to(dtype))
    assert torch.equal(interpolate(x0, noise.float(), t), mixed)
    assert torch.equal(interpolate(x0.float(), noise, t), mixed)
    mean, std = ddpo_step(noise, x0, t, 0.05)
    wide_mean, wide_std = ddpo_step(noise.float(), x0.float(), t, 0.05)
    # Products of halves are rounded once more than those of singles.
    torch.testing.assert_close(mean, wide_mean, rtol=0.02, atol=0.02)
    assert torch.equal(std, wide_std)
    # A time of half precision counts as what it is, and its square root is not rounded to it.
    assert torch.equal(ddpo_step(noise, x0, t.to(dtype), 0.05)[1], ddpo_step(noise, x0, t.to(dtype).float(), 0.05)[1])


@pytest.mark.parametrize(
    ("given", "found"),
    [(torch.float16, torch.float16), (F64, F64), (torch.long, torch.float32), (torch.bool, torch.float32)],
)
def test_advantages_have_the_rewards_dtype_and_no_gradient(given, found):
    rewards = torch.tensor([1, 0, 0, 1]).to(given)
    advantages = group_advantages(rewards.requires_grad_() if given.is_floating_point else rewards)
    assert advantages.dtype == found
    assert not advantages.requires_grad
    assert advantages.tolist() == pytest.approx([0.2, -0.2, -0.2, 0.2], rel=1e-3)


def test_the_pull_and_the_loss_of_halves_are_single():
    x0, noise, t = normal(4, 2, dtype=torch.float16), normal(4, 2, dtype=torch.float16), torch.full((4,), 0.5)
    value, stats = AWMLoss(beta=0.1)(lambda x, at: 0 * x + 300, lambda x, at: 0 * x, x0, 0 * t, t, noise)
    assert stats["kl_ref"] == 9e4  # beyond float16's 65504
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(9e3, rel=1e-6)
    expected = (300 - (noise - x0).double()).square().mean()
    assert stats["matching_loss"] == pytest.approx(float(expected), rel=1e-3)


def test_a_loss_under_autocast_is_single():
    model, x0, t, noise = Velocity(), normal(4, 2).float(), torch.full((4,), 0.5), normal(4, 2, seed=1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, _ = AWMLoss(beta=0.1)(model, copy.deepcopy(model), x0, torch.ones(4), t, noise)
    assert value.dtype == torch.float32
    value.backward()
    assert model.net[0].weight.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, F64])
def test_samples_and_times_have_the_noises_dtype(dtype):
    seen = []

    def velocity(x, t):
        seen.append(t[0])
        assert (x.dtype, t.dtype) == (dtype, dtype)
        return 0.1 * x

    noise = normal(3, 2, dtype=dtype)
    assert sample_ode(velocity, noise, 7).dtype == dtype
    trajectory = sample_sde(velocity, noise, 7)
    assert trajectory.states.dtype == dtype
    assert torch.equal(trajectory.times, torch.stack(seen[7:]))


def test_the_ode_keeps_no_state_that_it_has_left():
    seen, alive = [], []

    def velocity(x, t):
        seen.append(weakref.ref(x))
        alive.append(sum(ref() is not None for ref in seen))
        return 0.1 * x

    sample_ode(velocity, normal(3, 2), 10)
    # The noise is the caller's; beside it the state of this step, and at most the one before.
    assert max(alive) <= 3


def test_the_floor_of_a_fraction_does_not_lose_a_step_to_rounding():
    times = training_times(2000, 1, steps=100, fraction=0.29, generator=torch.Generator().manual_seed(0))
    # The odds of missing one index of 29 in 2000 draws are (28 / 29) ** 2000, about 1e-31.
    assert float(times.min()) == pytest.approx(0.71)


def test_gradients_reach_the_trained_velocity_alone():
    model, t = Velocity().double(), torch.full((4,), 0.5)
    x0, noise, advantages = normal(4, 2).requires_grad_(), normal(4, 2, seed=1), normal(4, seed=2).requires_grad_()
    value, _ = AWMLoss(beta=0.1)(model, lambda x, at: 0 * x, x0, advantages, t, noise)
    value.backward()
    assert x0.grad is None
    assert advantages.grad is None
    assert not sample_ode(model, noise, 2).requires_grad
    assert not sample_sde(model, noise, 2).states.requires_grad


def test_a_trajectory_is_its_generators():
    first, second = (
        sample_sde(lambda x, t: 0 * x, normal(3, 2), 4, generator=torch.Generator().manual_seed(7)) for _ in range(2)
    )
    assert torch.equal(first.states, second.states)


def test_an_advantage_of_0_counts_as_clipped_never():
    x0, noise, t = normal(4, 2), normal(4, 2, seed=1), torch.full((4,), 0.5)
    old = torch.full((4, 1), 5.0, dtype=F64)
    loss = AWMLoss(beta=0.1, clip_range=0.2)
    for advantage, share in ((0.0, 0.0), (-1.0, 1.0)):
        advantages = torch.full((4,), advantage)
        _, stats = loss(lambda x, at: 0 * x, lambda x, at: 0 * x, x0, advantages, t, noise, old_logp=old)
        assert stats["clip_fraction"] == share


def test_ratios_count_as_capped_from_e_to_the_20_on():
    """And have no gradient from there; the log-likelihood's own is -2 v, of the mean over two elements -v."""
    x0, t = torch.zeros(4, 2, dtype=F64), torch.full((4,), 0.5)
    v = torch.ones(4, 2, dtype=F64, requires_grad=True)
    above = torch.tensor([19.9, 20.1, 0.0, 25.0], dtype=F64)[:, None]
    advantages = torch.full((4,), -1.0)
    value, stats = AWMLoss(beta=1e-9)(lambda x, at: v, lambda x, at: 0 * x, x0, advantages, t, x0, -1 - above)
    assert stats["capped_fraction"] == 0.5
    ratio = above[:, 0].clamp(max=20.0).exp()
    assert stats["ratio"] == pytest.approx(float(ratio.mean()), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, v)
    expected = torch.where(above[:, 0] > 20, 0.0, -ratio / 4)
    torch.testing.assert_close(gradient[:, 0], expected, rtol=1e-9, atol=1e-9)


def test_the_elbos_weight_is_finite_at_pure_noise():
    loss, t = AWMLoss(beta=1.0, kl_weighting="elbo"), torch.ones(4)
    _, stats = loss(lambda x, at: 0 * x + 1, lambda x, at: 0 * x, normal(4, 2), torch.zeros(4), t, normal(4, 2, seed=1))
    assert stats["kl_ref"] == pytest.approx(0.01 / (2 * 0.49), rel=1e-5)  # t is a single, 1 - 0.99 of it off by 6e-6


def test_shifted_times_are_held_to_a_hundredth():
    assert float(training_times(50, 2, law="logit_normal", shift=1e-6).max()) == pytest.approx(0.01)


def run(dtype, steps, start=None, stop=None):
    """A tuning of three steps a batch held to its own average; `stop` gives the checkpoint, `start` takes it."""
    torch.manual_seed(1)
    model = Velocity().to(dtype)
    reference, average = (copy.deepcopy(model).requires_grad_(False) for _ in range(2))
    loss, g = AWMLoss(beta=0.1, beta_ema=1.0, clip_range=0.2), torch.Generator().manual_seed(5)
    parts, first = {"model": model, "average": average}, 0
    if start is not None:
        kept = torch.load(io.BytesIO(start))
        for name, part in parts.items():
            part.load_state_dict(kept[name])
        g.set_state(kept["generator"])
        first = kept["step"]
    for step in range(first, steps):
        if step == stop:
            buffer = io.BytesIO()
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save({**states, "generator": g.get_state(), "step": step}, buffer)
            return buffer.getvalue()
        x0 = sample_ode(model, torch.randn(16, 2, dtype=dtype, generator=g), 4)
        advantages = group_advantages(-x0.norm(dim=1), torch.arange(16) // 8)
        t = training_times(16, 3, generator=g).to(dtype)
        noise = torch.randn(16, 3, 2, dtype=dtype, generator=g)
        with torch.no_grad():
            old = loss.log_prob(model, x0, t, noise)
        for _ in range(3):
            value, stats = loss(model, reference, x0, advantages, t, noise, old_logp=old, ema_model=average)
            gradients = torch.autograd.grad(value, list(model.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter -= 0.1 * gradient
        update_average(average, model, trust_region_decay(step))
    assert math.isfinite(float(value))
    assert stats["ratio"] != 1.0
    return torch.cat([p.detach().flatten() for part in (model, average) for p in part.parameters()])


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16])
def test_a_run_that_is_taken_up_again_is_the_same_bit_for_bit(dtype):
    whole = run(dtype, 4)
    again = run(dtype, 4, start=run(dtype, 4, stop=2))
    assert torch.equal(whole, again)
