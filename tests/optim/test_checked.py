"""What LionK and CLASSP look at alike before they take a param group or a state over, and what they go on with."""

import copy
import math

import pytest
import torch
from torch import nn

from entrokit.optim.classp import CLASSP
from entrokit.optim.lion_k import LionK

from .lion_k_cases import draw, parameter

BUFFERS = {LionK: "momentum", CLASSP: "consolidation"}
pytestmark = pytest.mark.parametrize("kind", BUFFERS, ids=lambda kind: kind.__name__)


def stepped(kind, params, steps=2, **knobs):
    optimizer = kind(params, **{"lr": 0.1, **knobs})
    for step in range(steps):
        for index, p in enumerate(params):
            p.grad = draw(*p.shape, seed=10 * step + index, dtype=p.dtype)
        optimizer.step()
    return optimizer


def states(optimizer):
    return {index: copy.deepcopy(state) for index, state in optimizer.state_dict()["state"].items()}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda x: x[0], r"of parameter 1 has shape \[4\], and the parameter \[3, 4\]; load into the model"),
        (lambda x: x[:1, :1], r"has shape \[1, 1\]"),
        (lambda x: x.index_fill(0, torch.tensor([1]), math.nan), "of parameter 1 is not finite"),
        (lambda x: x.index_fill(0, torch.tensor([1]), math.inf), "of parameter 1 is not finite"),
    ],
    ids=["another shape", "one that broadcasts", "NaN", "infinite"],
)
def test_a_state_that_no_step_can_go_on_from_is_refused_and_nothing_loaded(kind, broken, message):
    params = [parameter(draw(5)), parameter(draw(3, 4))]
    optimizer = stepped(kind, params)
    saved, held = copy.deepcopy(optimizer.state_dict()), states(optimizer)
    saved["param_groups"][0]["lr"] = 0.7
    saved["state"][0][BUFFERS[kind]].zero_()
    saved["state"][1][BUFFERS[kind]] = broken(saved["state"][1][BUFFERS[kind]])
    with pytest.raises(ValueError, match=f"{kind.__name__}.load_state_dict: {BUFFERS[kind]} .*{message}"):
        optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] == 0.1
    for index, state in optimizer.state_dict()["state"].items():
        assert torch.equal(state[BUFFERS[kind]], held[index][BUFFERS[kind]])


def test_a_state_of_other_groups_is_refused_by_torch_and_nothing_loaded(kind):
    optimizer, other = (stepped(kind, [parameter(draw(n)) for n in sizes]) for sizes in ((3,), (4, 3)))
    held = states(optimizer)
    with pytest.raises(ValueError, match="size of optimizer's group"):
        optimizer.load_state_dict(other.state_dict())
    assert torch.equal(optimizer.state_dict()["state"][0][BUFFERS[kind]], held[0][BUFFERS[kind]])


@pytest.mark.parametrize("peer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
@pytest.mark.parametrize("steps", [0, 1])
def test_another_optimizer_s_state_is_refused_with_what_it_lacks(kind, peer, steps):
    p = parameter(draw(3))
    optimizer = stepped(kind, [p])
    other, held = peer([p], lr=0.7), states(optimizer)
    for _ in range(steps):
        other.step()
    with pytest.raises(ValueError, match=f"{kind.__name__}.*another optimiser's state; group 0 lacks "):
        optimizer.load_state_dict(other.state_dict())
    broken = copy.deepcopy(optimizer.state_dict())
    broken["state"][0] = {"exp_avg": torch.zeros(3)}
    with pytest.raises(ValueError, match=f"parameter 0 lacks {BUFFERS[kind]}, and has exp_avg"):
        optimizer.load_state_dict(broken)
    broken["param_groups"][0]["lr"] = -1.0
    with pytest.raises(ValueError, match=f"{kind.__name__}, group 0: lr must be"):
        optimizer.load_state_dict(broken)
    with pytest.raises(ValueError, match="it lacks param_groups, state"):
        optimizer.load_state_dict({"weight": p})
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert torch.equal(optimizer.state_dict()["state"][0][BUFFERS[kind]], held[0][BUFFERS[kind]])


def test_a_state_that_was_only_looked_at_is_none(kind):
    """`state` makes an empty entry of whoever is asked for."""
    p = parameter(draw(3))
    optimizer = kind([p], lr=0.1)
    assert not optimizer.state[p]
    optimizer.load_state_dict(optimizer.state_dict())
    if kind is CLASSP:
        optimizer.decay_consolidation()
        assert optimizer.consolidation() == {}
        p.grad = torch.ones_like(p)
        assert optimizer.average_grad_sum() == 0.0
    start, p.grad = p.detach().clone(), torch.ones_like(p)
    optimizer.step()
    assert not torch.equal(p.detach(), start)


@pytest.mark.parametrize(("before", "after"), [(torch.float64, torch.float32), (torch.float32, torch.bfloat16)])
def test_a_state_goes_on_in_another_dtype(kind, before, after):
    optimizer = stepped(kind, [parameter(draw(3, 4), before)])
    other = kind([parameter(draw(3, 4), after)], lr=5.0)
    other.load_state_dict(optimizer.state_dict())
    (p,) = other.param_groups[0]["params"]
    own = other.state[p][BUFFERS[kind]]
    wanted = torch.float32 if kind is CLASSP else after
    assert own.dtype == wanted
    assert torch.equal(own, optimizer.state_dict()["state"][0][BUFFERS[kind]].to(wanted))
    p.grad = torch.ones_like(p)
    other.step()
    assert p.dtype == after


@pytest.mark.parametrize(
    ("param", "message"),
    [
        (lambda: torch.zeros(2, 3, dtype=torch.complex64), r"parameter 1 of group \d, shape \[2, 3\], is complex"),
        (lambda: torch.zeros(3, 1).expand(3, 2), r"parameter 1 of group \d, shape \[3, 2\], is expanded.*clone it"),
        (lambda: torch.zeros(2, device="meta"), r"parameter 1 of group \d, shape \[2\], is on the meta device"),
    ],
)
def test_parameters_that_no_step_can_be_made_of_are_refused(kind, param, message):
    # Of one entry, nothing is shared, whatever its stride.
    fine = nn.Parameter(torch.zeros(()).expand(1))
    with pytest.raises(ValueError, match=message):
        kind([fine, nn.Parameter(param())])
    optimizer = kind([fine])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [parameter(draw(2)), nn.Parameter(param())]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("lr", [None, "0.1", torch.ones(2), 1j, math.nan, math.inf, -0.1])
def test_an_lr_that_is_no_number_is_named_and_the_group_not_added(kind, lr):
    optimizer = kind([parameter(draw(2))])
    for ask in (
        lambda: kind([parameter(draw(2))], lr=lr),
        lambda: optimizer.add_param_group({"params": [parameter(draw(2))], "lr": lr}),
    ):
        with pytest.raises(ValueError, match=rf"{kind.__name__}, group \d: lr must be a .*number"):
            ask()
    assert len(optimizer.param_groups) == 1


def test_a_lazy_module_may_come_first(kind):
    model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2))
    optimizer = kind(model.parameters(), lr=0.1)
    model(torch.ones(4, 5)).square().sum().backward()
    start = model[0].weight.detach().clone()
    optimizer.step()
    assert not torch.equal(model[0].weight.detach(), start)


def test_what_a_step_in_inference_mode_made_is_no_dead_end(kind):
    params = [[parameter(draw(3, 4)), parameter(draw(2))] for _ in range(2)]
    plain, inside = (kind(own, lr=0.1) for own in params)
    for step in range(3):
        for own in params:
            for index, p in enumerate(own):
                p.grad = draw(*p.shape, seed=10 * step + index)
        plain.step()
        with torch.inference_mode(step == 0):
            inside.step()
    assert all(torch.equal(a.detach(), b.detach()) for a, b in zip(*params, strict=True))


@pytest.mark.parametrize("foreach", [False, True])
def test_gradients_may_be_expanded_transposed_and_of_another_precision(kind, foreach):
    found = []
    for plain in (True, False):
        params = [parameter(draw(3, 4)), parameter(draw(4, 4)), parameter(draw(2, 3), torch.float32)]
        optimizer = kind(params, lr=0.1, foreach=foreach)
        wide = params[2]
        wide.grad_dtype = None
        for step in range(2):
            grads = [draw(3, 1, seed=step).expand(3, 4), draw(4, 4, seed=10 + step).T, draw(2, 3, seed=20 + step)]
            for p, grad in zip(params, grads, strict=True):
                p.grad = grad.to(p.dtype).clone() if plain else grad
            optimizer.step()
        found.append([p.detach().clone() for p in params])
    for one, other in zip(*found, strict=True):
        # A gradient in float64 is rounded to the parameter's precision, or used as it is.
        torch.testing.assert_close(one, other, atol=1e-6 if one.dtype == torch.float32 else 0.0, rtol=0)


def test_a_gradient_scaler_skips_what_is_infinite(kind):
    p = parameter(draw(3), torch.float32)
    optimizer, scaler = kind([p], lr=0.1), torch.amp.GradScaler("cpu", init_scale=4.0)
    start, moved = p.detach().clone(), []
    for factor in (1.0, math.inf):
        optimizer.zero_grad()
        scaler.scale((p * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        moved.append(p.detach().clone())
    assert not torch.equal(moved[0], start)
    assert torch.equal(*moved)


def test_accelerate_prepares_it_and_its_state(kind):
    accelerate = pytest.importorskip("accelerate")
    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    accelerator = accelerate.Accelerator(cpu=True)
    model, prepared, schedule = accelerator.prepare(model, optimizer, schedule)
    for _ in range(2):
        prepared.zero_grad()
        accelerator.backward(model(torch.ones(4, 3)).square().sum())
        prepared.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.025
    # Once it has been loaded torch takes it for one that could be differentiated.
    for _ in range(2):
        prepared.load_state_dict(prepared.state_dict())
    assert {key for state in optimizer.state.values() for key in state} == {BUFFERS[kind]}
