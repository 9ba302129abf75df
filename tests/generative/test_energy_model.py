"""Energies, experts of time, losses: what they compute, and what they refuse."""

import math

import pytest
import torch
from torch import nn

from entrokit.generative.energy import (
    EnergyMLP,
    EnergyScore,
    FokkerPlanckRegularizer,
    TimeExperts,
    denoising_loss,
    equal_weight,
    fp_residual,
    fp_residual_shared,
    fp_residual_weak,
    time_features,
    training_loss,
)

from .energy_cases import TOY, VP, ExactEnergy, Wrong, drawn, float64


def small(dimensions=2, seed=0, time_range=(0.0, 1.0), hidden=(8, 8)):
    torch.manual_seed(seed)
    return EnergyScore.mlp(dimensions, hidden, time_range).double()


def three():
    ranges = [(0.0, 0.1), (0.1, 0.6), (0.6, 1.0)]
    return TimeExperts([small(seed=i, time_range=r) for i, r in enumerate(ranges)], ranges)


def test_the_sheets_toy_densities():
    """Sheet scoremd, check 4."""
    (x,) = float64([[0.1, -0.2]])
    for t, log_p, score in ((1e-5, -27.067457, (0.853904, 1.153904)), (0.1, -24.469114, (0.923948, 1.223948))):
        at = x.clone().requires_grad_()
        found = ExactEnergy(TOY).log_q(at, torch.tensor([t], dtype=torch.float64))
        assert found.item() == pytest.approx(log_p, abs=5e-7)
        (gradient,) = torch.autograd.grad(found.sum(), at)
        assert gradient.flatten().tolist() == pytest.approx(score, abs=5e-7)


def test_the_sheets_weights():
    """Sheet scoremd, check 5."""
    t = torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64)
    assert equal_weight(t).tolist() == pytest.approx([1.666667, 1.666667, 0.714286], abs=5e-7)
    for midpoint, (low, high) in ((0.3, (0.0, 1.0)), (0.03, (0.0, 0.1)), (0.35, (0.1, 0.6)), (0.8, (0.6, 1.0))):
        below, above = ((a + b) / 2 for a, b in ((low, midpoint), (midpoint, high)))
        weights = equal_weight(torch.tensor([below, above]), midpoint, (low, high))
        halves = weights * torch.tensor([midpoint - low, high - midpoint]) / (high - low)
        assert halves.tolist() == pytest.approx([0.5, 0.5], rel=1e-5)


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


def test_denoising_is_least_for_the_exact_score():
    law = ExactEnergy(TOY)

    def exact(x, t):
        x = x.clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(law.log_q(x, t).sum(), x)[0]

    x0 = TOY.sample(4000, torch.Generator().manual_seed(0))
    t = torch.rand(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    own, less, more = (
        denoising_loss(lambda x, t, f=f: f * exact(x, t), x0, t, VP, generator=torch.Generator().manual_seed(2))
        for f in (1.0, 0.8, 1.2)
    )
    assert own < less
    assert own < more


def test_denoising_is_its_formula():
    x0, t = drawn(6, 2, seed=2)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    alpha, sigma = VP.alpha(t)[:, None], VP.sigma(t)[:, None]
    x = alpha * x0 + sigma * noise
    by_hand = (equal_weight(t) * (noise - sigma * torch.tanh(x)).square().mean(1)).mean()
    found = denoising_loss(lambda x, t: -torch.tanh(x), x0, t, VP, weight=equal_weight, generator=generator)
    torch.testing.assert_close(found, by_hand)


@pytest.mark.parametrize("form", ["weak", "shared"])
def test_the_penalty_is_its_formula(form):
    x, t = drawn(7, 3, seed=4)
    penalty = FokkerPlanckRegularizer(0.2, equal_weight, form, share=0.5)
    found = penalty(Wrong(), x, t, VP, torch.Generator().manual_seed(5))
    estimate = fp_residual_weak if form == "weak" else fp_residual_shared
    first, second = estimate(Wrong(), x[:4], t[:4], VP, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(found, 0.2 * (equal_weight(t[:4]) * first * second / 9).mean())
    assert FokkerPlanckRegularizer(0.1, form=form)(ExactEnergy(TOY), *drawn(3, 2, seed=5), VP).shape == ()


def test_times_at_the_ends_are_moved_inside_for_differences():
    x, _ = drawn(2, 2, seed=6)
    ends, inside = float64([1e-5, 1.0], [1e-3, 1 - 5e-4])
    penalty = FokkerPlanckRegularizer(1.0, form="weak")
    found, expected = (penalty(Wrong(), x, t, VP, torch.Generator().manual_seed(0)) for t in (ends, inside))
    assert torch.equal(found, expected)


def test_times_that_were_moved_are_inside_in_float32_too():
    """Of which a border, 1e-3 added and taken away again, may be short of itself."""
    penalty = FokkerPlanckRegularizer(1.0, form="weak")
    for low in torch.linspace(0.01, 0.9, 60).tolist():
        model = small(time_range=(low, low + 0.05), hidden=(2,)).float()
        assert penalty(model, torch.zeros(2, 2), torch.tensor([low, low + 0.05]), VP).isfinite()


@pytest.mark.parametrize("form", ["weak", "shared"])
def test_training_descends_the_sum_of_both(form):
    model, (x0, t) = small(), drawn(8, 2, seed=7)
    penalty = FokkerPlanckRegularizer(1e-3, equal_weight, form, share=0.4)
    loss = training_loss(model, x0, t, VP, penalty, weight=equal_weight, generator=torch.Generator().manual_seed(8))
    generator = torch.Generator().manual_seed(8)
    noise = torch.randn(8, 2, dtype=torch.float64, generator=generator)
    x = VP.alpha(t)[:, None] * x0 + VP.sigma(t)[:, None] * noise
    denoising = denoising_loss(model, x0, t, VP, weight=equal_weight, generator=torch.Generator().manual_seed(8))
    penalised = penalty(model, x, t, VP, generator)
    torch.testing.assert_close(loss.denoising, denoising.detach())
    torch.testing.assert_close(loss.fokker_planck, penalised.detach(), rtol=1e-6, atol=1e-9)
    parameters = list(model.parameters())[:-1]
    own = torch.autograd.grad(loss.total, parameters)
    both = torch.autograd.grad(denoising + penalised, parameters)
    for a, b in zip(own, both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("penalty", [None, FokkerPlanckRegularizer(0.0)], ids=["none", "alpha 0"])
def test_without_a_penalty_it_is_denoising(penalty):
    model, (x0, t) = small(), drawn(8, 2, seed=9)
    loss = training_loss(model, x0, t, VP, penalty, generator=torch.Generator().manual_seed(1))
    plain = denoising_loss(model, x0, t, VP, generator=torch.Generator().manual_seed(1))
    assert loss.total.item() == loss.denoising.item() == plain.item()
    assert loss.fokker_planck.item() == 0


def test_each_time_has_its_expert():
    model = three()
    x, _ = drawn(7, 2, seed=10)
    (t,) = float64([0.0, 0.0999, 0.1, 0.5, 0.6, 0.99, 1.0])
    assert model.owner(t).tolist() == [0, 0, 1, 1, 2, 2, 2]
    for i, owner in enumerate(model.owner(t)):
        own = model.experts[int(owner)]
        torch.testing.assert_close(model.score(x, t)[i : i + 1], own.score(x[i : i + 1], t[i : i + 1]))
        torch.testing.assert_close(model.log_q(x, t)[i : i + 1], own.log_q(x[i : i + 1], t[i : i + 1]))
    low, high = model.smooth_range(t)
    assert low.tolist() == [0.0, 0.0, 0.1, 0.1, 0.6, 0.6, 0.6]
    assert high.tolist() == [0.1, 0.1, 0.6, 0.6, 1.0, 1.0, 1.0]
    assert torch.equal(model(x, 0.05), model.experts[0].score(x, 0.05))


def test_a_residual_of_experts_is_the_experts():
    model = three()
    x, _ = drawn(3, 2, seed=11)
    (t,) = float64([0.05, 0.3, 0.8])
    each = [fp_residual(model.experts[i], x[i : i + 1], t[i : i + 1], VP) for i in range(3)]
    torch.testing.assert_close(fp_residual(model, x, t, VP), torch.cat(each))
    penalty = FokkerPlanckRegularizer(1.0, form="shared")
    loss = training_loss(model, x, t, VP, penalty)
    torch.autograd.backward(loss.total)
    assert all(next(iter(expert.parameters())).grad is not None for expert in model.experts)


def test_no_points_have_no_residuals_and_no_scores():
    none = torch.zeros(0, 2, dtype=torch.float64)
    assert fp_residual(small(), none, 0.5, VP).shape == (0,)
    assert fp_residual_weak(small(), none, 0.5, VP)[1].shape == (0,)
    assert three().score(none, 0.5).shape == (0, 2)


def test_losses_are_measured_without_gradients_too():
    model, (x0, t) = small(), drawn(8, 2, seed=17)
    for penalty in (None, FokkerPlanckRegularizer(1e-3), FokkerPlanckRegularizer(1e-3, form="weak")):
        with torch.no_grad():
            off = training_loss(model, x0, t, VP, penalty, generator=torch.Generator().manual_seed(0))
        on = training_loss(model, x0, t, VP, penalty, generator=torch.Generator().manual_seed(0))
        assert not off.total.requires_grad
        torch.testing.assert_close(off.total, on.total.detach())


def test_a_wrapper_is_told_apart_from_what_it_wraps():
    average = torch.optim.swa_utils.AveragedModel(small())
    x, t = drawn(3, 2, seed=18)
    with pytest.raises(TypeError, match=r"AveragedModel has no energy.*\.module of a wrapper"):
        fp_residual(average, x, t, VP)
    assert torch.equal(fp_residual(average.module, x, t, VP), fp_residual(small(), x, t, VP))


def test_an_expert_without_energy_is_named_where_one_is_asked_for():
    class ScoreNetwork(nn.Module):
        def forward(self, x, t):
            return -x

    model = TimeExperts([small(time_range=(0.0, 0.5)), ScoreNetwork()], [(0.0, 0.5), (0.5, 1.0)])
    x, _ = drawn(2, 2, seed=12)
    (t,) = float64([0.2, 0.7])
    assert torch.equal(model.score(x, t)[1], -x[1])
    fp_residual(model, x, torch.full_like(t, 0.2), VP)
    with pytest.raises(TypeError, match=r"the expert of t = 0\.7, a ScoreNetwork, has no energy"):
        fp_residual(model, x, t, VP)


def test_states_are_restored():
    model, other = three(), three()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(model.state_dict())
    x, t = drawn(5, 2, seed=13)
    assert torch.equal(model.score(x, t), other.score(x, t))


@pytest.mark.parametrize(
    "ranges",
    [[(0.0, 1.0)], [(0.0, 0.4), (0.5, 1.0)], [(0.0, 0.6), (0.5, 1.0)], [(0.1, 0.5), (0.5, 1.0)],
     [(0.0, 0.5), (0.5, 0.9)], [(0.0, 0.0), (0.0, 1.0)]],
)  # fmt: skip
def test_ranges_that_leave_times_out_or_give_them_two_are_refused(ranges):
    with pytest.raises(ValueError, match="range"):
        TimeExperts([small(), small()], ranges)


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


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": math.nan}, "alpha"),
        ({"alpha": math.inf}, "alpha"),
        ({"share": 0.0}, "share"),
        ({"share": 1.1}, "share"),
        ({"form": "strong"}, "form"),
    ],
)
def test_penalties_that_are_none_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        FokkerPlanckRegularizer(**knobs)


def test_losses_name_what_they_cannot_take():
    x0, t = drawn(3, 2, seed=16)
    with pytest.raises(ValueError, match=r"points shape, \[3, 2\]|its points' shape"):
        denoising_loss(lambda x, t: x[:, :1], x0, t, VP)
    with pytest.raises(ValueError, match=r"the score is not finite at 3 of 3"):
        denoising_loss(lambda x, t: x * math.nan, x0, t, VP)
    with pytest.raises(TypeError, match="neither has one"):
        denoising_loss(3, x0, t, VP)
    with pytest.raises(ValueError, match=r"there is one of 1\.5"):
        training_loss(small(), x0, 1.5, VP)
    with pytest.raises(TypeError, match="no energy"):
        training_loss(lambda x, t: -x, x0, t, VP, FokkerPlanckRegularizer(1.0))
    for none in (torch.zeros(0, 2), torch.zeros(0, 3, 2)):
        with pytest.raises(ValueError, match="empty batch"):
            denoising_loss(lambda x, t: -x, none, 0.5, VP)
        with pytest.raises(ValueError, match="empty batch"):
            FokkerPlanckRegularizer(1.0)(Wrong(), none, 0.5, VP)
    with pytest.raises(ValueError, match="midpoint"):
        equal_weight(t, 0.1, (0.1, 0.6))
    with pytest.raises(ValueError, match=r"times lie in \[0\.1, 0\.6\]; there is one of 0\.7"):
        equal_weight(torch.tensor([0.3, 0.7], dtype=torch.float64), 0.3, (0.1, 0.6))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (lambda t: t[:, None], r"a weight a time is expected, \[8\]; the weight's shape is \[8, 1\]"),
        (lambda t: t - 2, "finite and at least 0; that of t = "),
        (lambda t: t * math.nan, "is nan"),
    ],
)
def test_weights_that_are_none_are_named(weight, message):
    model, (x0, t) = small(), drawn(8, 2, seed=3)
    with pytest.raises(ValueError, match=message):
        denoising_loss(model, x0, t, VP, weight=weight)
    for form in ("shared", "weak"):
        with pytest.raises(ValueError, match=message):
            training_loss(model, x0, t, VP, FokkerPlanckRegularizer(1e-3, weight, form=form))
