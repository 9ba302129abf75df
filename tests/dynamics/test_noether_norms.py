"""Norms of weights without a scale: closed forms and recursions against simulations, constants, equilibria."""

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.dynamics.noether import (
    effective_lr,
    equilibrium_norm_sq,
    equivalent_rmsprop,
    friction,
    lagrangian_residual,
    mass,
    predict_norm_sq,
    predict_norm_sq_from_velocity,
)


def rayleigh(seed=0):
    """A random 10-dim form A and a start; f(q) = qᵀAq/|q|² does not see the scale of q."""
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(10, 10, generator=generator, dtype=torch.float64)
    return (A + A.T) / 2, torch.randn(10, generator=generator, dtype=torch.float64)


def slope(A, q):
    square = q @ q
    return 2 * (A @ q / square - (q @ A @ q) / square**2 * q)


def trajectory(lrs, momentum, weight_decay, seed=0, v=None):
    """q along SGD, ``[T + 1, 10]``, with one learning rate a step."""
    A, q = rayleigh(seed)
    v = torch.zeros_like(q) if v is None else v
    found = [q]
    for lr in lrs:
        v = momentum * v + slope(A, q) + weight_decay * q
        q = q - lr * v
        found.append(q)
    return torch.stack(found)


def logged(lrs, *arguments, **options):
    """R ``[T + 1]`` and |q̇|² ``[T]`` of a trajectory."""
    q = trajectory(lrs, *arguments, **options)
    return q.square().sum(1), q.diff(dim=0).square().sum(1) / torch.tensor(lrs, dtype=torch.float64).square()


def test_check_1_the_gradient_is_orthogonal_and_plain_sgd_grows_by_its_square():
    A, q = rayleigh()
    g = slope(A, q)
    assert abs(float(q @ g)) < 1e-14 * float(q.norm() * g.norm()) * 10
    R, _ = logged([0.02], 0.0, 0.02)
    assert float(R[1]) == pytest.approx((1 - 0.02 * 0.02) ** 2 * float(R[0]) + 0.02**2 * float(g @ g), rel=1e-12)


def test_check_2_the_lagrangian_s_equation_holds_to_first_order():
    """Once the start from rest is forgotten, which takes 1/(1−β) steps of the larger ones."""
    worst = []
    for lr in (0.02, 0.01, 0.005):
        R, V = logged([lr] * round(4 / lr), 0.9, 0.02)
        left = lagrangian_residual(R, V, lr, 0.9, 0.02) / (0.02 * R[1:-1])
        worst.append(float(left[len(left) // 2 :].abs().max()))
    assert worst[0] < 5e-4
    assert worst[1] < 0.75 * worst[0]
    assert worst[2] < 0.75 * worst[1]


def test_the_kinetic_term_carries_the_mass_once():
    """∂_s of the kinetic energy is e^{−α}|q̇|² with m = e^{−α}, not e^{−2α}: with m² the balance is off by all of kR."""
    R, V = logged([0.02] * 200, 0.9, 0.02)
    left = lagrangian_residual(R, V, 0.02, 0.9, 0.02)[100:]
    m, kinetic = mass(0.02, 0.9), (V[1:] + V[:-1])[100:] / 2
    printed = left + m * kinetic - m**2 * kinetic
    assert float((left / (0.02 * R[101:-1])).abs().max()) < 5e-4
    assert float((printed / (m * kinetic)).abs().min()) > 0.9


@given(st.floats(1e-3, 0.3), st.floats(0.0, 0.99), st.floats(0.0, 0.5), st.integers(0, 100), st.booleans())
@settings(max_examples=20)
def test_the_discrete_law_is_exact_at_any_rate(lr, momentum, weight_decay, seed, moving):
    """Also with a schedule, and from a buffer that is not empty."""
    lrs = [lr * (1 + 0.5 * math.sin(n)) for n in range(12)]
    v = torch.linspace(-1, 1, 10, dtype=torch.float64) if moving else None
    R, V = logged(lrs, momentum, weight_decay, seed, v)
    rate0 = (R[1] - R[0]) / lrs[0] if moving else None
    found = predict_norm_sq_from_velocity(
        R[0], rate0, V, torch.tensor(lrs, dtype=torch.float64), momentum, weight_decay
    )
    # Squares up to the largest R and |Δ|² are added twelve times over.
    largest = float(torch.maximum(R.max(), (V * torch.tensor(lrs, dtype=torch.float64) ** 2).max()))
    torch.testing.assert_close(found, R, rtol=0, atol=1e-9 * largest)


def test_the_lagrangian_recursion_is_the_one_of_the_paper_and_close_to_exact():
    R, V = logged([0.02] * 100, 0.9, 0.02)
    rate0 = (R[1] - R[0]) / 0.02
    found = predict_norm_sq_from_velocity(R[0], rate0, V, 0.02, 0.9, 0.02, form="lagrangian")
    left = lagrangian_residual(found, V, 0.02, 0.9, 0.02)
    torch.testing.assert_close(left, torch.zeros_like(left), rtol=0, atol=1e-9 * float(V.max()))
    off = float((found / R - 1).abs().max())
    assert 1e-6 < off < 0.05


def rotating(lr, weight_decay, momentum, r0, steps):
    """r along SGD in the plane, with g = e_φ / r: a gradient that always turns the same way."""
    q, v, found = complex(r0), 0j, [r0]
    for _ in range(steps):
        g = 1j * q / abs(q) / abs(q)
        v = momentum * v + g + weight_decay * q
        q = q - lr * v
        found.append(abs(q))
    return found


@pytest.mark.parametrize(
    ("lr", "momentum", "r0", "at"),
    [
        (0.01, 0.0, 1.0, {30: 0.809983, 10: 0.616781, 3: 0.562399, 1: 0.562341}),
        (0.001, 0.5, 1.0, {1: 0.494923}),
        (0.0005, 0.9, 1.5, {1: 0.987259}),
    ],
)
def test_check_3_the_closed_form_of_a_lasting_gradient(lr, momentum, r0, at):
    # 30 time constants; where only the end is looked at, 10 are enough.
    steps = round((30 if len(at) > 1 else 10) / (4 * 0.05 * lr) * (1 - momentum))
    simulated = rotating(lr, 0.05, momentum, r0, steps)
    predicted = predict_norm_sq(torch.tensor(r0**2), torch.ones(steps), lr, momentum, 0.05).sqrt()
    for part, r in at.items():
        assert simulated[steps // part] == pytest.approx(r, rel=5e-3)
        assert float(predicted[steps // part]) == pytest.approx(r, rel=5e-3)
    assert max(abs(float(p) / s - 1) for p, s in zip(predicted[::50], simulated[::50], strict=True)) < 5e-3
    settled = equilibrium_norm_sq(torch.tensor(1.0, dtype=torch.float64), lr, momentum, 0.05)
    assert float(predicted[-1]) ** 2 == pytest.approx(float(settled), rel=r0**4 / float(settled) ** 2 * math.exp(-10))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_check_4_noise_has_another_equilibrium(momentum):
    """Tangential noise alone: 1/(1−β) times as large as without momentum, not (1+β)/(1−β)² times."""
    lr, k, steps = 0.02, 0.02, 4000
    generator = torch.Generator().manual_seed(0)
    q, drive = torch.full((64, 10), 0.2**0.5, dtype=torch.float64), 9.0
    v, square, fourth, speed = torch.zeros_like(q), 0.0, 0.0, 0.0
    for n in range(steps):
        noise = torch.randn(q.shape, generator=generator, dtype=torch.float64)
        R = q.square().sum(1, keepdim=True)
        g = (noise - (noise * q).sum(1, keepdim=True) / R * q) / R.sqrt()
        v = momentum * v + g + k * q
        q = q - lr * v
        if n >= steps // 2:
            square, fourth, speed = square + R.mean(), fourth + R.square().mean(), speed + v.square().sum(1).mean()
    of = 2 / steps
    expected = float(equilibrium_norm_sq(torch.tensor(drive), lr, momentum, k, noise=True)) ** 2
    assert expected == pytest.approx(4.5 / (1 - momentum))
    assert float(fourth) * of == pytest.approx(expected, rel=0.02)
    if momentum:
        lasting = float(equilibrium_norm_sq(torch.tensor(drive), lr, momentum, k)) ** 2
        assert abs(lasting / (float(fourth) * of) - 1) > 0.4
    assert mass(lr, momentum) * float(speed) / k == pytest.approx(float(square), rel=2e-3)


def test_check_6_rmsprop_s_constants():
    found = equivalent_rmsprop(0.1, 0.9, 5e-4)
    assert found.lr == pytest.approx(0.00725476, abs=5e-9)
    assert found.decay == pytest.approx(0.998, abs=1e-12)
    assert equivalent_rmsprop(0.1, 0.9, 0.0) == (0.0, 1.0)


@pytest.mark.parametrize("noise", [False, True])
def test_rmsprop_and_the_equilibrium_turn_alike(noise):
    """lr/√G of RMSProp is η/((1−β) r²) where r⁴ and G are settled at the same |ĝ|²."""
    drive = torch.tensor(3.0, dtype=torch.float64)
    settled = equilibrium_norm_sq(drive, 0.1, 0.9, 5e-4, noise=noise)
    rms = equivalent_rmsprop(0.1, 0.9, 5e-4, noise=noise)
    assert rms.lr / math.sqrt(3.0) == pytest.approx(float(effective_lr(settled, 0.1, 0.9)), rel=1e-12)


def test_the_gain_of_momentum_is_190_or_10_and_not_1900():
    one = torch.ones((), dtype=torch.float64)
    for noise, gain in ((False, 190.0), (True, 10.0)):
        still, moving = (equilibrium_norm_sq(one, 0.01, b, 1e-3, noise=noise) ** 2 for b in (0.0, 0.9))
        assert float(moving / still) == pytest.approx(gain)


def test_without_decay_the_fourth_power_grows_by_a_line():
    found = predict_norm_sq(torch.ones(2), torch.ones(5, 2), 0.1, 0.5, 0.0)
    expected = 1 + 2 * 0.1 * 1.5 / 0.125 * 0.1 * torch.arange(6.0, dtype=torch.float64)
    torch.testing.assert_close(found.square(), expected[:, None].expand(6, 2), rtol=1e-12, atol=0)
    nearly = predict_norm_sq(torch.ones(2), torch.ones(5, 2), 0.1, 0.5, 1e-13)
    torch.testing.assert_close(nearly, found, rtol=1e-9, atol=0)
    assert found.dtype == predict_norm_sq_from_velocity(ONE, None, torch.ones(3), 0.1, 0.5, 0.0).dtype == torch.float64


def test_noise_is_driven_less():
    lasting, noise = (predict_norm_sq(torch.zeros(()), torch.ones(1), 0.1, 0.9, 0.0, noise=n)[1] for n in (False, True))
    assert float(lasting / noise) ** 2 == pytest.approx(19.0)


def test_constants():
    assert mass(0.1, 0.9) == pytest.approx(0.095)
    assert friction(0.9) == pytest.approx(0.1)
    assert float(effective_lr(torch.tensor(4.0), 0.1, 0.9)) == pytest.approx(0.25)
    assert math.isinf(effective_lr(torch.zeros(()), 0.1))
    assert cmath.isfinite(float(equilibrium_norm_sq(torch.zeros(()), 0.1, 0.9, 1e-3)))


ONE = torch.ones(())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mass(0.0), "lr must be finite and above 0, got 0.0"),
        (lambda: mass(math.nan), "lr must be finite"),
        (lambda: mass(math.inf), "lr must be finite"),
        (lambda: friction(1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: friction(-0.1), "momentum"),
        (lambda: equivalent_rmsprop(0.1, 0.9, -1e-3), "weight_decay must be finite and at least 0"),
        (lambda: equivalent_rmsprop(0.1, 0.9, math.inf), "weight_decay"),
        (lambda: equivalent_rmsprop(1.0, 0.9, 0.5), "= 20 must be at most 1"),
        (lambda: equilibrium_norm_sq(ONE, 0.1, 0.9, 0.0), "no equilibrium"),
        (lambda: effective_lr(-ONE, 0.1), "cannot be negative"),
        (lambda: equilibrium_norm_sq(-ONE, 0.1, 0.9, 1e-3), "cannot be negative"),
        (
            lambda: predict_norm_sq_from_velocity(torch.ones(3), ONE, torch.ones(4, 3), 0.1, 0.9, 0.0),
            r"rate0 has shape \[\] for a start of \[3\]",
        ),
        (lambda: lagrangian_residual(ONE, ONE, 0.1, 0.9, 0.0), "T >= 2"),
        (lambda: predict_norm_sq(-ONE, torch.ones(3), 0.1, 0.9, 0.0), "cannot be negative"),
        (lambda: predict_norm_sq(ONE, -torch.ones(3), 0.1, 0.9, 0.0), "cannot be negative"),
        (lambda: predict_norm_sq(ONE, torch.ones(0), 0.1, 0.9, 0.0), r"grad_unit_sq must be \[T, ...\]"),
        (lambda: predict_norm_sq(torch.ones(2), torch.ones(3), 0.1, 0.9, 0.0), r"got \[3\] and \[2\]"),
        (lambda: predict_norm_sq_from_velocity(ONE, None, ONE, 0.1, 0.9, 0.0), r"vel_sq must be \[T"),
        (
            lambda: predict_norm_sq_from_velocity(ONE, None, torch.ones(3), torch.ones(2), 0.9, 0.0),
            r"shape \[2\] for 3",
        ),
        (
            lambda: predict_norm_sq_from_velocity(ONE, None, torch.ones(3), 0.1, 0.9, 0.0, form="lagrangian"),
            "one lr for all steps, and rate0",
        ),
        (lambda: predict_norm_sq_from_velocity(ONE, None, torch.ones(3), 0.1, 0.9, 0.0, form="euler"), "'euler'"),
        (lambda: predict_norm_sq_from_velocity(ONE, None, torch.ones(1), torch.zeros(1), 0.9, 0.0), "above 0"),
        (lambda: lagrangian_residual(torch.ones(2), torch.ones(1), 0.1, 0.9, 0.0), "T >= 2"),
        (lambda: lagrangian_residual(torch.ones(3), torch.ones(3), 0.1, 0.9, 0.0), r"\[3\] and \[3\]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
