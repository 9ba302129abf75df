"""What must fall while Lion-K runs and what is 0 when it has arrived: the sheet's numbers, and hand-made optima."""

import inspect
import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.optim.lion_k import (
    LionK,
    feasibility,
    flow_lyapunov,
    kkt_gap,
    lionk_lyapunov,
    lyapunov_coefficients,
)

from .lion_k_cases import FLOW, OPTIONS, M, Smooth, X, draw, member, parameter

K = Smooth()
CURVATURE = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
PULL = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
LIPSCHITZ = 3.0


def f(x):
    return float(0.5 * x @ (CURVATURE * x) - PULL @ x)


def slope(x):
    return CURVATURE * x - PULL


def flow(x, m, weight_decay):
    """m̃, ẋ and ṁ of the continuous method."""
    pull = -(FLOW["alpha"] * slope(x) + FLOW["gamma"] * m)
    blend = m + FLOW["e"] * pull
    return blend, K.grad(blend) - weight_decay * x, pull


def measured_slope(weight_decay):
    """dH/dt along the flow by central differences."""
    _, x_dot, m_dot = flow(X, M, weight_decay)
    h = 1e-6
    ahead, behind = (
        flow_lyapunov(f(X + t * x_dot), X + t * x_dot, M + t * m_dot, K, weight_decay=weight_decay, **FLOW)
        for t in (h, -h)
    )
    return (ahead - behind) / (2 * h)


def test_check_3_the_flow_with_decay():
    weight_decay, e, gamma = 0.8, FLOW["e"], FLOW["gamma"]
    assert flow_lyapunov(f(X), X, M, K, weight_decay=weight_decay, **FLOW) == pytest.approx(-0.0792039, abs=5e-8)
    blend, x_dot, _ = flow(X, M, weight_decay)
    first = float((blend - K.conjugate_grad(weight_decay * X)) @ x_dot)
    second = float((blend - M) @ (K.grad(blend) - K.grad(M))) / e
    assert first == pytest.approx(1.632580, abs=5e-7)
    assert second == pytest.approx(4.118132, abs=5e-7)
    formula = -((weight_decay + gamma) * first + (1 - e * gamma) * second) / (1 + e * weight_decay)
    assert formula == pytest.approx(-3.155220, abs=5e-7)
    assert measured_slope(weight_decay) == pytest.approx(formula, abs=1e-8)


def test_check_3b_the_flow_without_decay():
    rest = 1 - FLOW["e"] * FLOW["gamma"]
    assert flow_lyapunov(f(X), X, M, K, weight_decay=0.0, **FLOW) == pytest.approx(0.289777, abs=5e-7)
    blend, _, _ = flow(X, M, 0.0)
    p = rest * M
    terms = (
        float((blend - p) @ (K.grad(blend) - K.grad(p))) / FLOW["e"],
        FLOW["gamma"] * float(M @ K.grad(p)),
    )
    assert terms == pytest.approx((2.807340, 0.944688), abs=5e-7)
    assert -sum(terms) == pytest.approx(-3.752028, abs=5e-7)
    assert measured_slope(0.0) == pytest.approx(-sum(terms), abs=1e-8)


def test_check_3b_what_decay_leaves_as_it_vanishes():
    least = 1e-7
    assert flow_lyapunov(f(X), X, M, K, weight_decay=least, **FLOW) == pytest.approx(0.116909, abs=1e-6)
    assert measured_slope(least) == pytest.approx(-2.981226, abs=1e-6)


@dataclass
class Descent:
    change: float
    bound: float


def descent(steps, lr, betas, weight_decay):
    """Change of H in every step of `LionK`, and what the theorem allows."""
    _, a, b = lyapunov_coefficients(lr, betas, weight_decay, scheme="implicit")
    p = parameter(X)
    optimizer = LionK([p], lr, betas, weight_decay, K=K, scheme="implicit")
    optimizer.state[p]["momentum"] = M.clone()

    def level():
        x, m = p.detach(), optimizer.state[p]["momentum"]
        return lionk_lyapunov(f(x), x, m, K, lr, betas, weight_decay, scheme="implicit")

    levels, steps_seen = [level()], []
    for _ in range(steps):
        old, m, g = p.detach().clone(), optimizer.state[p]["momentum"].clone(), slope(p.detach())
        p.grad = g.clone()
        optimizer.step()
        x, kept = p.detach(), optimizer.state[p]["momentum"]
        blend, u = betas[0] * m - (1 - betas[0]) * g, (x - old) / lr
        first = float(u @ (blend - K.conjugate_grad(weight_decay * x)))
        second = float((K.grad(blend) - K.grad(kept)) @ (blend - kept))
        levels.append(level())
        bound = -lr * (a * first + b * second) + LIPSCHITZ * lr**2 / 2 * float(u @ u)
        steps_seen.append(Descent(levels[-1] - levels[-2], bound))
    return levels, steps_seen


@pytest.mark.parametrize(
    ("weight_decay", "constants", "levels", "first"),
    [
        (0.8, (3.214286, 3.571429, 7.142857), (0.430632, 0.377456), (-0.053176, -0.051758)),
        (0.0, (4.5, 1.0, 10.0), (3.862918, 3.801568), (-0.061350, -0.058471)),
    ],
    ids=["check 4", "check 3b"],
)
def test_the_discrete_bound(weight_decay, constants, levels, first):
    lr, betas = 0.05, (0.9, 0.99)
    assert lyapunov_coefficients(lr, betas, weight_decay, scheme="implicit") == pytest.approx(constants, abs=5e-7)
    found, steps = descent(500, lr, betas, weight_decay)
    assert found[:2] == pytest.approx(levels, abs=6e-7)
    assert (steps[0].change, steps[0].bound) == pytest.approx(first, abs=6e-7)
    assert max(step.change - step.bound for step in steps) <= 1e-12


@pytest.mark.parametrize("name", ["l1", "l2", "huber", "dead-zone", "half-square"])
def test_a_step_never_raises_it_by_more_than_curvature_allows(name):
    """Also where K has kinks: Δ1, Δ2 ≥ 0 for any subgradient. Explicit steps are implicit ones of another size."""
    member_K, lr, betas, weight_decay, limit = member(name), 0.02, (0.9, 0.99), 0.5, 0.0
    p = parameter(0.5 * X)
    optimizer = LionK([p], lr, betas, weight_decay, K=name, K_kwargs=OPTIONS[name])
    levels, losses = [], []
    for _ in range(250):
        x = p.detach()
        losses.append(f(x))
        m = optimizer.momentum(p)
        levels.append(lionk_lyapunov(f(x), x, m, member_K, lr, betas, weight_decay))
        if len(levels) > 1:
            assert levels[-1] - levels[-2] <= limit + 1e-12
        old, p.grad = x.clone(), slope(x)
        optimizer.step()
        limit = LIPSCHITZ / 2 * float((p.detach() - old).square().sum())
    assert levels[-1] < levels[0]
    assert any(after > before + 1e-6 for before, after in itertools.pairwise(losses)), "the loss does rise"


def test_explicit_steps_have_the_value_of_their_implicit_ones():
    lr, betas, weight_decay = 0.05, (0.9, 0.99), 0.8
    implicit = lionk_lyapunov(1.0, X, M, K, lr, betas, weight_decay, scheme="implicit")
    explicit = lr / (1 + lr * weight_decay)
    assert lionk_lyapunov(1.0, X, M, K, explicit, betas, weight_decay, scheme="explicit") == pytest.approx(implicit)
    assert lionk_lyapunov(1.0, X, M, K, lr, betas, weight_decay, scheme="explicit") != pytest.approx(implicit)


def test_the_scheme_is_that_of_the_optimizer_by_default():
    for function in (lionk_lyapunov, lyapunov_coefficients, LionK):
        assert inspect.signature(function).parameters["scheme"].default == "explicit"
    assert lyapunov_coefficients(0.1, (0.9, 0.99), 0.5) == lyapunov_coefficients(
        0.1 / 0.95, (0.9, 0.99), 0.5, scheme="implicit"
    )


def test_equal_betas_weigh_nothing_and_reversed_ones_have_no_theory():
    assert lyapunov_coefficients(0.1, (0.9, 0.9), 0.5).b == 0.0
    assert math.isnan(lyapunov_coefficients(0.1, (0.95, 0.9), 0.5).b)
    assert lyapunov_coefficients(0.1, (0.0, 0.9), 0.5) == (0.0, 1.0, 0.0)
    assert lionk_lyapunov(1.0, 9.0 * X, M, "l1", 0.1, (0.0, 0.9), 1.0) == math.inf


def optimum(name, centre, weight_decay):
    """The minimiser of f + K*(λx)/λ for f = ‖x − centre‖²/2, and ∇f there."""
    option = OPTIONS[name]
    if name == "l1":
        x = centre.clamp(-1 / weight_decay, 1 / weight_decay)
    elif name == "l2":
        x = centre * min(1.0, 1 / (weight_decay * float(centre.norm())))
    elif name == "dead-zone":
        x = centre.sign() * (centre.abs() - option["e"]).clamp(0, 1 / weight_decay)
    elif name == "huber":
        x = (centre / (1 + option["e"] * weight_decay)).clamp(-1 / weight_decay, 1 / weight_decay)
    elif name == "half-square":
        x = centre / (1 + weight_decay)
    else:
        U, s, Vh = torch.linalg.svd(centre, full_matrices=False)
        x = (U * s.clamp(max=1 / weight_decay)) @ Vh
    return x, x - centre


@pytest.mark.parametrize("name", ["l1", "l2", "dead-zone", "huber", "half-square", "nuclear"])
def test_check_8_the_gap_is_zero_at_the_optimum_and_positive_beside_it(name):
    weight_decay, own = 0.5, member(name)
    for seed in range(3):
        centre = 3.0 * draw(3, 4, seed=seed)
        x, grad = optimum(name, centre, weight_decay)
        assert kkt_gap(x, grad, own, weight_decay) == pytest.approx(0.0, abs=1e-9)
        beside = 0.9 * x
        assert kkt_gap(beside, beside - centre, own, weight_decay) > 1e-3
        assert feasibility(x, own, weight_decay) < 1e-12


def test_check_8_of_lion_it_is_the_norm_and_an_inner_product():
    x, grad = draw(6).clamp(-1, 1), draw(6, seed=1)
    assert kkt_gap(x, grad, "l1", 0.5) == pytest.approx(float(grad.abs().sum() + 0.5 * x @ grad))
    assert kkt_gap(x, grad, "l1", 0.0) == pytest.approx(float(grad.abs().sum()))
    u = draw(5, seed=2)
    assert kkt_gap(torch.softmax(u, 0) / 0.5, -u, "logsumexp", 0.5) == pytest.approx(0.0, abs=1e-12)


@given(st.integers(0, 10**6), st.sampled_from(list(OPTIONS)))
@settings(max_examples=40)
def test_check_8_the_gap_is_never_negative(seed, name):
    own = member(name)
    # What gradients of K give, over λ, is feasible.
    x = own.grad(draw(3, 4, seed=seed)) / 0.5
    assert kkt_gap(x, draw(3, 4, seed=seed + 1), own, 0.5) >= -1e-12


def test_blocks_add_up_and_the_farthest_counts():
    xs, others = [draw(3), draw(2, 2, seed=1), torch.zeros(0)], [draw(3, seed=2), draw(2, 2, seed=3), torch.zeros(0)]
    for both in (
        lambda x, m: lionk_lyapunov(0.0, x, m, "l2", 0.1, (0.9, 0.99), 0.1),
        lambda x, m: kkt_gap(x, m, "l2", 0.1),
        lambda x, m: flow_lyapunov(0.0, x, m, "l2", weight_decay=0.1, **FLOW),
    ):
        assert both(xs, others) == pytest.approx(sum(map(both, xs[:2], others[:2])), abs=1e-12)
    assert feasibility(xs, "l2", 3.0) == max(feasibility(x, "l2", 3.0) for x in xs[:2]) > 0
    assert feasibility([], "l2", 3.0) == 0.0
