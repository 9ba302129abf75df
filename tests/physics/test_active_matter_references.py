"""Laws that are known: the sheet's numbers, what vanishes for all of them, and matrices that have no law."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from entrokit.physics.active_matter import (
    DrivenRing,
    SwirlingDoubleWell,
    divergence,
    entropy_production_rate,
    epr_without_score,
    local_epr,
    ou_reference,
    probability_flow,
    stationarity,
    stationary_residual,
)

from .active_matter_cases import ROTATING, THREE, TRAP, float64, normal, seeded


def linear(matrix):
    return lambda x: x @ matrix.mT


def test_check_1_a_rotation():
    found = ou_reference(*ROTATING)
    torch.testing.assert_close(found.cov, 0.5 * torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.v_matrix, float64([[0.0, 2.0], [-2.0, 0.0]]), rtol=0, atol=1e-12)
    assert found.epr == pytest.approx(8.0, abs=1e-12)
    assert ou_reference(torch.eye(2), 0.5).epr == pytest.approx(0.0, abs=1e-12)


def test_numbers_of_python_are_as_exact_as_those_of_tensors():
    found, exact = (
        ou_reference([[0.3, -0.7], [0.1, 1.1]], 0.1),
        ou_reference(float64([[0.3, -0.7], [0.1, 1.1]]), float64(0.1)),
    )
    assert torch.equal(found.cov, exact.cov)
    assert found.epr == exact.epr


def test_check_2_a_trapped_active_particle():
    found = ou_reference(*TRAP)
    torch.testing.assert_close(found.cov, float64([[0.866667, 0.666667], [0.666667, 1.0]]), rtol=0, atol=5e-7)
    expected = float64([[-0.526316, 0.684211], [-0.789474, 0.526316]])
    torch.testing.assert_close(found.v_matrix, expected, rtol=0, atol=5e-7)
    assert found.epr == pytest.approx(5 / 3, abs=1e-12)
    assert found.epr_by_coordinate.tolist() == pytest.approx([1.140351, 0.526316], abs=5e-7)


def test_check_3_three_dimensions():
    A, D = THREE
    found = ou_reference(A, D)
    assert found.epr == pytest.approx(0.540986, abs=5e-7)
    assert found.epr_by_coordinate.tolist() == pytest.approx([0.175646, 0.237633, 0.127708], abs=5e-7)
    assert found.v_matrix.diagonal().tolist() == pytest.approx([-0.159087, 0.128852, 0.030235], abs=5e-7)
    x, drift, score = float64([[1.0, -0.5, 0.25]]), linear(-A), linear(found.score_matrix)
    assert score(x)[0].tolist() == pytest.approx([-6.639417, 1.798240, -0.820101], abs=5e-7)
    flow = probability_flow(drift, score, D)(x)
    assert flow[0].tolist() == pytest.approx([-0.333175, -0.799120, 0.945101], abs=5e-7)
    assert local_epr(x, drift, score, D).item() == pytest.approx(2.540420, abs=5e-7)


@pytest.mark.parametrize(("A", "D"), [ROTATING, TRAP, THREE], ids=["rotating", "trap", "three"])
def test_check_4_the_total_without_a_score(A, D):
    """On points whose covariance is exactly Σ both means are their expectations."""
    found = ou_reference(A, D)
    n = len(A)
    root = torch.linalg.cholesky(n * found.cov)
    x = torch.cat([root.mT, -root.mT])
    with_score = entropy_production_rate(x, linear(-A), linear(found.score_matrix), D).mean
    without = epr_without_score(x, linear(-A), D).mean
    assert with_score.item() == pytest.approx(found.epr, abs=1e-10)
    assert without.item() == pytest.approx(found.epr, abs=1e-10)


def test_check_4_the_driven_ring():
    ring = DrivenRing()
    assert ring.current == pytest.approx(0.052998, abs=5e-7)
    assert ring.epr == pytest.approx(0.233098, abs=5e-7)
    x = float64([[math.pi / 2], [3 * math.pi / 2]])
    flow, score = ring.flow(x), ring.score(x)
    assert ring.density(x[:1]).item() == pytest.approx(0.051987, abs=5e-7)
    assert score.flatten().tolist() == pytest.approx([1.180546, -1.084429], abs=5e-7)
    assert flow.flatten().tolist() == pytest.approx([1.019454, 0.284429], abs=5e-7)
    # By mpmath in 25 digits; the sheet's last ones are off by 1.
    assert divergence(ring.flow, x).tolist() == pytest.approx([-1.2035124, 0.3084435], abs=5e-8)
    assert (flow * score).flatten().tolist() == pytest.approx([1.2035124, -0.3084435], abs=5e-8)


def test_the_ring_s_law_is_one_and_stationary():
    ring = DrivenRing(0.4, 0.9, 0.6)
    x = torch.arange(400, dtype=torch.float64)[:, None] * (2 * math.pi / 400)
    weight = ring.density(x) * (2 * math.pi / 400)
    assert weight.sum().item() == pytest.approx(1.0, abs=1e-12)
    sigma = local_epr(x, ring.drift, ring.score, ring.diffusion)
    assert (weight[:, 0] * sigma).sum().item() == pytest.approx(ring.epr, abs=1e-10)
    residual = stationary_residual(ring.score, x, ring.drift, ring.diffusion)
    torch.testing.assert_close(residual, torch.zeros_like(residual), rtol=0, atol=1e-9)


def test_the_published_penalty_punishes_the_right_score():
    """With the authors' weights their term is E[(v·s)²], which the ring's own score leaves far from 0."""
    ring = DrivenRing()
    x = torch.arange(400, dtype=torch.float64)[:, None] * (2 * math.pi / 400)
    weight = ring.density(x)[:, 0] * (2 * math.pi / 400)
    published = (weight * (ring.flow(x) * ring.score(x)).sum(1).square()).sum()
    whole = (weight * stationary_residual(ring.score, x, ring.drift, 1.0).square()).sum()
    assert published.item() == pytest.approx(0.155985, abs=5e-7)
    assert whole < 1e-18


def test_check_8_the_double_well():
    well = SwirlingDoubleWell()
    assert well.epr == pytest.approx(15.734128, abs=5e-7)
    x = well.sample(50_000, seeded())
    second = x[:, 0].square()
    assert second.mean().item() == pytest.approx(0.832745, abs=5 * second.std().item() / math.sqrt(50_000))
    found = entropy_production_rate(x, well.drift, well.score, 1.0)
    assert found.mean.item() == pytest.approx(well.epr, abs=5 * found.stderr.item())
    near = x[:100]
    torch.testing.assert_close(local_epr(near, well.drift, well.score, 1.0), 2.25 * well.score(near).square().sum(1))
    assert stationary_residual(well.score, near, well.drift, 1.0).abs().max() < 1e-9


def test_quantiles_of_the_double_well_are_even(monkeypatch):
    u = float64([0.01, 0.3, 0.5, 0.7, 0.99])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: u)
    x = SwirlingDoubleWell().sample(5, seeded())[:, 0]
    torch.testing.assert_close(x, -x.flip(0), rtol=0, atol=1e-9)


def test_what_vanishes_does_on_samples_and_not_for_a_wrong_score():
    well = SwirlingDoubleWell()
    x = well.sample(20_000, seeded(1))
    for name, (mean, error) in stationarity(x, well.drift, well.score, 1.0).items():
        assert abs(mean) < 5 * error + 1e-12, name
    wrong = stationarity(x, well.drift, lambda z: 1.2 * well.score(z), 1.0)
    assert all(abs(mean) > 5 * error for name, (mean, error) in wrong.items() if name != "div_v")


@given(st.integers(1, 5), st.integers(0, 10_000))
def test_every_law_is_stationary_and_its_rate_no_matter_of_axes(n, seed):
    drawn = normal(4, n, n, seed=seed)
    noise = drawn[0] @ drawn[0].mT + torch.eye(n)
    # The symmetric part is positive definite, so every eigenvalue has a positive real part.
    A = drawn[1] @ drawn[1].mT + 0.5 * torch.eye(n) + drawn[2] - drawn[2].mT
    found = ou_reference(A, noise)
    cov, V = found.cov, found.v_matrix
    torch.testing.assert_close(A @ cov + cov @ A.mT, 2 * noise, rtol=1e-8, atol=1e-8)
    assert V.trace().item() == pytest.approx(0.0, abs=1e-8 * float(A.abs().sum()))
    # V Σ is antisymmetric: v is a rotation along the levels of the law.
    torch.testing.assert_close(V @ cov, -(V @ cov).mT, rtol=1e-7, atol=1e-7 * float(noise.abs().max()))
    assert found.epr >= -1e-9
    turn = torch.linalg.qr(drawn[3])[0]
    turned = ou_reference(turn @ A @ turn.mT, turn @ noise @ turn.mT)
    assert turned.epr == pytest.approx(found.epr, rel=1e-6, abs=1e-8)


def test_numbers_of_numpy_will_do():
    assert ou_reference(TRAP[0].numpy(), TRAP[1].numpy()).epr == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("A", "D", "message"),
    [
        (torch.zeros(2, 3), 1.0, r"square matrix \[n, n\]; its shape is \[2, 3\]"),
        (torch.zeros(0, 0), 1.0, "square matrix"),
        (torch.eye(2), torch.ones(3), r"D is a number, \[2\] or \[2, 2\]; its shape is \[3\]"),
        (-torch.eye(2), 1.0, "an eigenvalue of real part -1: the motion has no stationary law"),
        (torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), 1.0, "no stationary law"),
        (torch.eye(2), torch.tensor([1.0, 0.0]), "no D⁻¹"),
        (torch.eye(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (torch.eye(2) * math.nan, 1.0, "A is not finite"),
        (torch.eye(2), math.inf, "D is not finite"),
    ],
    ids=["oblong", "empty", "diffusion", "unstable", "undamped", "still", "skew", "nan", "infinite"],
)
def test_motions_without_a_law_are_named(A, D, message):
    with pytest.raises(ValueError, match=message):
        ou_reference(A, D)


def test_references_refuse_what_they_are_not():
    with pytest.raises(ValueError, match="diffusion must be above 0"):
        DrivenRing(diffusion=0.0)
    with pytest.raises(ValueError, match="a diffusion of 1"):
        SwirlingDoubleWell(diffusion=2.0)


def test_a_ring_is_right_up_to_the_diffusion_at_which_it_is_refused():
    # Without amplitude the law is even: sigma = force² / diffusion. Then a barrier, by SciPy's adaptive quadrature.
    assert DrivenRing(1.0, 0.0, 0.005).epr == pytest.approx(200.0, rel=1e-10)
    ring = DrivenRing(0.3, 1.0, 0.007)

    def lap(x):
        tops = [math.pi - math.asin(0.3) + turn * math.pi - x for turn in (-1, 1, 3)]
        tops += [math.asin(0.3) + turn * math.pi - x for turn in (0, 1, 2)]
        inside = [top for top in tops if 0 < top < 2 * math.pi]
        rise = lambda y: math.exp((-0.3 * y + math.cos(x + y) - math.cos(x)) / 0.007)  # noqa: E731
        return integrate.quad(rise, 0, 2 * math.pi, points=inside, limit=200, epsabs=0, epsrel=1e-12)[0]

    at = (1.0, 2.5, 3.5)
    found = ring.density(torch.tensor(at, dtype=torch.float64)[:, None])
    wanted = torch.tensor([lap(x) for x in at], dtype=torch.float64)[:, None]
    torch.testing.assert_close(found / found[0], wanted / wanted[0], rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match=r"\(\|force\| \+ \|amplitude\|\) / diffusion is at most 200.*; it is 3500"):
        DrivenRing(2.0, 1.5, 0.001)
    with pytest.raises(ValueError, match="it is nan"):
        DrivenRing(math.nan)


@pytest.mark.parametrize("diffusion", [0.015, 0.5], ids=str)
def test_a_ring_with_its_force_turned_back_is_its_mirror_image(diffusion):
    one, other = DrivenRing(0.7, 1.5, diffusion), DrivenRing(-0.7, 1.5, diffusion)
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    torch.testing.assert_close(one.density(x), other.density(-x))
    torch.testing.assert_close(one.flow(x), -other.flow(-x))
    assert other.epr == pytest.approx(one.epr, rel=1e-12)
    # Back with a large force, where exp(2 pi force / diffusion) is beyond float64.
    assert DrivenRing(-2.0, 0.0, 0.01).epr == pytest.approx(400.0, rel=1e-10)


def test_samples_are_of_a_count_and_a_generator():
    well = SwirlingDoubleWell()
    assert torch.equal(well.sample(3.0, seeded()), well.sample(3, seeded()))
    with pytest.raises(ValueError, match="count: a whole number"):
        well.sample(2.5)
    with pytest.raises(TypeError, match=r"generator: a torch\.Generator"):
        well.sample(3, 0)


def test_complex_motions_are_named():
    with pytest.raises(ValueError, match="A and D are real"):
        ou_reference(torch.tensor([[1 + 1j]]), 1.0)
