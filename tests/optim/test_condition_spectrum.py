"""KappaTune (arXiv 2506.16289): condition numbers and volumes of one matrix. Numbers from the sheet's checks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.optim.condition import (
    condition_number,
    gaussian_condition_number,
    linear_gaussian_entropy,
    linear_gaussian_information,
    log_volume,
    normalized_log_volume,
    singular_values,
)

from .conditioned import DIAGONAL, TWO_ROWS

FLOAT64 = torch.float64
UNIT = torch.finfo(FLOAT64).eps / 2
matrices = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6)).map(
    lambda drawn: gaussian(*drawn[:2], seed=drawn[2])
)


def gaussian(rows, columns, seed=0, dtype=FLOAT64):
    return torch.randn(rows, columns, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def orthogonal(n, seed=0):
    return torch.linalg.qr(gaussian(n, n, seed))[0]


def with_spectrum(values, columns=None, seed=0):
    """A matrix of those singular values between random orthogonal ones."""
    k = len(values)
    middle = torch.zeros(k, columns or k, dtype=FLOAT64)
    middle[range(k), range(k)] = torch.as_tensor(values, dtype=FLOAT64)
    return orthogonal(k, seed) @ middle @ orthogonal(columns or k, seed + 1)


def two_by_two(kappa):
    """Of ‖W‖_F² = 2 and that κ."""
    small = math.sqrt(2.0 / (1.0 + kappa**2))
    return torch.diag(torch.tensor([kappa * small, small], dtype=FLOAT64))


def kappa_by_svd(matrix):
    values = torch.linalg.svdvals(matrix.double())
    return float(values[0] / values[-1])


def test_check_1_condition_numbers():
    assert condition_number(DIAGONAL) == pytest.approx(4.0, rel=1e-12)
    assert condition_number(TWO_ROWS) == pytest.approx(2.710229, abs=5e-7)
    assert condition_number(torch.ones(4, 2)) == math.inf


@given(matrices, st.floats(1e-6, 1e6), st.integers(0, 1000))
@settings(max_examples=40)
def test_check_2_what_kappa_does_not_depend_on(W, c, seed):
    own = condition_number(W, rtol=0.0)
    for other in (c * W, -W, W.mT, orthogonal(len(W), seed) @ W):
        # Each side is off by a share of about k u κ; random matrices this small have κ of thousands at most.
        assert condition_number(other, rtol=0.0) == pytest.approx(own, rel=1e-10 + 1e-14 * own)
    assert own >= 1.0


@pytest.mark.parametrize(
    ("kappa", "entropy"), [(1, 2.837877), (2, 2.614734), (4, 2.084105), (16, 0.754537), (100, -1.074246)]
)
def test_check_3_entropy_at_a_fixed_norm(kappa, entropy):
    W = two_by_two(kappa)
    assert float(linear_gaussian_entropy(W)) == pytest.approx(entropy, abs=1e-6)
    assert float(log_volume(W)) == pytest.approx(math.log(2.0 * kappa / (1.0 + kappa**2)), abs=1e-12)
    assert float(linear_gaussian_entropy(W, sigma=3.0)) == pytest.approx(entropy + 2.0 * math.log(3.0), abs=1e-6)


def test_check_3_entropy_knows_the_volume_and_not_kappa():
    for W in (DIAGONAL, torch.eye(3)):
        assert float(linear_gaussian_entropy(W)) == pytest.approx(4.256816, abs=1e-6)


def test_nu_is_twice_the_entropy_that_unevenness_costs_a_direction():
    even = torch.eye(3) * DIAGONAL.norm() / math.sqrt(3)
    lost = float(linear_gaussian_entropy(even) - linear_gaussian_entropy(DIAGONAL)) / 3
    assert float(normalized_log_volume(DIAGONAL)) == pytest.approx(-2 * lost, rel=1e-6)
    assert float(normalized_log_volume(DIAGONAL)) == pytest.approx(-0.5596, abs=1e-4)
    assert float(log_volume(DIAGONAL)) == pytest.approx(0.0, abs=1e-9)


def test_check_4_entropy_of_samples():
    W, g = gaussian(4, 4), torch.Generator().manual_seed(1)
    y = torch.randn(200_000, 4, dtype=FLOAT64, generator=g) @ W.mT
    fitted = 0.5 * (4 * math.log(2 * math.pi * math.e) + torch.linalg.slogdet(torch.cov(y.mT))[1])
    # ln det of a sample covariance has standard deviation sqrt(2 · 4 / 200 000) = 0.0063, half of that here.
    assert float(linear_gaussian_entropy(W)) == pytest.approx(float(fitted), abs=0.01)


@pytest.mark.parametrize(("kappa", "nats"), [(1, 4.615121), (4, 3.894838), (100, 2.661503)])
def test_check_5_information_through_noise(kappa, nats):
    assert float(linear_gaussian_information(two_by_two(kappa), noise=0.1)) == pytest.approx(nats, abs=1e-6)
    scaled = linear_gaussian_information(two_by_two(kappa), sigma=5.0, noise=0.5)
    assert float(scaled) == pytest.approx(nats, abs=1e-6)


@pytest.mark.parametrize(
    ("t", "kappa", "volume"),
    [(0, 1.0, 0.0), (5, 3.074955, -0.398541), (10, 6.741902, -1.299073), (20, 23.696845, -3.317374)],
)
def test_check_6_specialisation_raises_kappa(t, kappa, volume):
    u = torch.arange(1.0, 9.0, dtype=FLOAT64)
    T = math.sqrt(8.0) * torch.outer(u / u.norm(), torch.full((8,), 8.0**-0.5, dtype=FLOAT64))
    W = T + (torch.eye(8, dtype=FLOAT64) - T) * 0.9**t
    assert condition_number(W) == pytest.approx(kappa, abs=5e-6)
    assert float(normalized_log_volume(W)) == pytest.approx(volume, abs=1e-6)


@given(matrices, st.floats(1e-3, 1e3))
@settings(max_examples=40)
def test_volumes_of_multiples_and_their_bounds(W, c):
    k, norm = min(W.shape), float(W.square().sum())
    assert float(log_volume(c * W)) == pytest.approx(float(log_volume(W)) + k * math.log(c), abs=1e-9)
    assert float(log_volume(W)) <= k / 2 * math.log(norm / k) + 1e-9
    assert float(normalized_log_volume(c * W)) == pytest.approx(float(normalized_log_volume(W)), abs=1e-9)
    assert float(normalized_log_volume(W)) <= 1e-12
    assert 0.0 < float(linear_gaussian_information(W)) <= 0.5 * norm


def test_an_even_map_has_the_largest_volume_and_reports_zero():
    assert float(normalized_log_volume(3.0 * orthogonal(6))) == pytest.approx(0.0, abs=1e-12)
    assert float(log_volume(torch.full((1, 5), 2.0))) == pytest.approx(math.log(2.0 * math.sqrt(5.0)), abs=1e-12)
    tall, wide = gaussian(7, 3), gaussian(7, 3).mT
    assert float(linear_gaussian_entropy(tall)) == pytest.approx(float(linear_gaussian_entropy(wide)), abs=1e-12)


@pytest.mark.parametrize("volume", [log_volume, normalized_log_volume, linear_gaussian_entropy])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_gradients(volume, shape):
    W = gaussian(*shape).requires_grad_()
    assert torch.autograd.gradcheck(volume, (W,))
    assert torch.autograd.gradcheck(linear_gaussian_information, (W,))


def test_the_gradient_of_a_volume_is_the_inverse():
    W = gaussian(4, 4).requires_grad_()
    log_volume(W).backward()
    torch.testing.assert_close(W.grad, torch.linalg.inv(W.detach()).mT, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("W", [torch.ones(4, 2), torch.zeros(2, 3)], ids=["ones", "zeros"])
def test_singular_maps_have_no_volume_but_information(W):
    W = W.clone().requires_grad_()
    for volume in (log_volume, normalized_log_volume, linear_gaussian_entropy):
        value = volume(W)
        assert float(value.detach()) == -math.inf
        (gradient,) = torch.autograd.grad(value, W)
        assert not gradient.any()
    assert condition_number(W) == math.inf
    assert math.isfinite(float(linear_gaussian_information(W).detach()))


@pytest.mark.parametrize("shape", [(30, 70), (70, 30), (39, 40)])
def test_the_gram_matrix_gives_the_singular_values(shape):
    W = gaussian(*shape)
    found, how = singular_values(W)
    assert how == "gram"
    exact = torch.linalg.svdvals(W)
    error = UNIT * (max(shape) * float(W.square().sum()) + min(shape) * float(exact[0]) ** 2)
    # d s = d(s²) / 2s, to first order, and the bound itself is below 1e-4 of s².
    assert ((found - exact).abs() <= 1.001 * error / (2.0 * exact) + 40 * UNIT * exact[0]).all()


@pytest.mark.parametrize("log_kappa", [1, 2, 3, 4, 4.83, 4.845, 5, 6, 7, 8, 9, 10, 11])
def test_the_gram_matrix_is_left_where_the_bound_says_so(log_kappa):
    kappa = 10.0**log_kappa
    W = with_spectrum([1.0] * 9 + [1.0 / kappa], columns=20)
    found, how = singular_values(W, rtol=1e-4)
    # N tr G / λ_1 + k, with κ² where the boundary lies: 1e-4 / (u (20 · 9 + 10)) = 4.7e9.
    assert how == ("gram" if kappa**2 < 1e-4 / (UNIT * 190) else "svd")
    assert how == ("gram" if log_kappa < 4.84 else "svd")
    allowed = 1e-4 if how == "gram" else 10 * 20 * UNIT * kappa
    assert float(found[0] / found[-1]) == pytest.approx(kappa, rel=allowed)


def test_the_gram_matrix_alone_would_be_wrong_where_it_is_left():
    W = with_spectrum([1.0, 0.9, 0.8, 0.7, 1e-10], columns=20)
    # Its eigenvalue is 1e-20, and rounding one of 1e-16: right in no digit.
    assert not 0.9e-20 < float(torch.linalg.eigvalsh(W @ W.mT)[0]) < 1.1e-20
    assert condition_number(W) == pytest.approx(1e10, rel=1e-4)


def test_rtol_decides_when_the_svd_is_taken_and_square_matrices_always_take_it():
    assert singular_values(torch.eye(3))[1] == "svd"
    W = gaussian(20, 25)
    assert singular_values(W, rtol=0.0)[1] == "svd"
    assert singular_values(W, rtol=1e-12)[1] == "svd"
    assert singular_values(W, rtol=1e-4)[1] == "gram"


def test_more_columns_than_are_held_at_a_time(monkeypatch):
    W = gaussian(6, 50, dtype=torch.float32)
    whole, _ = singular_values(W)
    monkeypatch.setattr("entrokit.optim.condition.spectrum._SLAB", 7)
    parts, how = singular_values(W.mT)
    assert how == "gram"
    torch.testing.assert_close(parts, whole, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e160, 1e300, 2.0**1023 * 0.2])
def test_squares_neither_overflow_nor_vanish(scale):
    W = with_spectrum([4.0, 2.0, 1.0], columns=5)
    assert condition_number(W * scale) == pytest.approx(4.0, rel=1e-9)
    assert float(normalized_log_volume(W * scale)) == pytest.approx(float(normalized_log_volume(W)), abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_precision_is_that_of_the_weights_as_they_are(dtype):
    W = gaussian(12, 12, dtype=FLOAT64).to(dtype)
    assert condition_number(W) == pytest.approx(kappa_by_svd(W), rel=1e-4)
    assert condition_number(W[:, ::2]) == pytest.approx(kappa_by_svd(W[:, ::2].clone()), rel=1e-4)
    assert log_volume(W).dtype == FLOAT64


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(8, 8), (30, 30), (20, 60)])
def test_a_singular_matrix_that_was_rounded_is_singular(seed, shape):
    W = gaussian(*shape, seed=seed)
    W[0] = W[1:].sum(0) / len(W) ** 0.5
    rounded = W.float()
    assert kappa_by_svd(rounded) < 1e16
    assert condition_number(rounded) == math.inf
    assert float(log_volume(rounded)) == -math.inf
    for half in (torch.bfloat16, torch.float16):
        values = torch.linalg.svdvals(W.to(half).double())
        assert values[-1] <= torch.finfo(half).eps * values[0], "what MatrixCondition.resolution says"


def test_the_floor_of_the_adapter_version_depends_on_scale():
    W = torch.diag(torch.tensor([4.0, 1.0]))
    assert condition_number(W, floor=1e-8) == pytest.approx(4.0 / (1.0 + 1e-8), rel=1e-12)
    assert condition_number(1e-8 * W, floor=1e-8) == pytest.approx(2.0, rel=1e-6)
    assert condition_number(torch.ones(4, 2), floor=1e-8) == pytest.approx(math.sqrt(8.0) * 1e8, rel=1e-6)
    assert condition_number(torch.zeros(2, 2), floor=1e-8) == math.inf, "its equation gives 0: first to be trained"


def test_kappa_is_mostly_shape():
    wide, wider = gaussian_condition_number(64, 128), gaussian_condition_number(64, 256)
    # 5.3 and 2.8 of the sheet; medians of nine draws move in the second digit.
    assert wide == pytest.approx(5.3, rel=0.1)
    assert wider == pytest.approx(2.8, rel=0.1)
    assert 90 < gaussian_condition_number(64, 64, draws=25) < 1136
    assert gaussian_condition_number(128, 64) == wide
    assert gaussian_condition_number(1, 5) == 1.0
    generator = torch.Generator().manual_seed(5)
    drawn = sorted(condition_number(torch.randn(4, 6, generator=generator)) for _ in range(3))
    assert gaussian_condition_number(6, 4, draws=3, seed=5) == drawn[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: condition_number(torch.ones(3)), ValueError, r"a matrix that is not empty, got shape \[3\]"),
        (lambda: condition_number(torch.ones(0, 3)), ValueError, r"got shape \[0, 3\]"),
        (lambda: condition_number(torch.ones(2, 2, dtype=torch.int8)), TypeError, "dequantise"),
        (lambda: condition_number(torch.ones(2, 2, dtype=torch.complex64)), TypeError, "complex64"),
        (lambda: condition_number(torch.tensor([[1.0, math.nan]])), ValueError, "1 of 2 entries are NaN or inf"),
        (lambda: condition_number(torch.tensor([[1.0, -math.inf]])), ValueError, "1 of 2 entries are NaN or inf"),
        (lambda: condition_number(DIAGONAL, floor=0.0), ValueError, "floor must be above 0"),
        (lambda: condition_number(DIAGONAL, rtol=-1.0), ValueError, "rtol"),
        (lambda: condition_number(DIAGONAL, rtol=math.nan), ValueError, "rtol"),
        (lambda: log_volume(torch.ones(3)), ValueError, "log_volume: expected a matrix"),
        (lambda: log_volume(torch.ones(2, 2, dtype=torch.long)), TypeError, "int64"),
        (lambda: normalized_log_volume(torch.tensor([[math.inf]])), ValueError, "NaN or inf"),
        (lambda: linear_gaussian_entropy(DIAGONAL, sigma=0.0), ValueError, "sigma"),
        (lambda: linear_gaussian_information(DIAGONAL, noise=0.0), ValueError, "noise"),
        (lambda: linear_gaussian_information(DIAGONAL, sigma=math.nan), ValueError, "sigma"),
        (lambda: gaussian_condition_number(0, 3), ValueError, "at least 1"),
        (lambda: gaussian_condition_number(3, 3, draws=0), ValueError, "at least 1"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
