"""Losses, noise of gradients, power laws, phase diagrams, and the runner over α, T and P."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.dynamics.noise import (
    MeanFieldMLP,
    gradient_noise_covariance,
    gradient_statistics,
    kernel_change,
    learning_rate,
    scaled_hinge,
    signal_noise,
    tangent_gram,
    temperature,
)

OUT = torch.tensor([0.2, -0.5, 1.0, 0.05], dtype=torch.float64)

Y = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.1, [9.8, 10.5, 11, 10.05]), (1.0, [0.8, 1.5, 2, 1.05]), (10.0, [0, 0.6, 1.1, 0.15])],
)
def test_check_1_losses(alpha, expected):
    loss = scaled_hinge(OUT, Y, alpha)
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_check_1_the_slope_is_the_label_where_a_point_is_not_fitted():
    o = OUT.clone().requires_grad_()
    loss = scaled_hinge(o, Y, 10.0)
    assert int((loss > 0).sum()) == 3
    (slope,) = torch.autograd.grad(loss.sum(), o)
    torch.testing.assert_close(slope, torch.tensor([0.0, -1.0, 1.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_other_hinges():
    torch.testing.assert_close(scaled_hinge(OUT, Y, 10.0, "squared"), scaled_hinge(OUT, Y, 10.0).square() * 10)
    u = (1 - 10 * OUT * Y).clamp(min=1e-300)
    torch.testing.assert_close(scaled_hinge(OUT, Y, 10.0, "soft"), u * torch.exp(-1 / (2 * u)) / 10)


@given(
    st.floats(-2, 2),
    st.sampled_from([-1.0, 1.0]),
    st.floats(0.1, 10),
    st.sampled_from(["hinge", "squared", "soft"]),
)
def test_slopes_are_differences(o, y, alpha, kind):
    if kind == "hinge" and abs(1 - alpha * o * y) < 1e-3:
        return
    at, label = torch.tensor([o], dtype=torch.float64, requires_grad=True), torch.tensor([y], dtype=torch.float64)
    (slope,) = torch.autograd.grad(scaled_hinge(at, label, alpha, kind).sum(), at)
    step = 1e-6
    with torch.no_grad():
        above, below = (scaled_hinge(at + s, label, alpha, kind) for s in (step, -step))
    # Third derivatives are below 1e3 α² ≤ 1e5, rounding is 1e-16 · 21 / (α step).
    assert float(slope) == pytest.approx(float((above - below) / (2 * step)), abs=1e-6)


def test_a_point_far_inside_has_a_finite_slope_of_zero():
    o = torch.tensor([1e3, 0.1], dtype=torch.float64, requires_grad=True)
    for kind in ("hinge", "squared", "soft"):
        (slope,) = torch.autograd.grad(scaled_hinge(o, torch.ones(2, dtype=torch.float64), 10.0, kind).sum(), o)
        assert slope.tolist() == [0.0, 0.0]


def test_half_precision_is_computed_in_float32():
    o = torch.tensor([0.25, -0.5], dtype=torch.float16)
    loss = scaled_hinge(o, torch.tensor([1.0, 1.0], dtype=torch.float16), 2.0**18)
    assert loss.dtype == torch.float32
    assert loss.tolist() == [0.0, 0.5 + 2.0**-18]
    assert scaled_hinge(o.bfloat16(), torch.ones(2).bfloat16(), 1.0).dtype == torch.float32


@pytest.mark.parametrize(
    ("o", "y", "alpha", "kind", "message"),
    [
        (OUT, Y[:2], 1.0, "hinge", "must have one shape"),
        (OUT, (Y + 1) / 2, 1.0, "hinge", "labels must be 1 or -1"),
        (OUT, Y, 0.0, "hinge", "alpha must be positive and finite"),
        (OUT, Y, math.nan, "hinge", "alpha must be positive and finite"),
        (OUT, Y, 1.0, "logistic", "kind must be"),
    ],
)
def test_losses_that_cannot_be_are_refused(o, y, alpha, kind, message):
    with pytest.raises(ValueError, match=message):
        scaled_hinge(o, y, alpha, kind)


def test_an_empty_batch_has_an_empty_loss():
    assert scaled_hinge(torch.zeros(0), torch.zeros(0), 1.0).shape == (0,)


def test_temperature_and_rate_are_inverse():
    assert temperature(0.5, 16, 32) == 0.5 / 512
    assert learning_rate(temperature(0.3, 16, 32), 16, 32) == pytest.approx(0.3, rel=1e-12)
    for name, call in (("lr", temperature), ("temp", learning_rate)):
        with pytest.raises(ValueError, match=f"{name} must be positive"):
            call(0.0, 4)
        for sizes in ((0,), (4, 0)):
            with pytest.raises(ValueError, match="at least 1"):
                call(1.0, *sizes)


def test_check_4_the_noise_is_that_of_all_batches():
    grads = torch.randn(4, 3, generator=seeded(0), dtype=torch.float64)
    means = torch.stack([grads[list(rows)].mean(0) for rows in combinations(range(4), 2)])
    centred = means - means.mean(0)
    found = gradient_noise_covariance(grads, 2)
    torch.testing.assert_close(found, centred.T @ centred / len(means), rtol=0, atol=1e-12)
    pairs = torch.stack([(grads[i] + grads[j]) / 2 for i in range(4) for j in range(4)])
    centred = pairs - pairs.mean(0)
    with_ = gradient_noise_covariance(grads, 2, replacement=True)
    torch.testing.assert_close(with_, centred.T @ centred / 16, rtol=0, atol=1e-12)


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 50))
@settings(max_examples=20)
def test_the_noise_vanishes_for_whole_batches_and_is_the_statistics_trace(P, N, seed):
    grads = torch.randn(P, N, generator=seeded(seed), dtype=torch.float64)
    assert not gradient_noise_covariance(grads, P).any()
    signal, noise = gradient_statistics(grads)
    trace = gradient_noise_covariance(grads, 1, replacement=True).trace()
    assert float(trace) == pytest.approx(float(noise), abs=1e-9)
    assert float(signal + noise) == pytest.approx(float(grads.square().sum(1).mean()), abs=1e-9)


def test_noise_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"must be \[P, N\]"):
        gradient_noise_covariance(torch.zeros(4), 1)
    with pytest.raises(ValueError, match=r"must be \[P, N\]"):
        gradient_statistics(torch.zeros(0, 3))
    for batch in (0, 5):
        with pytest.raises(ValueError, match="at most P = 4"):
            gradient_noise_covariance(torch.zeros(4, 2), batch)
    assert gradient_noise_covariance(torch.zeros(4, 2), 5, replacement=True).shape == (2, 2)


def test_the_tangent_kernel_is_that_of_a_loop():
    model = MeanFieldMLP((3, 5, 4), seeded(0), dtype=torch.float64)
    x = torch.randn(6, 3, generator=seeded(1), dtype=torch.float64)
    rows = []
    for point in x:
        grads = torch.autograd.grad(model(point[None]).sum(), list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    slow = torch.stack(rows) @ torch.stack(rows).T
    params = {name: p.detach() for name, p in model.named_parameters()}
    torch.testing.assert_close(tangent_gram(model, params, x), slow, rtol=1e-9, atol=1e-9)


def test_kernel_change():
    K = torch.tensor([[2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert float(kernel_change(K, 3 * K)) == pytest.approx(2)
    assert float(kernel_change(K, 3 * K, relative=False)) == pytest.approx(8)
    assert float(kernel_change(K, K)) == 0
    assert float(kernel_change(0 * K, K, relative=False)) == 2
    for K0, other, message in ((0 * K, K, "at the start is 0"), (K, K[:1], "one shape"), (K[:0], K[:0], "one shape")):
        with pytest.raises(ValueError, match=message):
            kernel_change(K0, other)


def test_signal_and_noise():
    w0 = torch.tensor([1.0, 1.0, 1.0])
    w = w0 + torch.tensor([[6.0, 3.0, 4.0], [-2.0, 0.0, 0.0]])
    signal, noise = signal_noise(w, w0.expand(2, -1), torch.tensor([3.0, 0.0, 0.0]))
    assert signal.tolist() == [6, -2]
    assert noise.tolist() == [5, 0]
    for teacher, message in ((torch.zeros(3), "finite length above 0"), (torch.ones(2), "go with a teacher")):
        with pytest.raises(ValueError, match=message):
            signal_noise(w0, w0, teacher)


def test_an_output_that_is_nan_has_no_loss_of_0():
    for kind in ("hinge", "squared", "soft"):
        loss = scaled_hinge(torch.tensor([math.nan, -math.inf]), torch.ones(2), 1.0, kind).tolist()
        assert math.isnan(loss[0])
        assert loss[1] == math.inf


def test_squares_of_half_precision_do_not_leave_its_range():
    small = 1e-4 * torch.randn(8, 3, generator=seeded(0)).half()
    wide = gradient_noise_covariance(small.double(), 2).float()
    torch.testing.assert_close(gradient_noise_covariance(small, 2), wide, rtol=1e-4, atol=1e-12)
    for ours, exact in zip(gradient_statistics(small), gradient_statistics(small.double()), strict=True):
        torch.testing.assert_close(ours, exact.float(), rtol=1e-5, atol=0)
    net = MeanFieldMLP((3, 4), seeded(0), dtype=torch.float16)
    assert tangent_gram(net, dict(net.named_parameters()), small).dtype == torch.float32
    K = torch.full((2, 2), 1000.0).half()
    torch.testing.assert_close(kernel_change(K, 2 * K), torch.tensor(1.0), rtol=1e-6, atol=0)
    w = torch.tensor([60000.0, 60000.0]).half()
    signal, noise = signal_noise(w, 0 * w, w)
    torch.testing.assert_close(signal, w.float().norm(), rtol=1e-5, atol=0)
    assert float(noise) < 1.0


def test_the_tangent_kernel_of_several_outputs_is_another():
    model = torch.nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"one output a point, got \[1, 2\]"):
        tangent_gram(model, dict(model.named_parameters()), torch.ones(4, 3))
