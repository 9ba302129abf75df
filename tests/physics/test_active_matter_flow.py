"""Flows, entropy production, divergences and losses: identities, derivatives, and what is refused."""

import math

import pytest
import torch
from torch import nn

from entrokit.physics.active_matter import (
    SwirlingDoubleWell,
    denoising_loss,
    divergence,
    entropy_production_rate,
    epr_by_coordinate,
    epr_without_score,
    estimate,
    jacobian_diagonal,
    local_epr,
    probability_flow,
    score_matching_loss,
    stationarity,
    stationary_residual,
)

from .active_matter_cases import float64, normal, seeded

MATRIX = float64([[0.5, -1.2, 0.3], [0.7, 1.5, -0.4], [-0.2, 0.9, -1.1]])


def linear(x):
    return x @ MATRIX.mT


def cubic(x):
    return x**3 + x.flip(-1)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.GELU(), nn.Linear(8, 2)).double()


def test_the_parts_of_an_entropy_production_add_up():
    x, D = normal(5, 4, 3), float64([0.2, 0.5, 2.0])
    parts = epr_by_coordinate(x, cubic, linear, D)
    flow = probability_flow(cubic, linear, D)(x)
    torch.testing.assert_close(flow, cubic(x) - D * linear(x))
    torch.testing.assert_close(parts, flow**2 / D)
    torch.testing.assert_close(local_epr(x, cubic, linear, D), parts.sum((1, 2)))
    rate = entropy_production_rate(x, cubic, linear, D)
    assert rate.mean.item() == pytest.approx(parts.sum((1, 2)).mean().item())
    assert rate.stderr.item() == pytest.approx(parts.sum((1, 2)).std().item() / math.sqrt(5))


def test_coordinates_without_noise_are_named_or_left_out():
    x, D = normal(5, 3), float64([0.2, 0.0, 2.0])
    for call in (epr_by_coordinate, local_epr, entropy_production_rate):
        with pytest.raises(ValueError, match="1 of 3 coordinates is 0, the first is number 1.*noisy_only"):
            call(x, cubic, linear, D)
    part = epr_by_coordinate(x, cubic, linear, D, noisy_only=True)
    flow = probability_flow(cubic, linear, D)(x)
    torch.testing.assert_close(part, torch.stack([flow[:, 0] ** 2 / 0.2, 0 * flow[:, 1], flow[:, 2] ** 2 / 2], 1))
    torch.testing.assert_close(flow[:, 1], cubic(x)[:, 1])
    with pytest.raises(ValueError, match="3 of 3 coordinates"):
        epr_by_coordinate(x, cubic, linear, 0.0, noisy_only=True)
    with pytest.raises(ValueError, match="needs noise in all"):
        epr_without_score(x, cubic, D)


def test_without_noise_of_positions_propulsions_make_what_the_drift_contracts():
    """E|v_g|² / γ = -E[∇_x·b_x]: of dx = (g - A x) dt in closed form, A."""
    A, gamma = 1.3, 0.5
    cov = float64([[1 / (A * (A + gamma)), 1 / (A + gamma)], [1 / (A + gamma), 1.0]])
    root = torch.linalg.cholesky(2 * cov)
    x = torch.cat([root.mT, -root.mT])  # their covariance is exactly that of the law
    part = epr_by_coordinate(
        x,
        lambda z: torch.stack([z[:, 1] - A * z[:, 0], -gamma * z[:, 1]], 1),
        lambda z: -z @ torch.linalg.inv(cov),
        float64([0.0, gamma]),
        noisy_only=True,
    )
    assert part.sum(1).mean().item() == pytest.approx(A, abs=1e-12)


def test_a_diagonal_is_every_coordinate_s_own_derivative():
    x = normal(6, 2, 3)
    value, diagonal = jacobian_diagonal(cubic, x)
    torch.testing.assert_close(value, cubic(x))
    # The flip leaves the middle of three where it is.
    torch.testing.assert_close(diagonal, 3 * x**2 + float64([0.0, 1.0, 0.0]))
    torch.testing.assert_close(divergence(cubic, x), diagonal.sum((1, 2)))
    assert divergence(torch.ones_like, x).tolist() == [0.0] * 6
    with torch.no_grad():
        assert not divergence(cubic, x).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(divergence(cubic, x), diagonal.sum((1, 2)))


def test_one_probe_is_off_by_what_is_beside_the_diagonal():
    """z·Jz of a matrix in the plane is its trace, and its two other entries with a sign: their mean is the trace."""
    plane = MATRIX[:2, :2]
    off = float(plane[0, 1] + plane[1, 0])
    found = divergence(lambda x: x @ plane.mT, normal(400, 2), method="hutchinson", generator=seeded())
    signs = (found - plane.trace()) / off
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs))
    # The mean of 400 fair signs: five standard errors.
    assert abs(signs.mean().item()) < 5 / math.sqrt(400)
    many = divergence(lambda x: x @ plane.mT, normal(400, 2), method="hutchinson", probes=16, generator=seeded())
    assert (many - plane.trace()).std() < found.std() / 3


def test_a_field_that_knows_its_diagonal_is_asked():
    class Knows:
        with_diagonal = staticmethod(lambda x: (linear(x), MATRIX.diagonal().expand_as(x)))

    for method in ("exact", "hutchinson"):
        torch.testing.assert_close(divergence(Knows(), normal(4, 3), method=method), MATRIX.trace().expand(4))


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


def test_estimates_say_when_there_is_no_error():
    assert math.isnan(estimate(torch.ones(1, 3)).stderr[0])
    found = estimate(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    assert found.mean.tolist() == [2.0, 2.0]
    assert found.stderr.tolist() == [1.0, 0.0]
    assert set(stationarity(normal(3, 3), cubic, linear, 1.0)) == {"div_v", "v_dot_s", "fisher", "residual"}


NAN_AT_ONE = float64([[0.0, 1.0], [math.nan, 2.0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: local_epr(normal(3), linear, linear, 1.0), ValueError, r"points \[B, \*\]"),
        (lambda: local_epr(normal(0, 3), linear, linear, 1.0), ValueError, "at least one"),
        (lambda: local_epr(torch.ones(2, 3, dtype=torch.long), linear, linear, 1.0), ValueError, "floating point"),
        (lambda: local_epr(normal(2, 3).numpy(), linear, linear, 1.0), TypeError, "torch.as_tensor.*ndarray"),
        (lambda: local_epr(NAN_AT_ONE, cubic, cubic, 1.0), ValueError, "not finite in 1 of 2 rows; .* row 1"),
        (lambda: local_epr(normal(2, 3), linear, lambda x: x * math.nan, 1.0), ValueError, "the score is not finite"),
        (lambda: local_epr(normal(2, 3), linear, lambda x: x[:, :2], 1.0), ValueError, r"it came as \[2, 2\]"),
        (lambda: local_epr(normal(2, 3), lambda x: 1.0, linear, 1.0), TypeError, "the drift is a torch.Tensor"),
        (lambda: local_epr(normal(2, 3), linear, linear, torch.ones(2)), ValueError, r"broadcasts to \[3\].* \[2\]"),
        (lambda: local_epr(normal(2, 3), linear, linear, torch.eye(3)), ValueError, "diffusion is one number, or what"),
        (lambda: local_epr(normal(2, 3), linear, linear, -0.5), ValueError, "at least 0 and finite; it has -0.5"),
        (lambda: divergence(linear, normal(2, 3), method="guess"), ValueError, "'exact' or 'hutchinson'"),
        (lambda: divergence(linear, normal(2, 3), method="hutchinson", probes=0), ValueError, "probes: at least 1"),
        (lambda: divergence(linear, normal(2, 3), method="hutchinson", generator=0), TypeError, "torch.Generator"),
        (lambda: denoising_loss(linear, normal(2, 3), 0.1, generator=0), TypeError, "generator: a torch.Generator"),
        (lambda: score_matching_loss(linear, normal(2, 3), lam_pde=1.0), ValueError, "diffusion; give both"),
        (lambda: score_matching_loss(linear, normal(2, 3), linear, 1.0, -1.0), ValueError, "lam_pde must be"),
        (lambda: denoising_loss(linear, normal(2, 3), 0.0), ValueError, "delta must be above 0"),
        (lambda: denoising_loss(linear, normal(2, 3), math.nan), ValueError, "at least 0 and finite"),
    ],
    ids=[
        "flat", "empty", "whole", "numpy", "nan", "nan-score", "shape", "number", "diffusion", "matrix", "negative",
        "method", "probes", "seed", "seeded-denoising", "no-drift", "weight", "no-delta", "nan-delta",
    ],
)  # fmt: skip
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_keep_their_dtype(dtype):
    x = normal(4, 3).to(dtype)
    field = lambda z: z @ MATRIX.to(z).mT  # noqa: E731
    assert local_epr(x, field, field, float64([1.0, 2.0, 3.0])).dtype == dtype
    assert divergence(field, x).dtype == dtype
    assert denoising_loss(field, x, 0.1).dtype == dtype
    assert entropy_production_rate(x, field, field, 1.0).mean.dtype == torch.float64


def test_a_field_that_records_no_gradient_is_named_unless_it_is_the_same_everywhere():
    x = normal(5, 3)
    with pytest.raises(ValueError, match=r"records no gradient, so it has no derivative: look for torch\.no_grad"):
        divergence(torch.no_grad()(lambda x: -x), x)
    assert divergence(lambda x: torch.full_like(x, 2.0), x).eq(0).all()


def pairs(x):
    """Of two rows each, and what goes out adds up to nothing over coordinates."""
    return torch.stack([x[:, 0] + x.roll(1, 0)[:, 1], -x.roll(1, 0)[:, 1]], 1)


@pytest.mark.parametrize(
    ("field", "others"),
    [
        (lambda x: x - x.mean(0), 4),
        (lambda x: x / x.norm(), 4),
        (lambda x: nn.functional.batch_norm(x, None, None, training=True), 4),
        (pairs, 1),
    ],
    ids=["mean", "norm", "batch-norm", "cancels"],
)
@pytest.mark.parametrize("method", ["exact", "hutchinson"])
def test_a_field_that_couples_rows_is_named(field, others, method):
    x, first = normal(5, 2), 4 if others == 1 else 1
    said = f"couples rows of its batch: what it gives for row 0 depends on {others} others, the first is row {first}"
    for call in (
        lambda: divergence(field, x, method=method),
        lambda: score_matching_loss(field, x, method=method),
        lambda: epr_without_score(x, field, 1.0, method=method),
        lambda: stationarity(x, field, linear_of_two, 1.0, method=method),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def linear_of_two(x):
    return -x


def test_a_field_may_hold_something_for_each_row_or_be_random_or_fix_its_statistics():
    x, held = normal(5, 2), normal(5, 2, seed=1)
    torch.testing.assert_close(divergence(lambda x: x * held, x), held.sum(1))
    torch.testing.assert_close(divergence(lambda x: (x - x.detach().mean(0)) ** 2, x), 2 * (x - x.mean(0)).sum(1))
    dropped = nn.Dropout(0.5)
    assert set(divergence(dropped, x.expand(200, 5, 2)[:, 0]).tolist()) == {0.0, 2.0, 4.0}
    score = lambda x: torch.autograd.grad(-x.square().sum(), x, create_graph=True)[0]  # noqa: E731
    assert divergence(score, x).tolist() == [-4.0] * 5
