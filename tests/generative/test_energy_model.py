"""Energies and their scores: what they compute, and what networks they refuse."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from entrokit.generative.energy import (
    EnergyMLP,
    EnergyScore,
    FokkerPlanckRegularizer,
    fp_residual,
    fp_residual_weak,
    time_features,
    training_loss,
)

from .energy_cases import FORMS, TOY, VP, ExactEnergy, drawn, float64, small


def test_the_sheets_toy_densities():
    """Sheet scoremd, check 4."""
    (x,) = float64([[0.1, -0.2]])
    for t, log_p, score in ((1e-5, -27.067457, (0.853904, 1.153904)), (0.1, -24.469114, (0.923948, 1.223948))):
        at = x.clone().requires_grad_()
        found = ExactEnergy(TOY).log_q(at, torch.tensor([t], dtype=torch.float64))
        assert found.item() == pytest.approx(log_p, abs=5e-7)
        (gradient,) = torch.autograd.grad(found.sum(), at)
        assert gradient.flatten().tolist() == pytest.approx(score, abs=5e-7)


def test_a_score_is_conservative_and_its_energys_gradient():
    """Sheet scoremd, check 6."""
    model, (x, t) = small(3), drawn(4, 3, seed=0)
    at = x.clone().requires_grad_()
    score = model.score(at, t)
    own = torch.stack([torch.autograd.grad(score[:, i].sum(), at, retain_graph=True)[0] for i in range(3)], 1)
    assert own.abs().max() > 1e-3
    torch.testing.assert_close(own, own.transpose(1, 2), rtol=0, atol=1e-12)
    step = 1e-6 * torch.eye(3, dtype=torch.float64)[0]
    by_hand = (model.log_q(x + step, t) - model.log_q(x - step, t)) / 2e-6
    torch.testing.assert_close(model.score(x, t)[:, 0], by_hand, rtol=1e-6, atol=1e-8)
    log_q, score = model.log_q_and_score(x, t)
    assert torch.equal(log_q, model.log_q(x, t))
    assert torch.equal(score, model.score(x, t))
    assert torch.equal(score, model(x, t))


def test_features_of_time_are_the_sheets():
    (t,) = float64([0.0, 0.05, 0.25])
    first = time_features(t)
    assert first.shape == (3, 4)
    assert first[2].tolist() == pytest.approx([-0.25, 0.0, 1.0, 1.0], abs=1e-12)
    later = time_features(t, (0.1, 0.6))
    # Clipped to 0.1, where the rescaled time is 0.
    expected = [0.1 - 0.25, math.cos(0.2 * math.pi), math.sin(0.2 * math.pi), -math.cos(0.4 * math.pi), 1.0, 0.0, -1.0]
    assert later[0].tolist() == later[1].tolist() == pytest.approx(expected, abs=1e-12)
    assert later[2, 4:].tolist() == pytest.approx(
        [math.cos(0.6 * math.pi), math.sin(0.6 * math.pi), -math.cos(1.2 * math.pi)], abs=1e-12
    )


def test_scores_carry_graphs_only_where_gradients_are_on():
    model, (x, t) = small(), drawn(3, 2, seed=1)
    assert model.score(x, t).requires_grad
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            log_q, score = model.log_q_and_score(x.clone(), t.clone())
            assert not log_q.requires_grad
            assert not score.requires_grad
            torch.testing.assert_close(score, model.score(x, t).detach())


def test_a_network_of_ones_own_and_a_number_for_all_times():
    class Bilinear(nn.Module):
        def forward(self, x, features):
            return 0.5 * x.flatten(1).square().sum(1, keepdim=True) * features[:, 1:2]

    model = EnergyScore(Bilinear())
    x = torch.randn(3, 2, 2)
    torch.testing.assert_close(model.score(x, 0.125), -math.cos(math.pi / 4) * x)


def test_no_points_have_no_residuals():
    none = torch.zeros(0, 2, dtype=torch.float64)
    assert fp_residual(small(), none, 0.5, VP).shape == (0,)
    assert fp_residual_weak(small(), none, 0.5, VP)[1].shape == (0,)


def test_a_wrapper_is_told_apart_from_what_it_wraps():
    average = torch.optim.swa_utils.AveragedModel(small())
    x, t = drawn(3, 2, seed=18)
    with pytest.raises(TypeError, match=r"AveragedModel has no energy.*\.module of a wrapper"):
        fp_residual(average, x, t, VP)
    assert torch.equal(fp_residual(average.module, x, t, VP), fp_residual(small(), x, t, VP))


def test_networks_that_are_no_energies_are_refused():
    with pytest.raises(ValueError, match="BatchNorm1d"):
        EnergyScore(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)))
    with pytest.raises(ValueError, match=r"network's 1 is a Dropout"):
        EnergyScore(nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.1)))
    EnergyScore(nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.0)))
    with pytest.warns(UserWarning, match="constant in pieces"):
        EnergyScore(nn.Sequential(nn.Linear(6, 4), nn.ReLU()))
    for bad in ((0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (0.6, 0.2)):
        with pytest.raises(ValueError, match="time_range"):
            EnergyScore(EnergyMLP(2), bad)
    with pytest.raises(TypeError, match="time_range is a pair"):
        EnergyScore(EnergyMLP(2), (0.0, 0.5, 1.0))


def test_energies_of_another_shape_are_named():
    class Wide(nn.Module):
        def forward(self, x, features):
            return x

    class Cut:
        def log_q(self, x, t):
            return x[:1].sum(1)

    x, t = drawn(3, 2, seed=14)
    with pytest.raises(ValueError, match=r"an energy a point, \[3\].*\[3, 2\]"):
        EnergyScore(Wide()).log_q(x, t)
    with pytest.raises(ValueError, match=r"log_q gives a number a point, \[3\]; its shape is \[1\]"):
        fp_residual(Cut(), x, t, VP)


def test_energies_without_gradients_are_named():
    class Detached:
        def log_q(self, x, t):
            return x.detach().sum(1)

    with pytest.raises(ValueError, match="no gradient reaches x"):
        fp_residual(Detached(), *drawn(3, 2, seed=15), VP)


class Attending(nn.Module):
    """Of two tokens a point."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 16)

    def forward(self, x, features):
        q = self.inner(torch.cat([x, features], 1)).reshape(-1, 1, 2, 8)
        return nn.functional.scaled_dot_product_attention(q, q, q).flatten(1).sum(1)


def test_attention_has_second_derivatives():
    """Fused kernels of attention have none, and say so only in the caller's backward."""
    torch.manual_seed(0)
    model, (x0, t) = EnergyScore(Attending()).double(), drawn(4, 2, seed=19)
    for penalty in (None, FokkerPlanckRegularizer(1e-3)):
        model.zero_grad()
        training_loss(model, x0, t, VP, penalty).total.backward()
        assert model.network.inner.weight.grad.abs().max() > 0
    torch.testing.assert_close(model.score(x0, t).detach(), _without_graph(model, x0, t), rtol=1e-12, atol=1e-12)


def _without_graph(model, x, t):
    with torch.no_grad():
        return model.score(x, t)


def test_without_a_graph_kernels_are_the_callers():
    class Seen(nn.Module):
        def forward(self, x, features):
            fused.append(torch.backends.cuda.flash_sdp_enabled())
            return x.square().sum(1)

    fused, model = [], EnergyScore(Seen())
    model.score(torch.zeros(1, 2), 0.5)
    _without_graph(model, torch.zeros(1, 2), 0.5)
    assert fused == [False, True]


def test_a_networks_output_that_is_no_tensor_is_named():
    class Output:
        sample = torch.zeros(3, 2)

    class Wrapping(nn.Module):
        def forward(self, x, features):
            return Output()

    class Lawless:
        def log_q(self, x, t):
            return x.detach().sum(1).tolist()

    x, t = drawn(3, 2, seed=20)
    with pytest.raises(TypeError, match=r"an energy a point, a tensor \[3\]; it gave a Output: wrap"):
        EnergyScore(Wrapping()).score(x, t)
    with pytest.raises(TypeError, match=r"log_q must be a torch\.Tensor.*list"):
        fp_residual(Lawless(), x, t, VP)


@pytest.mark.parametrize("wrong", [lambda x, f: x.sum(1), EnergyMLP, None], ids=["function", "class", "none"])
def test_what_is_no_network_is_named(wrong):
    with pytest.raises(TypeError, match=r"network must be a torch\.nn\.Module"):
        EnergyScore(wrong)


def test_a_network_of_other_arguments_says_how_it_is_called():
    class Unet(nn.Module):
        def forward(self, sample, timestep):
            assert timestep.ndim < 2, "timesteps are 1d"
            return sample

    class Alone(nn.Module):
        def forward(self, x):
            return x.sum(1)

    for network, kind in ((Unet(), AssertionError), (Alone(), TypeError), (nn.Bilinear(2, 5, 1), RuntimeError)):
        with pytest.raises(kind) as caught:
            EnergyScore(network).log_q(torch.zeros(3, 2), 0.5)
        assert caught.value.__notes__[0].startswith("EnergyScore calls network(x [3, 2], time_features [3, 4])")


def test_points_of_another_dtype_than_the_network_are_named():
    model = EnergyScore.mlp(2, (4,))
    with pytest.raises(ValueError, match=r"points are of torch\.float64 and the network of torch\.float32"):
        model.score(torch.zeros(3, 2, dtype=torch.float64), 0.5)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((2, 64), TypeError, r"hidden has a width a layer, as in \(64, 64\); it is 64"),
        ((2, "64"), TypeError, "hidden has a width"),
        ((0,), ValueError, "dimensions: at least 1 is expected; it is 0"),
        ((2.0,), TypeError, r"dimensions is a whole number.*2\.0"),
        ((2, (8, 0)), ValueError, "hidden: at least 1"),
        ((2, (8,), 0.5), TypeError, r"time_range is a pair \(low, high\); it is 0\.5"),
    ],
)
def test_sizes_that_are_none_are_named(arguments, kind, message):
    with pytest.raises(kind, match=message):
        EnergyScore.mlp(*arguments)


def test_attention_that_drops_at_random_is_refused():
    with pytest.raises(ValueError, match=r"network's whole is a MultiheadAttention.*drawn anew"):
        EnergyScore(nn.MultiheadAttention(4, 1, dropout=0.1))
    EnergyScore(nn.MultiheadAttention(4, 1))


@pytest.mark.parametrize("t", [None, "0.5", object()], ids=["none", "text", "object"])
def test_times_that_are_no_numbers_are_named(t):
    with pytest.raises(TypeError, match=r"times are a tensor \[3\] or a number; t is a "):
        small().score(torch.zeros(3, 2, dtype=torch.float64), t)


def test_points_that_are_no_tensor_are_named():
    for wrong in (np.zeros((3, 2)), None, [[0.0, 0.0]]):
        with pytest.raises(TypeError, match=r"x must be a torch\.Tensor"):
            small().score(wrong, 0.5)
        for form in FORMS.values():
            with pytest.raises(TypeError, match=r"x must be a torch\.Tensor"):
                form(small(), wrong, 0.5, None)
