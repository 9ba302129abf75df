"""AWM's functions handed what they cannot use: an error that names it, never a number made of it."""

import copy
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from entrokit.generative.awm import (
    AWMLoss,
    ddpo_step,
    ddpo_step_logp,
    ddpo_target_score,
    group_advantages,
    interpolate,
    matching_logp,
    sample_ode,
    sample_sde,
    training_times,
    update_average,
)
from entrokit.generative.flow_entropy import flow_entropy

G = torch.Generator().manual_seed(0)
X0, NOISE, T = (torch.randn(4, 2, generator=G), torch.randn(4, 3, 2, generator=G), torch.rand(4, 3, generator=G))
A, ROWS, AT = torch.tensor([0.2, -0.1, 0.3, -0.2]), torch.randn(4, 2, generator=G), T[:, 0]
LOSS = AWMLoss(beta=0.1)


def still(x, t):
    return 0 * x


def loss_of(model=still, ref=still, x0=X0, a=A, t=T, noise=NOISE, **others):
    return LOSS(model, ref, x0, a, t, noise, **others)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("rewards", lambda: group_advantages([1.0, 2.0])),
        ("rewards", lambda: group_advantages(np.ones(3))),
        ("groups", lambda: group_advantages(torch.ones(2), [0, 1])),
        ("x0", lambda: interpolate(X0.tolist(), ROWS, AT)),
        ("noise", lambda: interpolate(X0, ROWS.numpy(), AT)),
        ("t", lambda: interpolate(X0, ROWS, 0.5)),
        ("v_pred", lambda: matching_logp(None, X0, ROWS, AT)),
        ("x0", lambda: loss_of(x0=X0.numpy())),
        ("advantages", lambda: loss_of(a=A.tolist())),
        ("t", lambda: loss_of(t=T.tolist())),
        ("noise", lambda: loss_of(noise=NOISE.tolist())),
        ("old_logp", lambda: loss_of(old_logp=0.0)),
        ("noise", lambda: sample_ode(still, [[0.0]])),
        ("x_t", lambda: ddpo_step(ROWS, X0.numpy(), AT, 0.1)),
        ("x_next", lambda: ddpo_step_logp(ROWS, X0, X0.numpy(), AT, 0.1)),
        ("noise", lambda: flow_entropy(still, [[0.0]])),
    ],
)
def test_what_is_no_tensor_is_named(name, call):
    with pytest.raises(TypeError, match=rf"^{name} must be a torch.Tensor"):
        call()


def test_images_of_whole_numbers_are_refused():
    """Times would be cut to whole numbers with them: no noise at all."""
    images = torch.full((4, 3, 2, 2), 200, dtype=torch.uint8)
    fresh = torch.randn(4, 3, 2, 2)
    for call in (
        lambda: interpolate(images, fresh, AT),
        lambda: matching_logp(fresh, images, fresh, AT),
        lambda: loss_of(x0=images, t=AT, noise=fresh),
    ):
        with pytest.raises(ValueError, match=r"x0 must be floating point.*uint8"):
            call()
    with pytest.raises(ValueError, match="noise must be floating point"):
        interpolate(fresh, images, AT)
    for sample in (sample_ode, sample_sde):
        with pytest.raises(ValueError, match=r"noise is \[B, \*\], floating point.*uint8"):
            sample(still, images)
        with pytest.raises(ValueError, match=r"noise is \[B, \*\].*\[4\]"):
            sample(still, AT)


@pytest.mark.parametrize("found", [lambda x: (x,), lambda x: SimpleNamespace(sample=x)], ids=["tuple", "output"])
def test_a_model_that_returns_no_tensor_is_told_how_to(found):
    def model(x, t):
        return found(x)

    for call in (
        lambda: loss_of(model),
        lambda: loss_of(still, model),
        lambda: LOSS.log_prob(model, X0, T, NOISE),
        lambda: sample_ode(model, X0),
        lambda: sample_sde(model, X0),
        lambda: flow_entropy(model, X0),
    ):
        with pytest.raises(TypeError, match=r"velocity.* must be a torch.Tensor; the model returned a .*wrap it"):
            call()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_named_whatever_the_model_makes_of_them(bad):
    for name, arguments in {
        "x0": {"x0": X0.clone().index_fill_(0, torch.tensor([2]), bad)},
        "noise": {"noise": NOISE.clone().index_fill_(0, torch.tensor([2]), bad)},
        "advantages": {"a": A.clone().index_fill_(0, torch.tensor([2]), bad)},
        "old_logp": {"old_logp": torch.zeros(4, 3).index_fill_(0, torch.tensor([2]), bad)},
    }.items():
        with pytest.raises(ValueError, match=f"^{name} is NaN or infinite in 1 of 4 samples, first in 2"):
            loss_of(lambda x, t: torch.ones_like(x), **arguments)
    one = X0.clone()
    one[1, 0] = bad
    with pytest.raises(ValueError, match="x0 is NaN or infinite in 1 of 4 samples, first in 1"):
        loss_of(x0=one)
    for use in (sample_ode, sample_sde, flow_entropy):
        with pytest.raises(ValueError, match="noise is NaN or infinite in 4 of 4"):
            use(lambda x, t: torch.ones_like(x), torch.full((4, 2), bad))


def test_a_loss_that_overflows_says_so():
    with pytest.raises(ValueError, match=r"loss overflows to inf: velocities are up to 1e\+20"):
        loss_of(lambda x, t: 0 * x + 1e20)
    with pytest.raises(ValueError, match="matching log-likelihood is NaN or infinite"):
        loss_of(lambda x, t: 0 * x.double() + 1e200)
    with pytest.raises(ValueError, match=r"advantages up to 1e\+300"):
        loss_of(a=torch.full((4,), -1e300, dtype=torch.float64))
    value, stats = loss_of(lambda x, t: 0 * x + 1e15)
    assert math.isfinite(float(value))
    assert stats["kl_ref"] == pytest.approx(1e30, rel=1e-6)


@pytest.mark.parametrize("largest", [1e200, 1e308])
def test_rewards_whose_squares_overflow_are_named(largest):
    rewards = torch.tensor([largest, largest, -largest], dtype=torch.float64)
    for whole in (False, True):
        with pytest.raises(ValueError, match=r"rewards as large as 1e\+\d+ overflow"):
            group_advantages(rewards, torch.tensor([0, 0, 0]), global_std=whole)
    assert group_advantages(rewards[:0]).shape == (0,)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_that_stands_out_is_worth_max_abs(sign):
    """One of 40 is √39 = 6.2 standard deviations off."""
    found = group_advantages(torch.zeros(40, dtype=torch.float64).index_fill_(0, torch.tensor([3]), sign), max_abs=2.0)
    assert float(found[3]) == pytest.approx(2 * sign, rel=1e-12)
    assert float(found[0]) == pytest.approx(-sign * 2 / 5 / math.sqrt(39), rel=1e-3)


def test_a_weight_that_divides_by_the_time_has_none_at_0():
    with pytest.raises(ValueError, match="time of 0 has no weight"):
        AWMLoss(beta=0.1, kl_weighting="elbo")(still, still, X0, A, 0 * T, NOISE)


def test_times_and_steps_without_an_answer_are_named():
    with pytest.raises(ValueError, match="time of 1"):
        ddpo_target_score(X0, ROWS, torch.tensor([0.5, 1.0, 0.2, 0.3]), 0.1)
    assert bool(torch.isfinite(ddpo_target_score(X0, ROWS, torch.full((4,), 0.99), 0.1)).all())
    for dt in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="dt is the length of a step"):
            ddpo_step(ROWS, X0, AT, dt)
        with pytest.raises(ValueError, match="dt is the length of a step"):
            ddpo_target_score(X0, ROWS, AT, dt)
    for level in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="noise_level"):
            ddpo_step(ROWS, X0, AT, 0.1, level)
        with pytest.raises(ValueError, match="noise_level"):
            sample_sde(still, X0, noise_level=level)
    for shift in (0.0, math.inf):
        with pytest.raises(ValueError, match="shift is finite"):
            training_times(2, 3, law="logit_normal", shift=shift)


def test_an_average_of_unlike_modules_is_left_as_it_was():
    average, model = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        model.weight.fill_(5.0)
    model.running_mean.fill_(3.0)
    for other in (nn.BatchNorm1d(2, track_running_stats=False), copy.deepcopy(model)):
        if other.running_mean is not None:
            other.running_mean = torch.zeros(3)
        with pytest.raises(ValueError, match="differ in.* running_mean|differ in running_mean"):
            update_average(average, other, 0.5)
        assert average.weight.tolist() == [1.0, 1.0]
    update_average(average, model, 0.75)
    assert average.weight.tolist() == [2.0, 2.0]
    assert average.running_mean.tolist() == [3.0, 3.0]


def test_a_loss_shows_its_knobs_and_can_be_copied():
    loss = AWMLoss(0.2, 0.7, 0.3, "ghuber", 0.5, "sum_first", "elbo")
    shown = "beta=0.2, beta_ema=0.7, clip_range=0.3, weighting='ghuber', power=0.5, loss_type='sum_first'"
    assert repr(loss) == f"AWMLoss({shown}, kl_weighting='elbo')"
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert repr(other) == repr(loss)
