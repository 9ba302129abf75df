"""Advantage Weighted Matching: the sheet's numbers (awm), and what a loss of it must not do."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from entrokit.generative.awm import (
    AWMLoss,
    group_advantages,
    interpolate,
    matching_logp,
    training_times,
    trust_region_decay,
    update_average,
)

F64 = torch.float64
X0 = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]], dtype=F64)
NOISE = torch.tensor([[0.5, -0.5], [1.0, 0.0], [0.0, 0.0]], dtype=F64)
T = torch.tensor([0.25, 0.5, 0.75], dtype=F64)
V = torch.tensor([[0.0, -1.0], [1.0, -1.0], [0.5, -0.5]], dtype=F64)
EXPECTED = {
    "uniform": [-0.25, -0.5, -0.25],
    "t": [-0.0625, -0.25, -0.1875],
    "t**2": [-0.015625, -0.125, -0.140625],
    "huber": [-0.124998, -0.353548, -0.374993],
    "ghuber": [-0.703945, -1.675468, -2.111834],
}


class Net(nn.Module):
    """A velocity with a parameter a feature and time."""

    def __init__(self, scale=0.3):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([scale, -scale], dtype=F64))

    def forward(self, x, t):
        return self.a * x + t[:, None]


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(6, 2, dtype=F64, generator=g), torch.randn(6, 3, 2, dtype=F64, generator=g)
    return x0, torch.randn(6, dtype=F64, generator=g), 0.05 + 0.9 * torch.rand(6, 3, dtype=F64, generator=g), noise


@pytest.mark.parametrize("weighting", sorted(EXPECTED))
def test_the_sheets_terms(weighting):
    """Check 4."""
    assert matching_logp(V, X0, NOISE, T, weighting).tolist() == pytest.approx(EXPECTED[weighting], abs=5e-7)


@pytest.mark.parametrize("weighting", sorted(EXPECTED))
def test_the_gradient_is_that_of_differences_and_0_without_error(weighting):
    v = V.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: matching_logp(v, X0, NOISE, T, weighting), v)
    exact = (NOISE - X0).requires_grad_()
    logp = matching_logp(exact, X0, NOISE, T, weighting)
    (gradient,) = torch.autograd.grad(logp.sum(), exact)
    assert logp.tolist() == [0.0] * 3
    assert not gradient.any()


def test_half_precision_is_measured_in_double():
    v, x0, noise = (x.to(torch.float16) for x in (V * 200, X0, NOISE))
    logp = matching_logp(v, x0, noise, T.float())
    assert logp.dtype == F64
    expected = -(200 * V - (NOISE - X0)).square().mean(1)
    assert logp.tolist() == pytest.approx(expected.tolist(), rel=1e-12)  # beyond float16's 65504 for a square


def test_a_path_goes_from_data_to_noise():
    assert torch.equal(interpolate(X0, NOISE, torch.zeros(3)), X0)
    assert torch.equal(interpolate(X0, NOISE, torch.ones(3)), NOISE)
    images = torch.ones(2, 3, 4, 4)
    assert interpolate(images, 0 * images, torch.tensor([0.25, 0.5]))[:, 0, 0, 0].tolist() == [0.75, 0.5]


def test_the_sheets_advantages():
    """Checks 5 and 7."""
    one = group_advantages(torch.tensor([1.0, 0.0, 0.5], dtype=F64), clip=100.0, max_abs=100.0)
    assert one.tolist() == pytest.approx([1.224445, -1.224445, 0.0], abs=5e-7)
    assert group_advantages(torch.tensor([1.0, 0.0, 0.5])).tolist() == pytest.approx([0.244889, -0.244889, 0], abs=5e-7)
    rewards, prompts = torch.arange(1.0, 7.0, dtype=F64), torch.tensor([0, 1, 0, 2, 1, 0])
    expected = [-1.135495, -0.999933, -0.162214, 0, 0.999933, 1.297708]
    assert group_advantages(rewards, prompts, clip=5.0, max_abs=5.0).tolist() == pytest.approx(expected, abs=5e-7)
    whole = group_advantages(rewards, prompts, global_std=True, clip=5.0, max_abs=5.0)
    means = torch.tensor([10 / 3, 3.5, 10 / 3, 4, 3.5, 10 / 3], dtype=F64)
    assert whole.tolist() == pytest.approx(((rewards - means) / (rewards.std(correction=0) + 1e-4)).tolist(), abs=1e-12)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 3)), min_size=1, max_size=20), st.floats(0.1, 10.0))
def test_advantages_are_bounded_and_add_up_to_nothing_unless_clipped(rows, max_abs):
    rewards = torch.tensor([r for r, _ in rows], dtype=F64)
    prompts = torch.tensor([g for _, g in rows])
    found = group_advantages(rewards, prompts, max_abs=max_abs)
    assert bool((found.abs() <= max_abs).all())
    for prompt in prompts.unique():
        own = found[prompts == prompt]
        if len(own) == 1:
            assert own.item() == 0.0
        elif bool((own.abs() < max_abs).all()):
            assert float(own.sum()) == pytest.approx(0, abs=1e-6 * max_abs * len(own))


def test_a_reward_that_is_nan_counts_nowhere_and_an_infinite_one_is_named():
    scored = group_advantages(torch.tensor([1.0, math.nan, 0.0]))
    assert scored.tolist() == pytest.approx(
        [*group_advantages(torch.tensor([1.0, 0.0]))[:1].tolist(), 0, -0.19996], abs=1e-4
    )
    with pytest.raises(ValueError, match="reward 1 is infinite"):
        group_advantages(torch.tensor([0.0, math.inf]))
    with pytest.raises(ValueError, match="groups"):
        group_advantages(torch.zeros(3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="whole numbers"):
        group_advantages(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="eps"):
        group_advantages(torch.zeros(3), eps=0)


@pytest.mark.parametrize("loss_type", ["exp_first", "sum_first"])
def test_on_policy_the_gradient_is_that_of_the_weighted_matching_loss(loss_type, batch):
    """Check 6."""
    x0, a, t, noise = batch
    model, loss = Net(), AWMLoss(beta=0.1, weighting="ghuber", loss_type=loss_type)
    value, stats = loss(model, Net(), x0, a, t, noise)
    (own,) = torch.autograd.grad(value, model.a)
    (plain,) = torch.autograd.grad((-a[:, None] * loss.log_prob(model, x0, t, noise)).mean(), model.a)
    torch.testing.assert_close(own, plain, rtol=1e-12, atol=1e-14)
    assert stats["ratio"] == 1.0
    assert (stats["clip_fraction"], stats["kl_ref"]) == (0.0, 0.0)
    zero, _ = loss(model, Net(), x0, torch.zeros(6, dtype=F64), t, noise)
    assert torch.autograd.grad(zero, model.a)[0].tolist() == [0.0, 0.0]


def test_off_policy_ratios_are_those_of_the_same_noise_and_are_clipped(batch):
    x0, a, t, noise = batch
    old, new = Net(0.3), Net(0.9)
    loss = AWMLoss(beta=0.1, clip_range=0.2)
    before = loss.log_prob(old, x0, t, noise)
    value, stats = loss(new, Net(0.9), x0, a, t, noise, old_logp=before)
    ratio = (loss.log_prob(new, x0, t, noise) - before).exp()
    expected = torch.maximum(-a[:, None] * ratio, -a[:, None] * ratio.clamp(0.8, 1.2))
    assert value.item() == pytest.approx(expected.mean().item(), rel=1e-12)
    still = ((a[:, None] > 0) & (ratio > 1.2)) | ((a[:, None] < 0) & (ratio < 0.8))
    assert stats["clip_fraction"] == pytest.approx(float(still.double().mean()))
    assert 0 < stats["clip_fraction"] < 1
    once, _ = AWMLoss(beta=0.1, loss_type="sum_first", clip_range=0.2)(new, Net(0.9), x0, a, t, noise, old_logp=before)
    mean = (loss.log_prob(new, x0, t, noise) - before).mean(1).exp()
    assert once.item() == pytest.approx(torch.maximum(-a * mean, -a * mean.clamp(0.8, 1.2)).mean().item(), rel=1e-12)


def test_a_ratio_far_off_is_capped_and_counted(batch):
    x0, a, t, noise = batch
    model, loss = Net(), AWMLoss(beta=0.1)
    value, stats = loss(model, Net(), x0, -a.abs(), t, noise, old_logp=torch.full((6, 3), -1e4, dtype=F64))
    assert math.isfinite(float(value.detach()))
    assert stats["capped_fraction"] == 1.0


@pytest.mark.parametrize("kl_weighting", ["uniform", "elbo"])
def test_the_pulls_are_squared_differences_of_velocities(kl_weighting, batch):
    x0, _, t, noise = batch
    model, ref, average = Net(0.3), Net(0.1), Net(0.6)
    loss = AWMLoss(beta=0.2, beta_ema=0.7, kl_weighting=kl_weighting)
    value, stats = loss(model, ref, x0, torch.zeros(6, dtype=F64), t, noise, ema_model=average)
    x_t = (1 - t[..., None]) * x0[:, None] + t[..., None] * noise
    weight = torch.ones_like(t) if kl_weighting == "uniform" else 1 / (2 * 0.49 * t / (1 - t))

    def pull(other):
        return float((weight * ((model.a - other.a) * x_t).square().mean(-1)).mean())

    assert stats["kl_ref"] == pytest.approx(pull(ref), rel=1e-10)
    assert stats["kl_ema"] == pytest.approx(pull(average), rel=1e-10)
    assert float(value) == pytest.approx(0.2 * pull(ref) + 0.7 * pull(average), rel=1e-10)
    value.backward()
    assert model.a.grad is not None
    assert ref.a.grad is None
    assert average.a.grad is None


def test_one_time_a_sample_needs_no_axis_of_its_own(batch):
    x0, a, t, noise = batch
    model, loss = Net(), AWMLoss(beta=0.1)
    flat, _ = loss(model, Net(), x0, a, t[:, 0], noise[:, 0])
    wide, _ = loss(model, Net(), x0, a, t[:, :1], noise[:, :1])
    assert torch.equal(flat, wide)


def test_the_loss_has_the_models_dtype():
    model = Net().float()
    value, _ = AWMLoss(beta=0.1)(model, Net().float(), X0.float(), torch.ones(3), T.float(), NOISE.float())
    assert value.dtype == torch.float32


def test_what_is_wrong_is_named(batch):
    x0, a, t, noise = batch
    model, loss = Net(), AWMLoss(beta=0.1, beta_ema=1.0)
    cases = {
        "ref_model is needed": (model, None, x0, a, t, noise),
        "ema_model is needed": (model, Net(), x0, a, t, noise),
    }
    for message, arguments in cases.items():
        with pytest.raises(ValueError, match=message):
            loss(*arguments)
    plain = AWMLoss(beta=0.1)
    with pytest.raises(ValueError, match="belong together"):
        plain(model, Net(), x0, a, t, noise[:, :2])
    with pytest.raises(ValueError, match="advantages"):
        plain(model, Net(), x0, a[:3], t, noise)
    with pytest.raises(ValueError, match="advantages"):
        plain(model, Net(), x0, a * math.nan, t, noise)
    with pytest.raises(ValueError, match=r"times lie in \[0, 1\].*sample 3 is 1.5"):
        plain(model, Net(), x0, a, torch.where(torch.arange(18).reshape(6, 3) == 3, 1.5, t), noise)
    with pytest.raises(ValueError, match=r"model's velocity is NaN or infinite in 18 of 18"):
        plain(Net(math.nan), model, x0, a, t, noise)
    with pytest.raises(ValueError, match=r"ref_model's velocity is NaN"):
        plain(model, Net(math.nan), x0, a, t, noise)
    with pytest.raises(ValueError, match="old_logp"):
        plain(model, Net(), x0, a, t, noise, old_logp=torch.zeros(6))
    with pytest.raises(ValueError, match=r"velocity has shape \[18, 1\]"):
        plain(lambda x, t: x[:, :1], model, x0, a, t, noise)


def test_knobs_out_of_range_are_named_and_no_pull_at_all_warns():
    for knobs, message in (
        ({"beta": -1}, "beta"),
        ({"clip_range": 0}, "clip_range"),
        ({"clip_range": 1.5}, "clip_range"),
        ({"power": 0}, "power"),
        ({"weighting": "linear"}, "'ghuber'"),
        ({"loss_type": "sum"}, "'sum_first'"),
        ({"kl_weighting": "kl"}, "'elbo'"),
    ):
        with pytest.raises(ValueError, match=message):
            AWMLoss(**knobs)
    with pytest.warns(UserWarning, match="diverge"):
        AWMLoss(beta=0)
    published = AWMLoss(0.003, beta_ema=1.0, clip_range=1.0, weighting="ghuber", power=0.25)
    assert repr(AWMLoss.preset("awm-sd3")) == repr(published)
    with pytest.raises(ValueError, match="awm-sd3"):
        AWMLoss.preset("flux")


def test_the_average_forgets_at_first_and_never_keeps_more_than_three_tenths():
    assert [trust_region_decay(step) for step in (0, 100, 300, 9999)] == pytest.approx([0, 0.1, 0.3, 0.3])
    average, model = Net(0.0), Net(1.0)
    update_average(average, model, 0.25)
    assert average.a.tolist() == [0.75, -0.75]
    with pytest.raises(ValueError, match="differ in weight"):
        update_average(nn.Linear(2, 2), nn.Linear(2, 3), 0.1)
    with pytest.raises(ValueError, match="decay"):
        update_average(average, model, 1.0)


def test_times_are_the_samplers_in_strata():
    g = torch.Generator().manual_seed(0)
    times = training_times(500, 6, generator=g)
    index = (14 * (1 - times)).round()
    assert torch.equal(index, index.sort(1).values)
    assert (int(index.min()), int(index.max())) == (1, 12)
    for stratum in range(6):
        assert set(index[:, stratum].tolist()) == {2.0 * stratum + 1, 2.0 * stratum + 2}
    with_init = training_times(50, 4, law="discrete_with_init", generator=g)
    assert with_init[:, 0].tolist() == [1.0] * 50
    assert bool((with_init[:, 1:] < 1).all())
    assert float(training_times(500, 3, law="discrete", generator=g).max()) == 1.0
    assert training_times(5, 1, law="discrete_with_init").tolist() == [[1.0]] * 5
    assert bool((training_times(3, 14, fraction=1.0, law="discrete", generator=g) > 0).all())


def test_continuous_times_have_their_law():
    g = torch.Generator().manual_seed(0)
    count = 20_000
    uniform = training_times(count, 1, law="uniform", generator=g)
    assert float(uniform.mean()) == pytest.approx(0.505, abs=5 * 0.99 / math.sqrt(12 * count))
    shifted = training_times(count, 1, law="logit_normal", shift=3.0, generator=g)
    # Half of the draws have z below 0, u below 1/2 and t below 3/4.
    assert float((shifted < 0.75).double().mean()) == pytest.approx(0.5, abs=2.5 / math.sqrt(count))
    for times in (uniform, shifted):
        assert 0.01 <= float(times.min()) <= float(times.max()) <= 1
    # Of 20 000 draws 50 are expected below.
    assert float(uniform.min()) < 0.0125


def test_times_that_there_are_not_are_named():
    with pytest.raises(ValueError, match="indices 1 to 3"):
        training_times(2, 4, steps=4, fraction=0.9)
    with pytest.raises(ValueError, match="'uniform'"):
        training_times(2, 4, law="sobol")
    with pytest.raises(ValueError, match="fraction"):
        training_times(2, 4, fraction=0)
    with pytest.raises(ValueError, match="at least 1"):
        training_times(2, 0)
