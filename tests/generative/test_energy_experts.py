"""Experts of time: who answers, and what is not compared."""

import pytest
import torch
from torch import nn

from entrokit.generative.energy import (
    FokkerPlanckRegularizer,
    TimeExperts,
    fp_residual,
    fp_residual_weak,
    training_loss,
)

from .energy_cases import VP, X, drawn, float64, small


def three():
    ranges = [(0.0, 0.1), (0.1, 0.6), (0.6, 1.0)]
    return TimeExperts([small(seed=i, time_range=r) for i, r in enumerate(ranges)], ranges)


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


def test_no_difference_crosses_the_border_of_experts():
    """Sheet scoremd, pitfalls: energies of experts are not compared."""
    experts = TimeExperts(
        [small(time_range=(0.0, 0.1)), small(seed=1, time_range=(0.1, 1.0))], [(0.0, 0.1), (0.1, 1.0)]
    )
    inside, border = (torch.tensor([t], dtype=torch.float64) for t in (0.099, 0.0997))
    fp_residual_weak(experts, X, inside, VP)
    with pytest.raises(ValueError, match=r"smooth from 0 to 0\.1"):
        fp_residual_weak(experts, X, border, VP)
    with pytest.raises(ValueError, match=r"smooth from 0\.1 to 1"):
        fp_residual(experts, X, torch.tensor([0.1004], dtype=torch.float64), VP, dt="fd")


def test_no_points_have_no_scores():
    none = torch.zeros(0, 2, dtype=torch.float64)
    assert three().score(none, 0.5).shape == (0, 2)
    assert three().log_q(none, 0.5).shape == (0,)


def test_rows_come_back_in_their_order():
    """Of times in no order, and their gradients with them."""
    model = three()
    x, _ = drawn(6, 2, seed=21)
    (t,) = float64([0.7, 0.02, 0.3, 0.05, 0.9, 0.2])
    x.requires_grad_()
    alone = torch.cat([model.score(x[i : i + 1], t[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(model.score(x, t), alone)
    own, theirs = (torch.autograd.grad(s[3].sum(), x)[0] for s in (model.score(x, t), alone))
    torch.testing.assert_close(own, theirs)
    assert not own[[0, 1, 2, 4, 5]].any()


@pytest.mark.parametrize("own", [(0.0, 0.3), (0.1, 0.5)])
def test_an_expert_of_less_than_its_range_is_refused(own):
    """Its features would be clipped, and its energy stand still in time."""
    ranges = [(0.0, 0.5), (0.5, 1.0)]
    with pytest.raises(
        ValueError, match=r"expert 0 answers for \(0\.0, 0\.5\).*make it with time_range=\(0\.0, 0\.5\)"
    ):
        TimeExperts([small(time_range=own), small()], ranges)
    with pytest.raises(ValueError, match="expert 1 answers"):
        TimeExperts([small(), small(time_range=(0.6, 1.0))], ranges)
    TimeExperts([small(time_range=(0.0, 0.6)), small()], ranges)


def test_what_an_expert_cannot_take_says_whose_it_is():
    class Nan(nn.Module):
        def forward(self, x, t):
            return x * float("nan")

    model = TimeExperts([small(time_range=(0.0, 0.5)), Nan()], [(0.0, 0.5), (0.5, 1.0)])
    x, _ = drawn(3, 2, seed=22)
    (t,) = float64([0.7, 0.2, 0.8])
    with pytest.raises(ValueError, match="not finite at 2 of 2 points") as caught:
        model.score(x, t)
    assert caught.value.__notes__ == ["in expert 1, that of times 0.5 to 1; rows are counted among its own"]
    model.score(x, 0.2)


def test_experts_in_no_list_and_ranges_that_are_borders_are_named():
    with pytest.raises(TypeError, match="experts are a list of modules, one a range; they are a EnergyScore"):
        TimeExperts(small(), [(0.0, 1.0)])
    with pytest.raises(TypeError, match=r"ranges are pairs \(low, high\), one an expert"):
        TimeExperts([small(), small()], [0.0, 0.5, 1.0])
    TimeExperts(nn.ModuleList([small()]), [[0, 1]])


def test_an_expert_of_more_than_its_range_is_smooth_within_it():
    model = TimeExperts([small(), small()], [(0.0, 0.5), (0.5, 1.0)])
    low, high = model.smooth_range(torch.tensor([0.2, 0.7]))
    assert low.tolist() == [0.0, 0.5]
    assert high.tolist() == [0.5, 1.0]
