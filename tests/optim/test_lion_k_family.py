"""The members of Lion-K's family: the sheet's values, what convexity asks, and matrices by two ways."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.optim.lion_k import EXACT, FAMILY, MUON, convex, newton_schulz

from ..rounding import assert_within, bound
from .lion_k_cases import OPTIONS, draw, member

Z = torch.tensor([1.5, -0.2, 0.7, -3.0], dtype=torch.float64)
MATRIX = torch.tensor([[1.0, 2.0], [-0.5, 0.3], [0.2, -1.0]], dtype=torch.float64)
seeds = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("name", "z", "value", "conjugate"),
    [
        ("l1", Z, 5.4, 0.0),
        ("lp", Z, 3.132098, 0.0),
        ("l2", Z, 3.432200, 0.0),
        ("dead-zone", Z, 3.7, 1.5),
        ("huber", Z, 4.49, 0.79),
        ("top-k", Z, 4.5, 0.0),
        ("half-square", Z, 5.89, 5.89),
        ("nuclear", MATRIX, 3.209520, 0.0),
        ("logsumexp", Z, 1.996598, -0.934798),
    ],
)
def test_check_2_values_and_fenchel_young_equality(name, z, value, conjugate):
    K = member(name)
    direction = K.grad(z)
    assert float(K.value(z)) == pytest.approx(value, abs=5e-7)
    assert float(K.conjugate(direction)) == pytest.approx(conjugate, abs=5e-7)
    assert abs(float((z * direction).sum() - K.value(z) - K.conjugate(direction))) < 1e-12


def test_the_gradients_of_the_table():
    found = {name: member(name).grad(Z) for name in OPTIONS if name != "nuclear"}
    assert found["l1"].tolist() == [1, -1, 1, -1]
    assert found["dead-zone"].tolist() == [1, 0, 1, -1]
    assert found["huber"].tolist() == [1, -0.4, 1, -1]
    assert found["top-k"].tolist() == [1, 0, 0, -1]
    assert torch.equal(found["half-square"], Z)
    torch.testing.assert_close(found["lp"], Z.sign() * Z.square() / Z.abs().pow(3).sum() ** (2 / 3))
    torch.testing.assert_close(found["l2"], Z / Z.norm())
    torch.testing.assert_close(found["logsumexp"], Z.softmax(0))
    U, _, Vh = torch.linalg.svd(MATRIX, full_matrices=False)
    torch.testing.assert_close(member("nuclear").grad(MATRIX), U @ Vh)


@pytest.mark.parametrize("name", OPTIONS)
@given(first=seeds, second=seeds)
@settings(max_examples=15)
def test_what_convexity_asks(name, first, second):
    """K(z) + K*(y) ≥ ⟨z, y⟩; the gradient is one, and monotone; its image is where K* is finite."""
    K = member(name)
    z, w = (2.0 * draw(3, 4, seed=seed) for seed in (first, second))
    at_z, at_w = K.grad(z), K.grad(w)
    assert float(K.value(z) + K.conjugate(at_w)) >= float((z * at_w).sum()) - 1e-12
    assert float(K.value(w)) >= float(K.value(z) + (at_z * (w - z)).sum()) - 1e-12
    assert float(((at_z - at_w) * (z - w)).sum()) >= -1e-12
    assert float(K.distance(at_z)) <= 1e-12
    assert math.isfinite(K.conjugate(0.5 * (at_z + at_w)))


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_are_differences_of_values(name):
    K, z = member(name), 2.0 * draw(3, 4, seed=5)
    h, direction = 1e-6, draw(3, 4, seed=6)
    slope = float(K.value(z + h * direction) - K.value(z - h * direction)) / (2 * h)
    # Third derivatives are of order 1: h² and the rounding of values of order 10, over h.
    assert slope == pytest.approx(float((K.grad(z) * direction).sum()), abs=1e-7)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("half-square", "logsumexp")])
def test_outside_of_the_domain_the_conjugate_is_infinite_and_distance_says_how_far(name):
    K = member(name)
    border = K.grad(draw(3, 4))
    outside = 1.25 * border
    assert float(K.conjugate(outside)) == math.inf
    assert float(K.distance(outside)) == pytest.approx(0.25, abs=1e-12)
    assert math.isfinite(K.conjugate((1 + 1e-7) * border)), "rounding at the border"
    assert float(K.conjugate((1 + 1e-5) * border)) == math.inf


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["l1", "l2"])
def test_of_half_precision_two_eps_outside_pass_for_rounding(name, dtype):
    eps = torch.finfo(dtype).eps
    assert float(member(name).conjugate(torch.tensor([1 + 2 * eps], dtype=dtype))) == 0.0
    assert float(member(name).conjugate(torch.tensor([1 + 3 * eps], dtype=dtype))) == math.inf


def test_of_top_k_the_dual_ball_has_two_kinds_of_faces():
    K = convex("top-k", k=2)
    assert float(K.distance(torch.tensor([0.9, 0.9, 0.9]))) == pytest.approx(0.35)
    assert float(K.distance(torch.tensor([1.5, 0.0, 0.0]))) == pytest.approx(0.5)
    assert float(convex("top-k", k=9).value(Z)) == pytest.approx(5.4)


def test_the_simplex_is_measured_in_l1():
    K = convex("logsumexp")
    assert float(K.distance(torch.tensor([0.5, 0.75, -0.125]))) == pytest.approx(0.375)
    assert float(K.distance(torch.tensor([0.25, 0.25]))) == pytest.approx(0.5)
    assert float(K.conjugate(torch.tensor([1.0, 0.0]))) == 0.0
    assert float(K.conjugate(torch.tensor([0.5, 0.6]))) == math.inf


def test_half_square_has_no_constraint():
    K = convex("half-square")
    assert float(K.conjugate(100.0 * Z)) == pytest.approx(5000.0 * float(Z @ Z))
    assert float(K.distance(100.0 * Z)) == 0.0


def test_p_of_1_and_2_and_many():
    assert convex("lp") == convex("l2")
    torch.testing.assert_close(convex("lp", p=1.0).grad(Z), convex("l1").grad(Z))
    assert float(convex("lp", p=1.0).distance(3.0 * Z)) == pytest.approx(8.0)
    torch.testing.assert_close(convex("lp", p=2.0).grad(Z), convex("l2").grad(Z))
    # Of a large p only the largest entries count, and nothing vanishes or overflows on the way.
    found = convex("lp", p=500.0).grad(torch.tensor([1e-20, -1e-20, 1e-21]))
    torch.testing.assert_close(found, torch.tensor([0.5, -0.5, 0.0]), atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "logsumexp"])
def test_zeros_have_no_direction_and_nan_no_conjugate(name):
    K = member(name)
    for shape in ((2, 3), (1, 1)):
        assert torch.equal(K.grad(torch.zeros(shape)), torch.zeros(shape))
    assert float(K.value(torch.zeros(2, 3))) == 0.0
    assert K.least_at_zero
    for broken in ([[0.5, math.nan]], [[math.inf, math.nan]]):
        assert math.isnan(K.value(torch.tensor(broken)))
        assert math.isnan(K.conjugate(torch.tensor(broken)))
        assert math.isnan(K.distance(torch.tensor(broken)))


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("half-square", "logsumexp")])
def test_infinities_are_infinitely_far(name):
    K = member(name)
    for broken in ([[0.5, math.inf], [0.0, 1.0]], [[-math.inf, math.inf], [0.0, 1.0]]):
        assert float(K.value(torch.tensor(broken))) == math.inf
        assert float(K.distance(torch.tensor(broken))) == math.inf
        assert float(K.conjugate(torch.tensor(broken))) == math.inf


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_inside(name, dtype):
    K = member(name)
    z = (100.0 * draw(40, 40)).to(dtype)
    direction = K.grad(z)
    assert direction.dtype == dtype
    assert direction.shape == z.shape
    # Only the result is rounded: entries are at most 1, those of half-square z itself.
    wide = K.grad(z.float())
    assert_within(direction, wide, torch.finfo(dtype).eps * wide.abs() + torch.finfo(dtype).tiny)
    assert math.isfinite(K.value(z))
    assert K.value(z).dtype == torch.float32


@pytest.mark.parametrize("name", ["lp", "l2", "nuclear"])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_of_float32_neither_overflow_nor_vanish(name, scale):
    options = {"newton_schulz": 5} if name == "nuclear" else OPTIONS[name]
    z = draw(3, 4, dtype=torch.float32)
    K = convex(name, **options)
    # A dozen entries and a few operations on each; the steps of Newton-Schulz multiply errors by 3.4 each at most.
    torch.testing.assert_close(K.grad(scale * z), K.grad(z), atol=3.5**5 * bound(1.0, 30), rtol=0)


def test_noncontiguous_tensors():
    z = draw(6, 4).T
    for name in OPTIONS:
        torch.testing.assert_close(member(name).grad(z), member(name).grad(z.contiguous()), atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (1, 6)])
@pytest.mark.parametrize("coefficients", [MUON, EXACT])
def test_newton_schulz_is_its_polynomial_on_the_singular_values(shape, coefficients):
    z = draw(*shape, seed=2)
    U, s, Vh = torch.linalg.svd(z, full_matrices=False)
    s = s / s.norm()
    for _ in range(5):
        s = coefficients[0] * s + coefficients[1] * s**3 + coefficients[2] * s**5
    torch.testing.assert_close(newton_schulz(z, 5, coefficients), (U * s) @ Vh, atol=1e-9, rtol=0)


def test_newton_schulz_is_held_to_the_decomposition():
    z = draw(8, 12, seed=3)
    exact = convex("nuclear").grad(z)
    torch.testing.assert_close(
        convex("nuclear", newton_schulz=16, coefficients=EXACT).grad(z), exact, atol=1e-9, rtol=0
    )
    # From any share above 0.003 of the Frobenius norm, five steps of Muon lead into [0.6818, 1.2024].
    found = torch.linalg.svdvals(convex("nuclear", newton_schulz=5).grad(z))
    assert 0.6818 < float(found.min()) < float(found.max()) < 1.2025
    # The five steps together multiply a rounding of the start, 2⁻⁹ in bfloat16, by 16.5; later roundings by less.
    half = convex("nuclear", newton_schulz=5, bfloat16=True).grad(z)
    torch.testing.assert_close(half, newton_schulz(z), atol=0.05, rtol=0)
    assert float((half - newton_schulz(z)).abs().max()) > 1e-5
    assert half.dtype == z.dtype


def test_of_a_matrix_of_lower_rank_only_its_own_directions_are_taken():
    z = torch.outer(draw(4, seed=1), draw(5, seed=2))
    found = torch.linalg.svdvals(convex("nuclear").grad(z))
    torch.testing.assert_close(found, torch.tensor([1.0, 0, 0, 0], dtype=torch.float64), atol=1e-9, rtol=0)
    assert torch.equal(newton_schulz(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("l3", {}, "'l3' is none of l1, lp, l2"),
        ("huber", {}, "'huber' with options {}.*'e'"),
        ("l2", {"p": 3.0}, "'l2' with options"),
        ("huber", {"e": 0.0}, "huber: e must be a number above 0, got 0.0"),
        ("dead-zone", {"e": math.nan}, "dead-zone: e must be a number of at least 0"),
        ("lp", {"p": 0.5}, "p must be a number of at least 1, got 0.5"),
        ("lp", {"p": math.inf}, "p must be"),
        ("top-k", {"k": 0}, "k must be a whole number of at least 1"),
        ("top-k", {"k": 1.5}, "got 1.5"),
        ("nuclear", {"newton_schulz": -1}, "0 or more, got -1"),
        ("nuclear", {"coefficients": (1.0, 2.0)}, "three"),
    ],
)
def test_bad_options_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        convex(name, **options)


def test_the_nuclear_norm_is_of_matrices():
    K = convex("nuclear")
    for ask in (K.value, K.grad, K.distance, K.conjugate):
        with pytest.raises(ValueError, match=r"a parameter has shape \[2, 3, 4\]; put it into a group of another K"):
            ask(torch.zeros(2, 3, 4))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), ()])
def test_newton_schulz_is_of_matrices(shape):
    with pytest.raises(ValueError, match="newton_schulz: expected a matrix that is not empty, got shape"):
        newton_schulz(torch.zeros(shape))


def test_every_member_is_tested():
    assert list(FAMILY) == list(OPTIONS)
