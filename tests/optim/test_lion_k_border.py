"""Lion-K's theory at the border of the feasible set and beyond it, and what it is not about."""

import math

import pytest
import torch

from entrokit.optim.lion_k import LionK, feasibility, flow_lyapunov, kkt_gap, lionk_lyapunov, lyapunov_coefficients

from .lion_k_cases import FLOW, M, X, parameter


def test_outside_the_value_is_infinite_and_nan_stays_nan():
    assert lionk_lyapunov(0.0, 9.0 * X, M, "l1", 0.1, (0.9, 0.99), 1.0) == math.inf
    assert kkt_gap(9.0 * X, M, "l1", 1.0) == math.inf
    assert flow_lyapunov(0.0, 9.0 * X, M, "l1", weight_decay=1.0, **FLOW) == math.inf
    assert feasibility(9.0 * X, "l1", 1.0) == pytest.approx(7.1)
    broken = torch.tensor([0.1, math.nan, 0.2], dtype=torch.float64)
    assert math.isnan(lionk_lyapunov(0.0, broken, M, "l1", 0.1, (0.9, 0.99), 1.0))
    assert math.isnan(lionk_lyapunov(0.0, X, broken, "l1", 0.1, (0.9, 0.99), 1.0))
    assert math.isnan(kkt_gap(X, broken, "l1", 1.0))
    assert math.isnan(feasibility([X, broken], "l1", 1.0))


def test_float32_stops_short_of_the_border_where_a_step_is_rounded_away():
    """A step from there is lr (1 − λ|x|), and half a unit in the last place of x = 1/λ is 2⁻²⁴ of it, or half that."""
    lr, weight_decay = 2.0**-7, 1.0
    p = parameter([1 - 5e-5], torch.float32)
    optimizer = LionK([p], lr, weight_decay=weight_decay)
    for _ in range(500):
        p.grad = -torch.ones_like(p)
        optimizer.step()
    expected = 2.0**-24 / (lr * weight_decay)
    assert 0.25 * expected < 1 - weight_decay * float(p.detach()) < 2 * expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_iterates_that_sit_on_the_border_are_inside(dtype):
    p = parameter(torch.full((4,), 3.0), dtype)
    optimizer = LionK([p], 0.25, weight_decay=0.3)
    for _ in range(300):
        p.grad = -torch.ones_like(p)
        optimizer.step()
    assert math.isfinite(kkt_gap(p, -torch.ones_like(p), "l1", 0.3))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: lionk_lyapunov(0.0, X, M[:2], "l1", 0.1, (0.9, 0.99), 0.1),
            r"x and m must be .* \[\[3\]\] and \[\[2\]\]",
        ),
        (lambda: kkt_gap(X, [M, M], "l1", 0.1), "x and grad must be blocks of the same shapes"),
        (lambda: lionk_lyapunov(0.0, X, M, "logsumexp", 0.1, (0.9, 0.99), 0.0), "LogSumExp is not least at 0"),
        (lambda: flow_lyapunov(0.0, X, M, "logsumexp", weight_decay=0.0, **FLOW), "LogSumExp is not least at 0"),
        (lambda: lionk_lyapunov(0.0, X, M, "l1", 0.0, (0.9, 0.99), 0.1), "needs lr > 0"),
        (lambda: lionk_lyapunov(0.0, X, M, "l1", 0.1, (0.9, 1.0), 0.1), r"betas in \[0, 1\)"),
        (lambda: lionk_lyapunov(0.0, X, M, "l1", 0.1, (0.9, 0.99), -0.1), "needs lr > 0, weight_decay >= 0"),
        (lambda: lyapunov_coefficients(0.1, (0.9, 0.99), 0.1, scheme="both"), "got 'both'"),
        (lambda: lyapunov_coefficients(2.0, (0.9, 0.99), 0.5), "explicit steps need"),
        (lambda: flow_lyapunov(0.0, X, M, "l1", alpha=1, gamma=2, e=1, weight_decay=0.1), r"e \* gamma <= 1"),
        (lambda: flow_lyapunov(0.0, X, M, "l1", alpha=1, gamma=1, e=1, weight_decay=0.0), "without weight decay < 1"),
        (lambda: flow_lyapunov(0.0, X, M, "l1", alpha=-1, gamma=1, e=1, weight_decay=0.1), "at least 0"),
        (lambda: flow_lyapunov(0.0, X, M, "l1", alpha=1, gamma=0.5, e=math.nan, weight_decay=0.1), "got alpha=1"),
        (lambda: flow_lyapunov(0.0, X, M, "l1", alpha=math.inf, gamma=0.5, e=1, weight_decay=0.1), "got alpha=inf"),
        (lambda: kkt_gap(X, M, "l1", -1.0), "weight_decay must be"),
        (lambda: feasibility(X, "l1", math.nan), "weight_decay must be"),
        (lambda: feasibility(X, "l7", 1.0), "'l7' is none of"),
        (lambda: feasibility(X, 1, 1.0), "1 lacks elementwise, least_at_zero, value"),
        (lambda: kkt_gap(X, M, "l1", 1.0, lr=-1.0), "kkt_gap: lr must be"),
    ],
)
def test_bad_input_is_named(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()
