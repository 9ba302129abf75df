"""What Lion-K looks at before anything moves: gradients, knobs, groups, states, and a K of one's own."""

import copy
import math

import pytest
import torch

from entrokit.optim.lion_k import LionK, LionKMonitor

from .lion_k_cases import Smooth, draw, parameter


def test_a_k_of_ones_own_that_gives_another_shape_is_named():
    class Flat(Smooth):
        def grad(self, z):
            return z.flatten()

    p = parameter(draw(2, 2))
    start, p.grad = p.detach().clone(), draw(2, 2)
    with pytest.raises(ValueError, match=r"Flat.grad gave shape \[4\] for a tensor of \[2, 2\]"):
        LionK([p], K=Flat()).step()
    assert torch.equal(p.detach(), start)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_gradient_that_is_not_finite_is_refused_before_anything_moves(value, dtype):
    first, second = parameter(draw(3), dtype), parameter(draw(2, 3), dtype)
    optimizer = LionK([{"params": [first]}, {"params": [parameter(draw(2)), second]}], 0.1, weight_decay=0.1)
    for p in (first, second):
        p.grad = torch.ones_like(p)
    optimizer.step()
    start = [p.detach().clone() for p in (first, second)]
    held = copy.deepcopy(optimizer.state_dict()["state"])
    second.grad[1, 2] = value
    with pytest.raises(ValueError, match=r"1 of 6 values in the gradient of parameter 1 of group 1, shape \[2, 3\]"):
        optimizer.step()
    assert all(torch.equal(p.detach(), s) for p, s in zip((first, second), start, strict=True))
    for index, state in optimizer.state_dict()["state"].items():
        assert torch.equal(state["momentum"], held[index]["momentum"])


def test_a_refused_first_step_leaves_no_state():
    p = parameter(draw(2))
    optimizer = LionK([("head.weight", p)])
    p.grad = torch.tensor([math.nan, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"1 of 2 values in the gradient of 'head.weight', shape \[2\]"):
        optimizer.step()
    assert not optimizer.state


@pytest.mark.parametrize(("dtype", "large"), [(torch.float16, 6e4), (torch.float32, 3e38), (torch.float64, 1e300)])
def test_large_gradients_whose_sum_overflows_are_fine(dtype, large):
    p = parameter(torch.zeros(4), dtype)
    p.grad = torch.full_like(p, large)
    LionK([p], 0.5).step()
    assert p.tolist() == [-0.5] * 4


def test_sparse_gradients_are_refused_before_anything_moves():
    first, table = parameter(draw(3)), parameter(draw(4, 2))
    first.grad, table.grad = torch.ones(3, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64).to_sparse()
    start = first.detach().clone()
    with pytest.raises(ValueError, match="parameter 1 of group 0.* is sparse"):
        LionK([first, table]).step()
    assert torch.equal(first.detach(), start)


def test_empty_groups_and_empty_tensors_are_passed_over():
    empty, p = parameter(torch.zeros(0, 3)), parameter(draw(2))
    for K in ("l1", "l2", "nuclear", "logsumexp"):
        optimizer = LionK([{"params": []}, {"params": [empty]}, {"params": [p], "K": "l1"}], 0.1, K=K)
        empty.grad, p.grad = torch.zeros_like(empty), torch.ones_like(p)
        optimizer.step()
        assert list(optimizer.state) == [p]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"lr": -1.0}, "lr must be a number of at least 0, got -1.0"),
        ({"lr": math.nan}, "lr must be"),
        ({"weight_decay": torch.ones(2)}, "weight_decay must be a number"),
        ({"betas": (torch.full((2,), 0.9), 0.99)}, "betas are two numbers"),
        ({"weight_decay": math.inf}, "weight_decay must be a number of at least 0, got inf"),
        ({"betas": (0.9, 1.0)}, r"betas are two numbers in \[0, 1\), got \(0.9, 1.0\)"),
        ({"betas": (0.9,)}, "betas are two numbers"),
        ({"betas": 0.9}, r"betas are two numbers in \[0, 1\), got 0.9"),
        ({"betas": "99"}, "betas are two numbers"),
        ({"K": 1}, "1 lacks elementwise, least_at_zero, value, grad, distance"),
        ({"K": None}, "None lacks elementwise"),
        ({"K": Smooth}, "Smooth is a class; make one of it"),
        ({"scheme": "semi"}, "scheme is one of explicit, implicit, got 'semi'"),
        ({"K": "sign"}, "'sign' is none of l1"),
        ({"K": "huber"}, "'huber' with options"),
        ({"K": Smooth(), "K_kwargs": {"e": 1.0}}, "K_kwargs are for a K given by name"),
        ({"K": "top-k", "K_kwargs": {"k": math.inf}}, "k must be a whole number"),
        ({"K": "nuclear", "K_kwargs": {"newton_schulz": math.nan}}, "a number of steps"),
        ({"K": "nuclear"}, r"shape \[3\]"),
    ],
)
def test_bad_knobs_are_named(knobs, message):
    with pytest.raises(ValueError, match=message):
        LionK([parameter(draw(3))], **knobs)


def test_a_group_that_is_refused_is_not_added():
    optimizer = LionK([parameter(draw(2, 2))], K="nuclear")
    for group in ({"params": [parameter(draw(3))]}, {"params": [parameter(draw(2, 2))], "betas": (1.0, 1.0)}):
        with pytest.raises(ValueError, match=r"shape \[3\]|betas"):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


def test_a_refused_group_leaves_no_k_and_options_belong_to_names():
    optimizer, own = LionK([parameter(draw(2, 2))], K="nuclear"), Smooth()
    with pytest.raises(ValueError, match="lr must be"):
        optimizer.add_param_group({"params": [parameter(draw(2))], "K": own, "lr": -1.0})
    optimizer.add_param_group({"params": [parameter(draw(2))], "K": Smooth()})
    assert optimizer.param_groups[1]["K"] == "Smooth", "the first that was taken"
    with pytest.raises(ValueError, match="group 1: K_kwargs are for a K given by name, got {'e': 1.0} beside Smooth"):
        LionK([parameter(draw(2))], K=own).add_param_group({"params": [parameter(draw(2))], "K_kwargs": {"e": 1.0}})


@pytest.mark.parametrize(
    ("K", "options", "message"),
    [("nuclear", {}, r"shape \[2\]"), ("huber", {"e": 0.0}, "e must be"), ("l7", {}, "'l7' is none of")],
)
def test_a_k_that_was_set_since_is_looked_at_before_anything_moves(K, options, message):
    first, second = parameter(draw(3)), parameter(draw(2))
    optimizer = LionK([{"params": [first]}, {"params": [second]}])
    optimizer.param_groups[1].update(K=K, K_kwargs=options)
    first.grad, second.grad = torch.ones_like(first), torch.ones_like(second)
    start = first.detach().clone()
    with pytest.raises(ValueError, match=message):
        optimizer.step()
    assert torch.equal(first.detach(), start)
    assert not optimizer.state


@pytest.mark.parametrize(("K", "options"), [("top-k", {"k": 2.0}), ("nuclear", {"newton_schulz": 5.0})])
def test_whole_numbers_may_come_as_floats(K, options):
    """As they do from a file of settings."""
    found = []
    for kwargs in (options, {name: int(value) for name, value in options.items()}):
        p = parameter(draw(3, 3))
        p.grad = draw(3, 3, seed=1)
        LionK([p], 0.1, K=K, K_kwargs=kwargs).step()
        found.append(p.detach())
    assert torch.equal(*found)


def test_knobs_may_be_tensors():
    found = []
    for kind in (float, torch.tensor):
        p = parameter(draw(3))
        optimizer = LionK([p], kind(0.1), (kind(0.5), kind(0.75)), kind(0.5))
        for step in range(2):
            p.grad = draw(3, seed=step)
            optimizer.step()
        found.append((p.detach(), LionKMonitor(optimizer).on_step(1.0).lyapunov))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-7)
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-6)


@pytest.mark.parametrize("member", ["elementwise", "least_at_zero", "value", "grad", "conjugate", "distance"])
def test_a_k_of_ones_own_that_lacks_a_member_is_refused_by_name(member):
    lacking = type("Partial", (Smooth,), {member: None})()
    with pytest.raises(ValueError, match=f"lacks {member}$"):
        LionK([parameter(draw(3))], K=lacking)
    optimizer = LionK([parameter(draw(3))])
    with pytest.raises(ValueError, match=f"lacks {member}$"):
        optimizer.add_param_group({"params": [parameter(draw(3))], "K": lacking})
    assert len(optimizer.param_groups) == 1


def test_explicit_decay_beyond_zero_is_refused_before_anything_moves():
    first, second = parameter(draw(3)), parameter(draw(2))
    optimizer = LionK([{"params": [first]}, {"params": [second], "weight_decay": 3.0}], 1.0)
    first.grad, second.grad = torch.ones_like(first), torch.ones_like(second)
    start = [first.detach().clone(), second.detach().clone()]
    with pytest.raises(ValueError, match="lr 1 times weight_decay 3 is above 1 in group 1.*implicit"):
        optimizer.step()
    optimizer.param_groups[1].update(weight_decay=0.0, betas=0.9)
    with pytest.raises(ValueError, match="betas are two numbers"):
        optimizer.step()
    assert all(torch.equal(p.detach(), s) for p, s in zip((first, second), start, strict=True))
    assert not optimizer.state
    # As a scheduler does, whose lr is within bounds when it is time to step; and where nothing turns around.
    optimizer.param_groups[1].update(lr=1 / 3, weight_decay=3.0, betas=(0.9, 0.99))
    optimizer.step()
    optimizer.param_groups[1].update(lr=1.0, scheme="implicit")
    optimizer.step()
    assert bool(second.detach().abs().max() <= 1 / 3 + 1e-12)
