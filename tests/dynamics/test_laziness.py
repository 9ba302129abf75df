"""Alignments, ranks, initialisers and the theorem of rich and lazy learning (arXiv 2310.08513)."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.dynamics.laziness import (
    RateRNN,
    aligned_init_,
    alignment_for_task,
    effective_rank,
    expected_alignment,
    kernel_alignment,
    linear_flow,
    low_rank_init_,
    representation_alignment,
    sign_similarity,
    spectral_radius,
    truncate_rank,
    two_layer_kernel,
)

DIAGONAL = torch.diag(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))

X = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, -1]], dtype=torch.float64)

seeds = st.integers(0, 10**6)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthogonal(n, seed=0):
    return torch.linalg.qr(normal(n, n, seed=seed))[0]


@given(seeds)
@settings(max_examples=20)
def test_check_1_what_an_alignment_does_not_depend_on(seed):
    H, other = normal(6, 4, seed=seed), normal(6, 3, seed=seed + 1)
    K, L = H @ H.T, other @ other.T
    Q = orthogonal(6, seed)
    own = kernel_alignment(K, L)
    assert 0 <= own <= 1
    assert kernel_alignment(K, K) == pytest.approx(1, abs=1e-9)
    assert kernel_alignment(K, 3.7 * K) == pytest.approx(1, abs=1e-9)
    assert kernel_alignment(L, K) == pytest.approx(own, abs=1e-9)
    assert kernel_alignment(Q @ K @ Q.T, Q @ L @ Q.T) == pytest.approx(own, abs=1e-9)
    assert representation_alignment(H, other) == pytest.approx(own, abs=1e-9)
    assert representation_alignment(Q @ H, Q @ other) == pytest.approx(own, abs=1e-9)


@given(seeds, st.sampled_from([(9, 2, 3), (3, 8, 2), (4, 2, 7)]), st.booleans())
@settings(max_examples=20)
def test_either_form_of_a_representation_s_alignment_is_that_of_its_kernels(seed, sizes, center):
    m, a, b = sizes
    H0, H1 = normal(m, a, seed=seed) + 1.0, normal(m, b, seed=seed + 1) + 1.0
    found = representation_alignment(H0, H1, center=center)
    assert found == pytest.approx(kernel_alignment(H0 @ H0.T, H1 @ H1.T, center=center), abs=1e-9)


def test_centring_is_off_by_default_and_takes_out_a_mean_in_common():
    H0, H1 = normal(50, 4) + 10.0, normal(50, 4, seed=1) + 10.0
    assert representation_alignment(H0, H1) > 0.9
    assert representation_alignment(H0, H1, center=True) < 0.2
    a, b = H0 - H0.mean(0), H1 - H1.mean(0)
    linear_cka = (a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())
    assert representation_alignment(H0, H1, center=True) == pytest.approx(float(linear_cka), abs=1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scale_does_not_matter_even_where_squares_leave_float64(scale):
    K, L = normal(4, 4), normal(4, 4, seed=1)
    assert kernel_alignment(scale * K, L) == pytest.approx(kernel_alignment(K, L), abs=1e-9)
    assert effective_rank(scale * K) == pytest.approx(effective_rank(K), abs=1e-9)


def test_half_precision_is_compared_in_float64():
    H = (200.0 * normal(5, 3)).half()
    assert representation_alignment(H, H.double()) == pytest.approx(1.0, abs=1e-9)


def test_check_2_a_worked_representation():
    W = DIAGONAL + 0.3
    assert representation_alignment(X @ DIAGONAL.T, X @ W.T) == pytest.approx(0.990137, abs=1e-6)
    M0, M1 = (
        two_layer_kernel(DIAGONAL, torch.tensor([1.0, 0, -1]).double()),
        two_layer_kernel(W, torch.tensor([2.0, 0, -2]).double()),
    )
    assert kernel_alignment(X @ M0 @ X.T, X @ M1 @ X.T) == pytest.approx(0.992327, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("participation", 1.615385), ("stable", 1.3125), ("abs_eig", 0.583333), ("entropy", 2.600490)],
)
def test_check_3_ranks(kind, expected):
    assert effective_rank(DIAGONAL, kind) == pytest.approx(expected, abs=1e-6)
    assert effective_rank(torch.zeros(3, 3), kind) == 0.0
    assert effective_rank(torch.eye(4), kind) == pytest.approx(1.0 if kind == "abs_eig" else 4.0, abs=1e-9)


def test_a_rank_is_of_singular_values_unless_it_says_eigenvalues():
    shift = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    assert effective_rank(shift) == 1.0
    assert effective_rank(shift, "abs_eig") == 0.0
    assert spectral_radius(torch.tensor([[0.0, -3.0], [3.0, 0.0]])) == pytest.approx(3.0)
    Q, R = orthogonal(5), orthogonal(5, 1)
    W = normal(5, 5)
    assert effective_rank(Q @ W @ R) == pytest.approx(effective_rank(W), abs=1e-9)


def test_signs():
    before, after = torch.tensor([[1.0, 0.0, -2.0, 3.0]]), torch.tensor([[5.0, 1.0, -1.0, -3.0]])
    assert sign_similarity(before, after) == 0.5
    assert sign_similarity(before, before) == 1.0
    assert sign_similarity(torch.zeros(2), torch.tensor([0.0, -1.0])) == 0.5


def test_a_dead_network_has_no_alignment():
    with pytest.warns(RuntimeWarning, match="a kernel is zero on these probes"):
        assert math.isnan(kernel_alignment(torch.zeros(2, 2), torch.eye(2)))
    with pytest.warns(RuntimeWarning, match="an activity is zero"):
        assert math.isnan(representation_alignment(torch.zeros(5, 2), torch.ones(5, 2)))
    # All probes alike: nothing but rounding is left once their mean is taken out.
    alike, rows = normal(1, 5).expand(7, 5), normal(7, 1)
    with pytest.warns(RuntimeWarning, match="an activity is zero"):
        assert math.isnan(representation_alignment(alike, normal(7, 2), center=True))
    with pytest.warns(RuntimeWarning, match="a kernel is zero"):
        assert math.isnan(kernel_alignment(rows + rows.T, torch.eye(7), center=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel_alignment(torch.eye(2), torch.eye(3)), r"two kernels \[m, m\].*\[2, 2\] and \[3, 3\]"),
        (lambda: kernel_alignment(torch.ones(2, 3), torch.ones(2, 3)), "two kernels"),
        (lambda: kernel_alignment(torch.empty(0, 0), torch.empty(0, 0)), "two kernels"),
        (lambda: kernel_alignment(torch.eye(2), torch.tensor([[1, math.nan], [0, 1]])), "K1: 1 of 4 entries are NaN"),
        (lambda: representation_alignment(torch.ones(2, 3), torch.ones(3, 3)), "same probes"),
        (lambda: representation_alignment(torch.ones(2, 0), torch.ones(2, 3)), "same probes"),
        (lambda: representation_alignment(torch.full((2, 2), math.inf), X), "same probes"),
        (lambda: representation_alignment(torch.full((3, 2), math.inf), X), "H0: 6 of 6 entries"),
        (lambda: sign_similarity(torch.ones(2), torch.ones(3)), "one shape"),
        (lambda: sign_similarity(torch.ones(2), torch.tensor([1.0, math.nan])), "H1: 1 of 2"),
        (lambda: effective_rank(torch.ones(3)), r"a matrix \[N, d\], got shape \[3\]"),
        (lambda: effective_rank(torch.full((2, 2), math.nan)), "4 of 4 entries"),
        (lambda: effective_rank(torch.tensor([[1.0, math.inf], [0.0, 1.0]])), "1 of 4 entries"),
        (lambda: truncate_rank(torch.eye(3), 0), "rank must be 1 to 3"),
        (lambda: RateRNN(2, 3, 2, leak=1.1), "at most 1, got 1.1"),
        (lambda: effective_rank(torch.eye(2), "numerical"), "kind is participation, .* got 'numerical'"),
        (lambda: effective_rank(torch.ones(2, 3), "abs_eig"), "square"),
        (lambda: spectral_radius(torch.ones(2, 3)), "spectral_radius: a square matrix"),
        (lambda: truncate_rank(torch.ones(3, 3), 2), "rank must be 1 to 1"),
        (lambda: truncate_rank(torch.zeros(3, 3), 1), "rank must be 1 to 0"),
        (lambda: truncate_rank(torch.full((2, 2), math.nan), 1), "finite matrix"),
        (lambda: low_rank_init_(torch.empty(3), 1), "a matrix"),
        (lambda: low_rank_init_(torch.empty(2, 2, dtype=torch.long), 1), "floating point"),
        (lambda: low_rank_init_(torch.empty(2, 2), 1, gain=0.0), "gain must be above 0"),
        (lambda: aligned_init_(torch.empty(4, 3), torch.empty(3), torch.ones(3), 1.0), "w2 of N weights"),
        (lambda: aligned_init_(torch.empty(4, 3), torch.empty(4), torch.zeros(3), 1.0), "a norm of 0.0"),
        (lambda: aligned_init_(torch.empty(4, 3), torch.empty(4), torch.ones(3), -1.0), "a scale of -1.0"),
        (lambda: alignment_for_task(torch.eye(2), torch.ones(3)), r"M0 \[d, d\]"),
        (lambda: alignment_for_task(torch.eye(1), torch.ones(())), r"M0 \[d, d\]"),
        (lambda: two_layer_kernel(torch.ones(4, 3), torch.ones(5)), r"two_layer_kernel: .* got \[4, 3\] and \[5\]"),
        (lambda: two_layer_kernel(torch.ones(3), torch.ones(3)), "two_layer_kernel"),
        (lambda: linear_flow(torch.ones(4, 2, 3), torch.ones(5, 2), torch.ones(3)), r"got \[4, 2, 3\], \[5, 2\]"),
        (lambda: linear_flow(torch.ones(2, 3), torch.ones(2), torch.ones(3), max_steps=0), "max_steps"),
        (lambda: alignment_for_task(torch.zeros(3, 3), torch.ones(3)), "not zero"),
        (lambda: expected_alignment(torch.zeros(3), 3), "one of them above 0"),
        (lambda: expected_alignment(torch.tensor([1.0, -1.0]), 3), "from 0 up"),
        (lambda: expected_alignment(torch.ones(3), 2), "d = 2"),
        (lambda: linear_flow(torch.ones(2, 3), torch.ones(3), torch.ones(3)), r"w2 \[..., N\]"),
        (lambda: linear_flow(torch.ones(2, 3), torch.ones(2), torch.zeros(3)), "beta other than 0"),
        (lambda: linear_flow(torch.ones(2, 3), torch.ones(2), torch.full((3,), math.nan)), "finite weights"),
        (lambda: linear_flow(torch.ones(2, 3), torch.ones(2), torch.ones(3), step=1.0), "step in"),
        (lambda: RateRNN(2, 3, 2, leak=0.0), "leak must be above 0"),
        (lambda: RateRNN(2, 3, 2, rank=4), "rank must be 1 to 3"),
        (lambda: RateRNN(2, 3, 2)(torch.ones(3, 2)), r"inputs \[n, T, 2\] of T >= 1 steps, got \[3, 2\]"),
        (lambda: RateRNN(2, 3, 2)(torch.ones(3, 0, 2)), "of T >= 1 steps"),
        (lambda: RateRNN(2, 3, 2)(torch.ones(3, 1, 4)), r"got \[3, 1, 4\]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
