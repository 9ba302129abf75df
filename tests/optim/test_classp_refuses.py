"""What CLASSP looks at before it changes anything: knobs, parameters, gradients, and how many entries pass."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn

from entrokit.optim.classp import CLASSP

from .classp_stream import GRADIENTS, W0

pytestmark = pytest.mark.filterwarnings("ignore:CLASSP")


def test_density_is_the_share_that_passes():
    params = [W0.clone().requires_grad_(), torch.zeros(4, dtype=torch.float16).requires_grad_(), torch.zeros(3)]
    optimizer = CLASSP(params[:2], lr=0.1, threshold=0.1)
    assert optimizer.update_density() == 0.0
    params[0].grad = GRADIENTS[0].clone()
    params[1].grad = torch.tensor([1.0, 0.0, 0.0, 0.0]).half()
    optimizer.step()
    assert optimizer.update_density() == 3 / 8
    optimizer.param_groups[0]["threshold"] = -1.0
    assert optimizer.update_density() == 1.0
    optimizer.param_groups[0].update(threshold=0.5, mode="reference")
    assert optimizer.update_density() == 1.0
    params[1].grad.zero_()
    assert optimizer.update_density() == 0.5
    optimizer.param_groups[0]["threshold"] = 1.0
    assert optimizer.update_density() == 0.0


@pytest.mark.parametrize("hostile", [math.nan, math.inf, -math.inf, 1e200])
def test_the_density_of_gradients_that_a_step_would_refuse_is_nan(hostile):
    params = [W0.clone().requires_grad_() for _ in range(2)]
    optimizer = CLASSP([{"params": params[:1]}, {"params": params[1:], "power": 2.0}], lr=0.1)
    for param in params:
        param.grad = GRADIENTS[0].clone()
    assert optimizer.update_density() == 0.75
    params[1].grad[1] = hostile
    assert math.isnan(optimizer.update_density())


def test_the_density_of_sparse_gradients_is_refused():
    embedding = nn.Embedding(3, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse gradients.*group 0"):
        CLASSP(embedding.parameters()).update_density()


@pytest.mark.parametrize(
    "knobs", [{"power": 0}, {"eps": 0.0}, {"lr": math.nan}, {"threshold": math.nan}, {"mode": "x"}]
)
def test_knobs_set_between_tasks_are_looked_at_before_anything_changes(knobs):
    params = [W0.clone().requires_grad_() for _ in range(2)]
    optimizer = CLASSP([{"params": [param]} for param in params], lr=0.1)
    for param in params:
        param.grad = GRADIENTS[0].clone()
    optimizer.param_groups[1].update(knobs)
    for ask in (optimizer.step, optimizer.update_density):
        with pytest.raises(ValueError, match=f"CLASSP, group 1: {next(iter(knobs))}"):
            ask()
    assert all(torch.equal(param.detach(), W0) for param in params)
    assert optimizer.consolidation() == {}


def test_the_gate_sees_unscaled_gradients_under_a_scaler():
    found = []
    for scale in (1.0, 1024.0):
        param = W0.float().requires_grad_()
        optimizer = CLASSP([param], lr=0.1, threshold=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale((param * GRADIENTS[0].float()).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        found.append(param.detach())
    assert torch.equal(*found)
    optimizer.zero_grad()
    (param.sum() * math.inf * scaler.scale(torch.ones(()))).backward()
    scaler.step(optimizer)
    assert torch.equal(param.detach(), found[0])


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("hostile", [math.nan, math.inf, -math.inf, 1e200])
def test_a_gradient_that_would_poison_the_memory_is_refused_and_nothing_changes(hostile, foreach):
    params = [W0.clone().requires_grad_() for _ in range(3)]
    optimizer = CLASSP([{"params": params[:2]}, {"params": params[2:], "power": 2.0}], lr=0.1, foreach=foreach)
    for param in params:
        param.grad = GRADIENTS[0].clone()
    optimizer.step()
    held, before = copy.deepcopy(optimizer.state_dict()), [param.detach().clone() for param in params]
    params[2].grad[1] = hostile
    what = "to the power of 2 overflow" if hostile == 1e200 else "parameter 0 of group 1, shape .4.: 1 of 4 entries"
    with pytest.raises(RuntimeError, match=what):
        optimizer.step()
    assert all(torch.equal(param.detach(), old) for param, old in zip(params, before, strict=True))
    for index, state in optimizer.state_dict()["state"].items():
        assert torch.equal(state["consolidation"], held["state"][index]["consolidation"])


def test_how_large_a_gradient_may_be_is_its_own_precision_s_matter():
    wide, narrow = W0.clone().requires_grad_(), W0.float().requires_grad_()
    optimizer = CLASSP([narrow, wide], lr=0.1)
    narrow.grad, wide.grad = torch.ones(4), torch.tensor([-1e100, 1.0, 0.0, 0.0], dtype=torch.float64)
    optimizer.step()
    assert wide[0].item() == pytest.approx(1.1, abs=1e-12)
    narrow.grad = torch.full((4,), 1e30)
    optimizer.param_groups[0]["power"] = 2.0
    with pytest.raises(RuntimeError, match="power of 2 overflow"):
        optimizer.step()
    half = torch.zeros(2, dtype=torch.float16, requires_grad=True)
    half.grad = torch.full((2,), 6e4, dtype=torch.float16)
    CLASSP([half], lr=0.1, power=2.0).step()
    assert half.tolist() == pytest.approx([-0.1, -0.1], rel=1e-3), "squares are of the history's precision"
    # A root of a sum of roots is finite whatever they are.
    optimizer.param_groups[0].update(power=0.5, eps=1.0)
    optimizer.step()
    assert bool(narrow.isfinite().all())


def test_it_warns_once_where_nothing_passes():
    param = W0.clone().requires_grad_()
    optimizer = CLASSP([param], lr=0.1, threshold=0.5)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for gradient in (0.0 * W0, GRADIENTS[0], GRADIENTS[2], GRADIENTS[2], GRADIENTS[0], GRADIENTS[2]):
            param.grad = gradient.clone()
            optimizer.step()
    (warning,) = seen
    assert "the largest |g| is 0.05, its square 0.0025" in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"lr": -0.1}, "lr must be a finite number of at least 0, got -0.1"),
        ({"power": 0.0}, "power must be a finite number above 0, got 0.0"),
        ({"power": math.inf}, "power must be a finite number"),
        ({"power": "2"}, "power must be a finite number above 0, got 2"),
        ({"eps": 0.0}, "eps must be a finite number above 0"),
        ({"eps": None}, "eps must be a finite number above 0, got None"),
        ({"eps": 1e-50}, "is 0 in float32; raise eps"),
        ({"eps": 1e-5, "power": 0.1}, "is 0 in float32; raise eps"),
        ({"eps": 1e-50, "power": 2.0}, "is 0 in float32; raise eps"),
        ({"threshold": math.nan}, "threshold must be a number, got nan"),
        ({"mode": "official"}, "'paper' or 'reference', got 'official'"),
    ],
)
def test_bad_knobs_are_named_in_every_group(knobs, message):
    param = W0.clone().requires_grad_()
    with pytest.raises(ValueError, match=f"CLASSP, group 0: .*{message}"):
        CLASSP([param], **knobs)
    optimizer = CLASSP([param], lr=0.1)
    other = W0.clone().requires_grad_()
    with pytest.raises(ValueError, match=f"CLASSP, group 1: .*{message}"):
        optimizer.add_param_group({"params": [other], **knobs})
    assert len(optimizer.param_groups) == 1


def test_parameters_and_gradients_that_it_does_not_take():
    with pytest.raises(ValueError, match="empty parameter list"):
        CLASSP([])
    empty = CLASSP([{"params": []}, {"params": [W0.clone().requires_grad_()]}])
    empty.step()
    assert empty.consolidation() == {}
    embedding = nn.Embedding(3, 2, sparse=True)
    before = embedding.weight.detach().clone()
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse gradients.*group 0"):
        CLASSP(embedding.parameters()).step()
    assert torch.equal(embedding.weight.detach(), before)
