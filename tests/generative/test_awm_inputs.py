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
    score_of_velocity,
    training_times,
    trust_region_decay,
    update_average,
)
from entrokit.generative.flow_entropy import flow_entropy

G = torch.Generator().manual_seed(0)
X0, NOISE, T = (torch.randn(4, 2, generator=G), torch.randn(4, 3, 2, generator=G), torch.rand(4, 3, generator=G))
A, ROWS, AT = torch.tensor([0.2, -0.1, 0.3, -0.2]), torch.randn(4, 2, generator=G), T[:, 0]
LOSS = AWMLoss(beta=0.1)


def still(x, t):
    return 0 * x


def other(x, t):
    return 0 * x


def loss_of(model=still, ref=other, x0=X0, a=A, t=T, noise=NOISE, **others):
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


@pytest.mark.parametrize(
    ("held", "call"),
    [
        ("samples", lambda: loss_of(x0=sample_sde(still, X0, 2))),
        ("sample", lambda: loss_of(x0=SimpleNamespace(sample=X0))),
        ("prev_sample", lambda: sample_ode(still, SimpleNamespace(prev_sample=X0))),
        ("images", lambda: interpolate(SimpleNamespace(images=X0), ROWS, AT)),
    ],
)
def test_of_what_holds_a_tensor_the_tensor_is_named(held, call):
    with pytest.raises(TypeError, match=rf"torch.Tensor, here its \.{held}; it is a "):
        call()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("steps must be a whole number; it is 20.0", lambda: sample_ode(still, X0, 20.0)),
        ("steps must be a whole number; it is a NoneType", lambda: sample_sde(still, X0, None)),
        ("steps must be a whole number; it is 2.5", lambda: flow_entropy(still, X0, 2.5)),
        ("steps must be a whole number; it is 14.5", lambda: training_times(4, 3, steps=14.5)),
        ("samples must be a whole number; it is a Size", lambda: training_times(X0.shape, 3)),
        ("count must be a whole number; it is a Tensor of shape", lambda: training_times(4, torch.tensor(3.0))),
        ("fraction must be a number", lambda: training_times(4, 3, fraction=None)),
        ("shift must be a number", lambda: training_times(4, 3, law="logit_normal", shift="3")),
        ("noise_level must be a number", lambda: sample_sde(still, X0, noise_level=None)),
        ("noise_level must be a number", lambda: ddpo_step(ROWS, X0, AT, 0.01, None)),
        ("noise_level must be a number", lambda: ddpo_step_logp(ROWS, X0, ROWS, AT, 0.01, None)),
        (r"dt must be a number; it is a Tensor of shape \[4\]", lambda: ddpo_step(ROWS, X0, AT, 0.01 * AT)),
        ("clip must be a number; it is a NoneType", lambda: group_advantages(A, clip=None)),
        ("max_abs must be a number", lambda: group_advantages(A, max_abs=None)),
        ("beta must be a number; it is a str", lambda: AWMLoss("awm-sd3")),
        ("power must be a number", lambda: AWMLoss(power=None)),
        ("power must be a number", lambda: matching_logp(ROWS, X0, ROWS, AT, "ghuber", None)),
        ("decay must be a number", lambda: update_average(nn.Linear(1, 1), nn.Linear(1, 1), None)),
        (
            "average must be a torch.nn.Module; it is a OrderedDict",
            lambda: update_average(nn.Linear(1, 1).state_dict(), nn.Linear(1, 1), 0.5),
        ),
        ("model must be a torch.nn.Module", lambda: update_average(nn.Linear(1, 1), None, 0.5)),
    ],
)
def test_a_knob_of_the_wrong_kind_is_named(name, call):
    with pytest.raises(TypeError, match=f"^{name}"):
        call()


def test_numbers_of_numpy_and_tensors_of_one_number_are_numbers():
    assert training_times(np.int64(4), torch.tensor(3), fraction=np.float32(0.5)).shape == (4, 3)
    mean, std = ddpo_step(ROWS, X0, 0.5 + 0 * AT, torch.tensor(0.25))
    assert torch.equal(mean, ddpo_step(ROWS, X0, 0.5 + 0 * AT, 0.25)[0])
    assert torch.equal(std, ddpo_step(ROWS, X0, 0.5 + 0 * AT, 0.25)[1])


def test_what_cannot_be_called_is_named():
    for call in (lambda: sample_ode(None, X0), lambda: loss_of(None), lambda: flow_entropy(ROWS, X0)):
        with pytest.raises(TypeError, match=r"velocity.* comes from a callable, velocity\(x, t\)"):
            call()


@pytest.mark.parametrize("make", [lambda x: x.long(), lambda x: x + 0j], ids=["whole", "complex"])
def test_velocities_that_would_be_cut_are_refused(make):
    for call in (lambda: sample_ode(lambda x, t: make(x), X0), lambda: loss_of(lambda x, t: make(x))):
        with pytest.raises(ValueError, match=r"velocity.* must be floating point; .*(int64|complex64)"):
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
        AWMLoss(beta=0.1, kl_weighting="elbo")(still, other, X0, A, 0 * T, NOISE)


def test_times_and_steps_without_an_answer_are_named():
    with pytest.raises(ValueError, match="time of 1"):
        ddpo_target_score(X0, ROWS, torch.tensor([0.5, 1.0, 0.2, 0.3]), 0.1)
    assert bool(torch.isfinite(ddpo_target_score(X0, ROWS, torch.full((4,), 0.99), 0.1)).all())
    for past in (-0.25, -1e-6):
        with pytest.raises(ValueError, match=r"times lie in \[0, 1\].*sample 2 is -"):
            interpolate(X0, ROWS, AT.index_fill(0, torch.tensor(2), past))
    assert torch.equal(interpolate(X0, ROWS, torch.tensor([0.0, 0.0, -0.0, 0.0])), X0)
    with pytest.raises(ValueError, match=r"time of 0 is data"):
        score_of_velocity(ROWS, X0, 0 * AT)
    with pytest.raises(ValueError, match="steps count from 0"):
        trust_region_decay(-1)
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


def test_a_step_ends_at_the_data_at_most():
    """That of half precision may be said to end a rounding beyond."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        t = torch.full((4,), 1 / 60, dtype=dtype)
        assert bool(torch.isfinite(ddpo_step(ROWS, X0, t, 1 / 60)[0]).all())
        for call in (lambda t=t: ddpo_step(ROWS, X0, t, 1 / 50), lambda t=t: ddpo_target_score(X0, ROWS, t, 20.0)):
            with pytest.raises(ValueError, match=r"step of dt = (0\.02|20) from t = 0\.01\d+ passes the data"):
                call()


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
    with pytest.raises(ValueError, match=r"average is the model itself"):
        update_average(model, model, 0.5)
    with pytest.raises(ValueError, match=r"module\.weight.* of a wrapper .* hand over its \.module"):
        update_average(torch.optim.swa_utils.AveragedModel(average), model, 0.5)
    update_average(average, model, 0.75)
    assert average.weight.tolist() == [2.0, 2.0]
    assert average.running_mean.tolist() == [3.0, 3.0]


def test_a_loss_shows_its_knobs_and_can_be_copied():
    loss = AWMLoss(0.2, 0.7, 0.3, "ghuber", 0.5, "sum_first", "elbo")
    shown = "beta=0.2, beta_ema=0.7, clip_range=0.3, weighting='ghuber', power=0.5, loss_type='sum_first'"
    assert repr(loss) == f"AWMLoss({shown}, kl_weighting='elbo')"
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert repr(other) == repr(loss)
