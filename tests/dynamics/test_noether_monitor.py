"""The monitor: the discrete law of every symmetry under SGD in all its forms, and what breaks or moves behind it."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from entrokit.dynamics.noether import (
    Balance,
    NoetherMonitor,
    Part,
    Symmetry,
    find_symmetries,
    lagrangian_residual,
    predict_norm_sq_from_velocity,
)

from .noether_network import X, backward, largest, network, watched

OPTIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "decay": {"momentum": 0.9, "weight_decay": 0.1},
    "dampened": {"momentum": 0.9, "weight_decay": 0.1, "dampening": 0.5},
    "dampening without momentum": {"weight_decay": 0.1, "dampening": 0.5},
    "maximize": {"momentum": 0.5, "weight_decay": 0.1, "maximize": True},
    "one by one": {"momentum": 0.9, "weight_decay": 0.1, "foreach": False},
    "a tensor as rate": {"lr": torch.tensor(0.05, dtype=torch.float64), "momentum": 0.9, "foreach": False},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_law_holds_to_rounding_under_sgd_in_all_its_forms(options):
    model = network()
    monitor = NoetherMonitor(model, torch.optim.SGD(model.parameters(), **({"lr": 0.05} | options)))
    for n in range(6):
        watched(model, None, 1, monitor)
        assert largest(monitor) < 1e-12, n
    kinds = {symmetry.split("(")[0] for symmetry in monitor.charges()}
    assert kinds == {"scale", "rescale", "translation"}
    assert monitor.broken() == {}
    assert monitor.steps == 6


def test_a_term_left_out_would_be_seen():
    """Decay, momentum, and the kinetic term are each far above the residual that is left."""
    model = network()
    monitor = watched(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1), 5)
    scale = monitor.balances()["scale(0.weight, 0.bias)"]
    for term in (0.1 * scale.quantity, 0.9 * 0.05 * scale.kinetic, 0.9 * scale.charge):
        assert float(term.abs().max()) > 1e-6


def test_charges_and_quantities_are_those_of_the_step():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    monitor = watched(model, optimizer, 2)
    backward(model, 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    monitor.step()
    velocity = {name: (p.detach() - before[name]) / 0.05 for name, p in model.named_parameters()}
    balance = monitor.balances()["rescale(2.weight, 2.bias / 4.weight)"]
    q, v = ({k: t[k] for k in ("2.weight", "2.bias", "4.weight")} for t in (before, velocity))
    for found, (a, b) in {"quantity": (q, q), "charge": (v, q), "kinetic": (v, v)}.items():
        above = (a["2.weight"] * b["2.weight"]).sum(1) + a["2.bias"] * b["2.bias"]
        expected = above - (a["4.weight"] * b["4.weight"]).sum(0)
        torch.testing.assert_close(getattr(balance, found), expected, rtol=1e-9, atol=1e-12)
    bias = monitor.balances()["translation(4.bias)"]
    torch.testing.assert_close(bias.quantity, before["4.bias"].sum()[None], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(bias.charge, velocity["4.bias"].sum()[None], rtol=1e-9, atol=1e-12)
    assert float(bias.kinetic) == 0.0
    assert monitor.balances() != copy.deepcopy(monitor).balances()  # tensors are not compared, and so no error


def test_check_5_the_sum_of_a_softmax_bias_follows_a_line_of_its_own():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    start = float(model[4].bias.detach().sum())
    watched(model, optimizer, 10)
    assert float(model[4].bias.detach().sum()) == pytest.approx(start, abs=1e-12)
    optimizer.state[model[4].bias]["momentum_buffer"] += 1.0
    sums = [start]
    for n in range(10):
        backward(model, n)
        optimizer.step()
        sums.append(float(model[4].bias.detach().sum()))
    # A sum of 3 in the buffer, and nothing that would feed it: a geometric series.
    expected = [sums[0] - 0.1 * 3 * sum(0.9**j for j in range(1, n + 1)) for n in range(11)]
    assert sums == pytest.approx(expected, abs=1e-12)


def test_other_rates_and_decays_for_either_side_of_a_rescaling():
    model = network()
    groups = [
        {"params": model[2].weight, "lr": 0.02, "momentum": 0.5, "weight_decay": 0.1},
        {"params": [*model[:2].parameters(), model[2].bias]},
        {"params": model[4].parameters(), "weight_decay": 0.3},
        {"params": []},
    ]
    monitor = watched(model, torch.optim.SGD(groups, lr=0.05, momentum=0.9), 6)
    assert largest(monitor) < 1e-12


def test_a_schedule_that_starts_at_zero_changes_nothing():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min(n, 3) / 3)
    monitor = NoetherMonitor(model, optimizer)
    for n in range(6):
        watched(model, None, 1, monitor)
        warmup.step()
        residuals = torch.cat(list(monitor.residuals().values()))
        assert bool(residuals.isnan().all()) if n == 0 else largest(monitor) < 1e-12


def test_it_may_start_in_the_middle_of_a_run():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.1)
    watched(model, optimizer, 3)
    twin = copy.deepcopy(model)
    again = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.1)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    on, resumed = watched(model, optimizer, 2), watched(twin, again, 2)
    assert largest(on) < 1e-12
    for name, charge in on.charges().items():
        assert torch.equal(charge, resumed.charges()[name])


def test_the_residual_is_minus_the_gradient_along_the_generator():
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    claimed = [
        Symmetry("rescale", (Part("0.weight", 4), Part("2.weight", 4, 1, -1))),
        Symmetry("translation", (Part("0.bias"),)),
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    monitor = NoetherMonitor(model, optimizer, claimed, tolerance=1.0)
    watched(model, optimizer, 3, monitor)
    backward(model)
    parameters = dict(model.named_parameters())
    expected = [
        -sum((s.generator(p, parameters[p.name]) * p.rows(parameters[p.name].grad)).sum(1) for p in s.parts)
        for s in claimed
    ]
    monitor.step()
    for symmetry, inner in zip(claimed, expected, strict=True):
        torch.testing.assert_close(monitor.residuals()[symmetry.name], inner, rtol=1e-9, atol=1e-12)
        assert float(inner.abs().max()) > 1e-3


def test_a_claim_that_gradients_contradict_is_reported_and_not_used():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    monitor = NoetherMonitor(model, optimizer)
    functional.mse_loss(model(X), X[:, :3]).backward()
    assert monitor.broken() == {}
    monitor.step()
    broken = monitor.broken()
    assert set(broken) == {"translation(4.weight)", "translation(4.bias)"}
    assert min(broken.values()) > 1e-3
    assert set(monitor.charges()) == set(monitor.residuals()) == set(monitor.breaking()) - set(broken)
    assert {key for key in monitor.summary() if "translation(4." in key} == {
        "noether/translation(4.weight)/broken",
        "noether/translation(4.bias)/broken",
    }
    assert largest(monitor) < 1e-12


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_rounding_in_half_precision_breaks_nothing_and_a_false_claim_is_seen(half):
    for seed in range(8):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).to(half)
        x, y = torch.randn(32, 8).to(half), torch.randint(3, (32,))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        monitor = NoetherMonitor(model, optimizer)
        for _ in range(5):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            monitor.step()
            assert monitor.broken() == {}, seed
        monitor.reset()
        optimizer.zero_grad()
        functional.mse_loss(model(x), functional.one_hot(y, 3).to(half)).backward()
        monitor.step()
        assert set(monitor.broken()) == {"translation(3.weight)", "translation(3.bias)"}


def test_a_closure_is_forwarded():
    model = network()
    monitor = NoetherMonitor(model, torch.optim.SGD(model.parameters(), lr=0.05))
    assert monitor.step(lambda: backward(model)).item() == pytest.approx(math.log(3), abs=0.5)
    assert largest(monitor) < 1e-12


def test_norms_follow_from_logged_velocities():
    """The record of a run without its norms gives its norms; the paper's equation holds to a per mille."""
    model = nn.Sequential(
        nn.Linear(5, 6, bias=False), nn.BatchNorm1d(6, eps=1e-30), nn.ReLU(), nn.Linear(6, 3)
    ).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-2)
    monitor, logs = NoetherMonitor(model, optimizer, find_symmetries(model, kinds=("scale",))), []
    for _ in range(60):
        watched(model, None, 1, monitor)
        logs.append(monitor.balances()["scale(0.weight)"])
    V, end = torch.stack([balance.kinetic for balance in logs]), model[0].weight.detach().square().sum(1)
    R = torch.stack([*(balance.quantity for balance in logs), end])
    exact = predict_norm_sq_from_velocity(R[0], None, V, 0.02, 0.9, 1e-2)
    torch.testing.assert_close(exact, R, rtol=1e-9, atol=0)
    paper = predict_norm_sq_from_velocity(R[0], (R[1] - R[0]) / 0.02, V, 0.02, 0.9, 1e-2, form="lagrangian")
    assert 1e-9 < float((paper / R - 1).abs().max()) < 0.02
    still = predict_norm_sq_from_velocity(R[0], (R[1] - R[0]) / 0.02, 0 * V, 0.02, 0.9, 1e-2)
    assert float((still[-1] / R[-1] - 1).abs().min()) > 0.05
    assert lagrangian_residual(R, V, 0.02, 0.9, 1e-2).shape == (59, 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_lower_precision_the_residual_is_the_rounding_of_parameters(dtype):
    """In bfloat16 a step may be too small to move a whole parameter, which then has no law."""
    model = network(dtype)
    model[1].eps = 1e-5
    monitor = watched(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), 4)
    found = {name: residual for name, residual in monitor.residuals().items() if not bool(residual.isnan().any())}
    assert "rescale(2.weight, 2.bias / 4.weight)" in found
    for name, residual in found.items():
        # Each coordinate is off by half an ε of itself, in q and in the buffer; and as large is what gradients lack.
        size = sum(
            p.detach().double().abs().sum() * p.detach().double().abs().max().clamp(min=1.0)
            for key, p in model.named_parameters()
            if key in name
        )
        assert float(residual.abs().max()) <= 8 * torch.finfo(dtype).eps * float(size) / 0.05
        assert residual.dtype == torch.float64


def test_parameters_that_are_not_contiguous():
    model = network()
    model[2].weight = nn.Parameter(model[2].weight.detach().T.contiguous().T)
    assert not model[2].weight.is_contiguous()
    assert largest(watched(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), 4)) < 1e-12


def test_breaking_is_a_mean_over_steps_weighted_by_the_gradient():
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    claimed = Symmetry("rescale", (Part("0.weight", 4), Part("2.weight", 4, 1, -1)))
    monitor = NoetherMonitor(model, torch.optim.SGD(model.parameters(), lr=0.05), [claimed])
    along, size = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for n in range(3):
        backward(model, n)
        q, g = (
            [torch.cat([a, sign * b.T], 1) for sign in (1, -1) for a, b in [pair]]
            for pair in (
                (model[0].weight.detach(), model[2].weight.detach()),
                (model[0].weight.grad, model[2].weight.grad),
            )
        )
        # The generator has the minus of the side that is divided, the gradient has not.
        along += (q[1] * g[0]).sum(1).abs()
        size += q[1].norm(dim=1) * g[0].norm(dim=1)
        monitor.step()
    found = monitor.breaking()[claimed.name]
    torch.testing.assert_close(found, along / size, rtol=1e-9, atol=0)
    for tolerance, broken in ((float(found.max()) * 1.001, 0), (float(found.max()) * 0.999, 1)):
        monitor._tolerance = tolerance
        assert len(monitor.broken()) == broken


def test_a_summary_has_means_over_blocks_and_the_largest_residual_of_either_sign():
    model = network()
    monitor = watched(model, torch.optim.SGD(model.parameters(), lr=0.05), 1)
    tracked = next(one for one in monitor._tracked if one.symmetry.kind == "rescale")
    blocks = torch.tensor([1.0, 3.0, -8.0], dtype=torch.float64)
    tracked.balance = Balance(blocks, 2 * blocks, blocks.abs(), blocks)
    name = f"noether/{tracked.symmetry.name}"
    found = {key.removeprefix(f"{name}/"): value for key, value in monitor.summary().items() if key.startswith(name)}
    assert found == pytest.approx({"quantity": -4 / 3, "charge": -8 / 3, "kinetic": 4.0, "residual": 8.0})
