"""CLASSP: the sheet's numbers, Adagrad and the released code as peers, and what it refuses."""

import copy
import io
import math
import warnings
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from entrokit.optim.classp import CLASSP
from entrokit.testing import optimizer_checks

# Some gradients of the sheet's stream are small throughout.
pytestmark = pytest.mark.filterwarnings("ignore:CLASSP")

W0 = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
GRADIENTS = torch.tensor(
    [[0.9, -0.2, 0.0, 0.6], [-0.1, 0.8, 0.3, 0.4], [0.05, 0.05, -0.05, 0.05], [1.0, -1.0, 0.5, 0.0]],
    dtype=torch.float64,
)
KINDS = {
    "default": {},
    "gated": {"lr": 0.05, "threshold": 0.1, "eps": 1e-4},
    "released": {"mode": "reference", "power": 2.0},
    "unscaled": {"apply_scaling": False, "lr": 0.05, "threshold": 0.01},
}


def close(found, expected):
    """Six decimals are printed."""
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)


def trained(gradients=GRADIENTS, start=W0, **knobs):
    """The parameter after every step, and the optimizer."""
    param = start.clone().requires_grad_()
    optimizer = CLASSP([param], **{"lr": 0.1, "eps": 1e-5, **knobs})
    path = []
    for gradient in gradients:
        param.grad = gradient.clone()
        optimizer.step()
        path.append(param.detach().clone())
    return path, optimizer


def history(optimizer):
    (found,) = optimizer.consolidation().values()
    return found


CHECKS = [(kind, check) for kind, knobs in KINDS.items() for check in optimizer_checks(partial(CLASSP, **knobs))]


@pytest.mark.parametrize(("kind", "check"), CHECKS, ids=str)
def test_it_keeps_what_an_optimizer_promises(kind, check):
    check()


def test_check_1_paper_mode_at_power_1():
    path, optimizer = trained(threshold=0.1)
    close(path[0], [0.900001, 2, -1, 0.400002])
    close(path[1], [0.900001, 1.900001, -1, 0.360002])
    assert torch.equal(path[2], path[1])
    close(path[3], [0.847370, 1.955556, -1.099998, 0.360002])
    close(history(optimizer), [1.9, 1.8, 0.5, 1.0])


def test_check_2_paper_mode_at_power_2():
    path, optimizer = trained(threshold=0.5, power=2)
    close(path[-1], [0.825671, 1.978087, -1, 0.5])
    close(history(optimizer), [1.81, 1.64, 0, 0])


@pytest.mark.parametrize("threshold", [-1.0, 0.0])
@pytest.mark.parametrize("foreach", [False, True])
def test_check_3_an_open_gate_at_power_2_is_adagrad(threshold, foreach):
    path, optimizer = trained(threshold=threshold, power=2, foreach=foreach)
    param = W0.clone().requires_grad_()
    peer = torch.optim.Adagrad([param], lr=0.1, eps=0, initial_accumulator_value=1e-5)
    for gradient, own in zip(GRADIENTS, path, strict=True):
        param.grad = gradient.clone()
        peer.step()
        torch.testing.assert_close(own, param.detach(), atol=1e-12, rtol=0)
    close(path[-1], [0.831457, 2.074016, -1.168990, 0.337615])
    torch.testing.assert_close(history(optimizer) + 1e-5, peer.state[param]["sum"], atol=1e-12, rtol=0)


def released(gradients, start, lr, threshold, eps, power, scaled=True):
    """The released rule, in the order of its operations."""
    w, total = start.clone(), torch.zeros_like(start)
    for g in gradients:
        if (g**2).any() > threshold:
            total.add_(g.abs())
            scale = lr / (total + eps).pow(1 / power) if scaled else lr
            w.add_(-scale * g)
    return w, total


def test_check_4_the_released_code_has_neither_gate_nor_power():
    path, optimizer = trained(mode="reference", power=2, threshold=0.5)
    close(path[-1], [0.840410, 2.029684, -1.100552, 0.377662])
    close(history(optimizer), [2.05, 2.05, 0.85, 1.05])
    with pytest.warns(UserWarning, match="no gradient passes"):
        path, _ = trained(mode="reference", power=2, threshold=1.0)
    assert all(torch.equal(w, W0) for w in path)


@pytest.mark.parametrize("power", [0.7, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("threshold", [-0.5, 0.0, 0.99])
@pytest.mark.parametrize("scaled", [True, False])
def test_reference_mode_is_the_released_code_bit_for_bit(power, threshold, scaled):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(37, generator=generator)
    gradients = torch.randn(6, 37, generator=generator)
    gradients[2] = 0.0
    wanted, total = released(gradients, start, 0.1, threshold, 1e-3, power, scaled)
    for foreach in (False, True):
        knobs = {"power": power, "threshold": threshold, "apply_scaling": scaled, "foreach": foreach}
        path, optimizer = trained(gradients, start, mode="reference", eps=1e-3, **knobs)
        assert torch.equal(path[-1], wanted)
        assert torch.equal(history(optimizer), total)


def test_check_5_without_scaling_what_passes_moves_by_the_gradient():
    path, optimizer = trained(apply_scaling=False, threshold=0.5)
    passes = GRADIENTS.square() > 0.5
    wanted = W0 - 0.1 * torch.where(passes, GRADIENTS, 0.0).cumsum(0)
    torch.testing.assert_close(torch.stack(path), wanted, atol=1e-12, rtol=0)
    torch.testing.assert_close(history(optimizer), (passes * GRADIENTS.abs()).sum(0), atol=1e-12, rtol=0)


def test_check_6_groups_have_knobs_of_their_own():
    params = [W0.clone().requires_grad_() for _ in range(3)]
    groups = [{"params": params[:1], "lr": 0.1}, {"params": params[1:2], "lr": 1.0}]
    optimizer = CLASSP([*groups, {"params": params[2:], "threshold": 0.5, "power": 2.0, "mode": "reference"}])
    for param in params:
        param.grad = GRADIENTS[0].clone()
    optimizer.step()
    first, second = ((W0 - param.detach()) for param in params[:2])
    torch.testing.assert_close(second, 10.0 * first, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        params[2].detach(), released(GRADIENTS[:1], W0, 0.2, 0.5, 1e-5, 2.0)[0], atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_check_7_the_memory_survives_saving(dtype):
    start = nn.Parameter(W0.to(dtype, copy=True))
    optimizer = CLASSP([start], lr=0.1, threshold=0.01)
    steps = torch.cat([GRADIENTS, GRADIENTS.flip(0)]).to(dtype)
    for gradient in steps[:5]:
        start.grad = gradient
        optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = copy.deepcopy(start)
    other = CLASSP([again], lr=7.0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for gradient in steps[5:]:
        for param, own in ((start, optimizer), (again, other)):
            param.grad = gradient
            own.step()
    assert torch.equal(start, again)
    assert torch.equal(history(optimizer), history(other))
    assert history(other).dtype == torch.promote_types(dtype, torch.float32)


def test_another_optimizer_s_state_is_refused():
    param = W0.clone().requires_grad_()
    param.grad = GRADIENTS[0].clone()
    peer, own = torch.optim.Adagrad([param]), CLASSP([param], lr=0.5)
    for stepped in (peer, torch.optim.Adam([param]), torch.optim.SGD([param], 0.1)):
        for _ in range(2):
            # Fresh ones have no state of any parameter.
            with pytest.raises(ValueError, match="another optimizer's state; group 0 has no .*power, threshold"):
                own.load_state_dict(stepped.state_dict())
            stepped.step()
    bare = own.state_dict()
    with pytest.raises(ValueError, match="it has no 'consolidation'"):
        own.load_state_dict({**bare, "state": {0: {"sum": torch.zeros(4)}}})
    with pytest.raises(ValueError, match="it has no param_groups, state"):
        own.load_state_dict({"weight": param})
    bare["param_groups"][0]["power"] = 0.0
    with pytest.raises(ValueError, match="CLASSP, group 0: power must be finite and above 0"):
        own.load_state_dict(bare)
    assert own.param_groups[0]["lr"] == 0.5
    assert own.param_groups[0]["power"] == 1.0
    own.step()


def test_the_lagged_sum_of_the_typeset_equation_leaps():
    lagged = W0[0] - 0.1 * GRADIENTS[0, 0] / 1e-5
    assert float(lagged) == pytest.approx(-8999.0)
    path, _ = trained()
    assert float(path[0][0]) == pytest.approx(1.0 - 0.1 * 0.9 / (1e-5 + 0.9), abs=1e-12)


numbers = st.floats(-3.0, 3.0, allow_nan=False).filter(lambda x: x == 0.0 or abs(x) > 1e-3)


@given(
    st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from([-1.0, 0.0, 0.3, 2.0]),
    st.sampled_from([0.5, 1.0, 1.5, 2.0, 4.0]),
    st.booleans(),
    st.booleans(),
)
def test_a_stream_is_the_equation_entry_by_entry(stream, threshold, power, scaled, foreach):
    start = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    gradients = torch.tensor(stream, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path, optimizer = trained(
            gradients, start, threshold=threshold, power=power, apply_scaling=scaled, foreach=foreach, eps=1e-2
        )
    for i, w in enumerate(start.tolist()):
        total = 0.0
        for g in gradients[:, i].tolist():
            if g * g > threshold:
                total += abs(g) ** power
                w -= 0.1 * g / ((1e-2 + total) ** (1 / power) if scaled else 1.0)
        assert path[-1][i].item() == pytest.approx(w, abs=1e-9)
        assert history(optimizer)[i].item() == pytest.approx(total, abs=1e-9)


@given(st.lists(numbers, min_size=2, max_size=8), st.sampled_from([1.0, 2.0]))
def test_the_more_an_entry_received_the_less_it_moves(gradients, power):
    path, optimizer = trained(
        torch.tensor(gradients, dtype=torch.float64)[:, None], torch.zeros(1).double(), power=power
    )
    before = path[-1].clone()
    (param,) = optimizer.consolidation()
    for _ in range(3):
        param.grad = torch.ones(1, dtype=torch.float64)
        start = param.detach().clone()
        optimizer.step()
        moved = float(start - param.detach())
        assert 0.0 < moved <= 0.1 / (1e-5 + sum(abs(g) ** power for g in gradients) + 1.0) ** (1 / power) + 1e-12
    assert param.item() < before.item()


def test_scaling_is_switched_between_tasks():
    param = W0.clone().requires_grad_()
    optimizer = CLASSP([param], lr=0.1, threshold=0.5, apply_scaling=False)
    param.grad = GRADIENTS[0].clone()
    optimizer.step()
    close(param.detach(), [0.91, 2, -1, 0.5])
    optimizer.param_groups[0].update(threshold=0.0, apply_scaling=True)
    param.grad = GRADIENTS[1].clone()
    optimizer.step()
    # The first entry has received 0.9 already, the others nothing.
    close(param.detach(), [0.91 + 0.01 / 1.00001, 2 - 0.08 / 0.80001, -1 - 0.03 / 0.30001, 0.5 - 0.04 / 0.40001])


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


def test_the_average_of_what_was_received():
    _, optimizer = trained(threshold=0.1)
    assert optimizer.average_grad_sum() == pytest.approx((1.9 + 1.8 + 0.5 + 1.0) / 4, abs=1e-12)
    late = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer.add_param_group({"params": [late]})
    assert optimizer.average_grad_sum() == pytest.approx(1.3, abs=1e-12)
    late.grad = torch.zeros(4, dtype=torch.float64)
    assert optimizer.average_grad_sum() == pytest.approx(1.3, abs=1e-12)
    optimizer.zero_grad()
    assert optimizer.average_grad_sum() == 0.0


def test_what_is_consolidated_can_be_let_go():
    _, optimizer = trained()
    held = history(optimizer).clone()
    optimizer.decay_consolidation(0.25)
    assert torch.equal(history(optimizer), 0.25 * held)
    optimizer.decay_consolidation()
    assert torch.equal(history(optimizer), torch.zeros(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="0 to 1, got 1.5"):
        optimizer.decay_consolidation(1.5)


def test_squares_that_underflow_in_half_precision_pass_the_gate():
    param = torch.ones(2, dtype=torch.float16, requires_grad=True)
    optimizer = CLASSP([param], lr=0.5, threshold=0.25e-8)
    param.grad = torch.tensor([1e-4, 1e-5], dtype=torch.float16)
    assert float(param.grad.square().max()) == 0.0
    optimizer.step()
    assert history(optimizer).dtype == torch.float32
    assert history(optimizer).tolist() == [float(param.grad[0]), 0.0]
    assert param[0].item() < 1.0 == param[1].item()


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


def test_tied_weights_have_one_history():
    embedding = nn.Embedding(5, 3)
    head = nn.Linear(3, 5, bias=False)
    head.weight = embedding.weight
    optimizer = CLASSP(nn.ModuleList([embedding, head]).parameters(), lr=0.1)
    head(embedding(torch.tensor([1, 2]))).square().sum().backward()
    optimizer.step()
    assert [s.shape for s in optimizer.consolidation().values()] == [(5, 3)]
    assert torch.equal(history(optimizer), embedding.weight.grad.abs())


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


def test_the_eps_of_an_untouched_entry_is_not_zero():
    path, _ = trained(torch.zeros(1, 4), W0.float(), power=0.2, eps=1e-5)
    assert torch.equal(path[0], W0.float())


def complex_parameter():
    return torch.zeros(2, dtype=torch.complex64, requires_grad=True)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"lr": -0.1}, "lr must be finite and at least 0, got -0.1"),
        ({"lr": math.nan}, "lr must be finite"),
        ({"power": 0.0}, "power must be finite and above 0"),
        ({"power": math.inf}, "power must be finite"),
        ({"eps": 0.0}, "eps must be finite and above 0"),
        ({"eps": 1e-50}, "is 0 in float32; raise eps"),
        ({"eps": 1e-5, "power": 0.1}, "is 0 in float32; raise eps"),
        ({"threshold": math.nan}, "threshold is NaN"),
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
    with pytest.raises(ValueError, match="complex"):
        CLASSP([complex_parameter()])
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
