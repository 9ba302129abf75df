"""CLASSP: the sheet's numbers, Adagrad and the released code as peers, and the equation itself."""

import warnings
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from entrokit.optim.classp import CLASSP
from entrokit.testing import optimizer_checks

from .classp_stream import GRADIENTS, W0, history, trained

# Some gradients of the sheet's stream are small throughout.
pytestmark = pytest.mark.filterwarnings("ignore:CLASSP")

KINDS = {
    "default": {},
    "gated": {"lr": 0.05, "threshold": 0.1, "eps": 1e-4},
    "released": {"mode": "reference", "power": 2.0},
}


def close(found, expected):
    """Six decimals are printed."""
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)


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


def test_squares_that_underflow_in_half_precision_pass_the_gate():
    param = torch.ones(2, dtype=torch.float16, requires_grad=True)
    optimizer = CLASSP([param], lr=0.5, threshold=0.25e-8)
    param.grad = torch.tensor([1e-4, 1e-5], dtype=torch.float16)
    assert float(param.grad.square().max()) == 0.0
    optimizer.step()
    assert history(optimizer).dtype == torch.float32
    assert history(optimizer).tolist() == [float(param.grad[0]), 0.0]
    assert param[0].item() < 1.0 == param[1].item()


def test_tied_weights_have_one_history():
    embedding = nn.Embedding(5, 3)
    head = nn.Linear(3, 5, bias=False)
    head.weight = embedding.weight
    optimizer = CLASSP(nn.ModuleList([embedding, head]).parameters(), lr=0.1)
    head(embedding(torch.tensor([1, 2]))).square().sum().backward()
    optimizer.step()
    assert [s.shape for s in optimizer.consolidation().values()] == [(5, 3)]
    assert torch.equal(history(optimizer), embedding.weight.grad.abs())


def test_the_eps_of_an_untouched_entry_is_not_zero():
    path, _ = trained(torch.zeros(1, 4), W0.float(), power=0.2, eps=1e-5)
    assert torch.equal(path[0], W0.float())
