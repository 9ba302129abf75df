"""Losses: score matching, the stationary residual and denoising, their values and gradients."""

import math

import pytest
import torch

from entrokit.physics.active_matter import (
    SwirlingDoubleWell,
    denoising_loss,
    divergence,
    probability_flow,
    score_matching_loss,
    stationary_residual,
)

from .active_matter_cases import MATRIX, float64, linear, network, normal, seeded


def test_score_matching_of_a_linear_score():
    x = normal(7, 3)
    expected = linear(x).square().sum(1).mean() + 2 * MATRIX.trace()
    torch.testing.assert_close(score_matching_loss(linear, x), expected)


def test_the_right_score_has_the_least_loss():
    """E|s|² + 2E∇·s is least, and -E|∇log ρ|², at the score itself: along any direction its slope is 0."""
    well = SwirlingDoubleWell()
    x = well.sample(40_000, seeded())
    direction = torch.sin
    values = [score_matching_loss(lambda z, a=a: well.score(z) + a * direction(z), x).item() for a in (-0.3, 0.0, 0.3)]
    slope = (values[2] - values[0]) / 0.6
    per_point = 2 * (well.score(x) * direction(x) + x.cos()).sum(1)
    assert abs(slope) < 5 * per_point.std().item() / math.sqrt(len(x))
    assert values[1] < min(values[0], values[2])


def test_the_stationary_term_is_the_residual_s_square():
    x, D = normal(9, 2), float64([0.4, 1.3])
    net, drift = network(), lambda x: x.flip(-1).sin() - x
    residual = stationary_residual(net, x, drift, D)
    flow = probability_flow(drift, net, D)
    torch.testing.assert_close(residual, divergence(flow, x) + (flow(x) * net(x)).sum(1))
    both = score_matching_loss(net, x, drift, D, 0.7)
    torch.testing.assert_close(both, score_matching_loss(net, x) + 0.7 * residual.square().mean())


def test_a_probed_square_has_no_bias():
    """Two estimates of their own: over many draws the mean is the exact term; of one estimate squared it is not."""
    x, D = normal(1, 2), float64([0.4, 1.3])
    net, drift = network(), lambda x: x.flip(-1).sin() - x
    exact = stationary_residual(net, x, drift, D).item() ** 2
    many, g = x.expand(4000, 2), seeded(3)
    draws = [stationary_residual(net, many, drift, D, method="hutchinson", generator=g).detach() for _ in range(2)]
    product = draws[0] * draws[1]
    assert product.mean().item() == pytest.approx(exact, abs=5 * product.std().item() / math.sqrt(4000))
    assert draws[0].square().mean() > exact + 5 * draws[0].square().std() / math.sqrt(4000)
    whole = score_matching_loss(net, many, drift, D, 1.0, method="hutchinson", generator=seeded(4))
    plain = score_matching_loss(net, many, method="hutchinson", generator=seeded(4))
    assert (whole - plain).item() == pytest.approx(exact, abs=5 * product.std().item() / math.sqrt(4000))


@pytest.mark.parametrize(
    "loss",
    [
        lambda net, x: score_matching_loss(net, x, torch.sin, 0.6, 0.5),
        lambda net, x: score_matching_loss(net, x, torch.sin, 0.6, 0.5, method="hutchinson", generator=seeded(2)),
        lambda net, x: denoising_loss(net, x, 0.3, generator=seeded(2)),
    ],
    ids=["exact", "probed", "denoising"],
)
def test_gradients_are_those_of_differences(loss):
    net, x = network(), normal(6, 2)
    loss(net, x).backward()
    for weight in net.parameters():
        flat, grad = weight.data.view(-1), weight.grad.view(-1)
        for k in range(0, len(flat), 5):
            kept = flat[k].item()
            ends = []
            for step in (1e-5, -1e-5):
                flat[k] = kept + step
                ends.append(loss(net, x).item())
            flat[k] = kept
            assert grad[k].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-7)


def test_denoising_is_score_matching_with_a_smoothing_of_delta_squared():
    """Of a linear score: |Mx|² + δ²|Mζ|² + 2 ζ·Mζ, whatever δ: what is of order 1/δ has gone with the pair."""
    x, delta = normal(8, 3), float64([0.1, 0.5, 2.0])
    zeta = torch.randn(8, 3, dtype=torch.float64, generator=seeded(5))
    expected = linear(x).square().sum(1) + linear(delta * zeta).square().sum(1)
    expected = expected + 2 * (linear(delta * zeta) * zeta / delta).sum(1)
    torch.testing.assert_close(denoising_loss(linear, x, delta, generator=seeded(5)), expected.mean())


def test_denoising_moves_and_learns_what_has_a_delta():
    x, delta = normal(4, 5, 2), float64([0.0, 0.3])
    seen = []

    def score(near, particles=None):
        seen.append(near)
        return near if particles is None else near[:, particles]

    whole = denoising_loss(score, x, delta, generator=seeded(1))
    assert all(torch.equal(near[..., 0], x[..., 0]) for near in seen)
    torch.testing.assert_close((seen[0] + seen[1]) / 2, x)
    moved = seen[0][..., 1] - x[..., 1]
    expected = (
        sum(
            near[..., 1] ** 2 + 2 * near[..., 1] * sign * moved / 0.3**2
            for near, sign in zip(seen, (1, -1), strict=True)
        )
        / 2
    )
    torch.testing.assert_close(whole, expected.sum(1).mean())
    part = denoising_loss(score, x, delta, particles=torch.tensor([3, 0]), generator=seeded(1))
    torch.testing.assert_close(part, expected[:, [3, 0]].sum(1).mean())
    wrapped = denoising_loss(score, x, delta, wrap=lambda z: 0 * z, generator=seeded(1))
    assert wrapped.item() == 0.0
