"""CKA, Jensen-Shannon divergence, agreement: the sheet's numbers, what they do not depend on, and collapse."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.dynamics.pruning import agreement, linear_cka, mean_jensen_shannon

X = torch.tensor([[1, 0, 2], [0, 1, -1], [2, -1, 0], [1, 1, 1], [-1, 0, 0.5]], dtype=torch.float64)
Y = torch.tensor([[0.5, 1], [-1, 0.2], [1.5, -0.3], [0.2, 0.8], [0, -1]], dtype=torch.float64)
seeds = st.integers(0, 10**6)


def drawn(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_gram(X, Y):
    m = len(X)
    H = torch.eye(m, dtype=torch.float64) - 1 / m
    K, L = H @ X @ X.T @ H, H @ Y @ Y.T @ H
    return float((K * L).sum() / (K.norm() * L.norm()))


def by_gram_debiased(X, Y):
    m, one = len(X), torch.ones(len(X), dtype=torch.float64)

    def hsic(K, L):
        K, L = K - K.diag().diag(), L - L.diag().diag()
        return (
            (K @ L).trace() + one @ K @ one * (one @ L @ one) / ((m - 1) * (m - 2)) - 2 / (m - 2) * (one @ K @ L @ one)
        ) / (m * (m - 3))

    K, L = X @ X.T, Y @ Y.T
    return float(hsic(K, L) / (hsic(K, K) * hsic(L, L)).sqrt())


def test_check_2_worked_numbers():
    assert linear_cka(X, Y) == pytest.approx(0.735476, abs=1e-6)
    assert linear_cka(X, Y, debiased=True) == pytest.approx(0.241997, abs=1e-6)
    scaled = 1.5 * X + torch.tensor([0.3, 0.0, -0.2])
    assert linear_cka(X, scaled) == pytest.approx(1.0, abs=1e-12)
    assert linear_cka(X.softmax(1), scaled.softmax(1)) == pytest.approx(0.992761, abs=1e-6)


@given(seeds, st.integers(4, 9), st.integers(1, 12), st.integers(1, 12))
def test_check_2_both_forms_agree_whichever_is_smaller(seed, m, p, q):
    a, b = drawn(seed, m, p), drawn(seed + 1, m, q)
    assert linear_cka(a, b) == pytest.approx(by_gram(a, b), abs=1e-9)
    assert linear_cka(a, b, debiased=True) == pytest.approx(by_gram_debiased(a, b), abs=1e-6)


@given(seeds, st.booleans())
def test_check_2_what_it_does_not_depend_on(seed, debiased):
    a, b = drawn(seed, 8, 3), drawn(seed + 1, 8, 5)
    own = linear_cka(a, b, debiased)
    turn, _ = torch.linalg.qr(drawn(seed + 2, 3, 3))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    assert linear_cka(-2.5 * a @ turn + 7.0, b, debiased) == pytest.approx(own, abs=1e-9)
    assert linear_cka(b, a, debiased) == pytest.approx(own, abs=1e-9)
    assert linear_cka(a[order], b[order], debiased) == pytest.approx(own, abs=1e-9)
    assert linear_cka(a, a, debiased) == pytest.approx(1.0, abs=1e-9)
    assert own <= 1 + 1e-9
    assert debiased or own >= 0


def test_only_the_debiased_form_is_zero_in_the_mean_for_what_is_independent():
    pairs = [(drawn(seed, 12, 20), drawn(seed + 500, 12, 20)) for seed in range(200)]
    plain, debiased = (torch.tensor([linear_cka(a, b, d) for a, b in pairs]) for d in (False, True))
    # Five standard errors of the mean.
    assert abs(float(debiased.mean())) < 5 * float(debiased.std()) / 200**0.5
    assert float(plain.mean()) > 0.3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("debiased", [False, True])
def test_a_collapsed_network_is_like_nothing(dtype, debiased):
    constant = torch.full((9, 10), 0.1, dtype=dtype)
    other = drawn(0, 9, 10).to(dtype)
    for a, b, which in ((constant, other, "X"), (other, constant, "Y"), (constant, constant, "X")):
        with pytest.warns(RuntimeWarning, match=f"{which} is the same for all"):
            assert math.isnan(linear_cka(a, b, debiased))


def test_what_differs_by_little_has_not_collapsed():
    a = 1.0 + 1e-9 * drawn(0, 30, 3)
    assert linear_cka(a, a) == pytest.approx(1.0, abs=1e-9)


def test_half_precision_integers_and_strides():
    a, b = drawn(0, 9, 4).bfloat16(), drawn(1, 9, 4).half()
    assert linear_cka(a, b) == linear_cka(a.double(), b.double())
    assert linear_cka(a.T.contiguous().T, b) == pytest.approx(linear_cka(a, b), abs=1e-12)
    assert linear_cka(torch.eye(4, dtype=torch.long), torch.eye(4)) == pytest.approx(1.0, abs=1e-9)
    assert linear_cka(a.float().requires_grad_(), b) == linear_cka(a, b)


@pytest.mark.parametrize(
    ("a", "b", "debiased"),
    [
        (X, Y[:4], False),
        (X[0], Y[0], False),
        (X[:1], Y[:1], False),
        (X[:3], Y[:3], True),
        (X[:, :0], Y, False),
        (torch.empty(0, 3), torch.empty(0, 3), False),
    ],
)
def test_wrong_shapes_are_refused(a, b, debiased):
    with pytest.raises(ValueError, match=r"needs X \[m, p\] and Y"):
        linear_cka(a, b, debiased)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="NaN or inf"):
        linear_cka(X, Y.clone().fill_(bad))


def test_divergence_of_a_worked_pair_and_its_range():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    m = [0.375, 0.625]
    expected = 0.5 * sum(float(d[0, i]) * math.log(float(d[0, i]) / m[i]) for d in (p, q) for i in range(2))
    assert mean_jensen_shannon(p.log(), q.log()) == pytest.approx(expected, abs=1e-7)
    far = torch.tensor([[500.0, -500.0], [0.0, 0.0]])
    assert mean_jensen_shannon(far, -far) == pytest.approx(math.log(2) / 2, abs=1e-12)
    assert mean_jensen_shannon(far, far) == 0.0
    assert mean_jensen_shannon(p.log(), p.log() + 3.0) == pytest.approx(0.0, abs=1e-12)


@given(seeds)
def test_divergence_is_symmetric_and_between_0_and_ln_2(seed):
    a, b = 5 * drawn(seed, 6, 4), 5 * drawn(seed + 1, 6, 4)
    found = mean_jensen_shannon(a, b)
    assert mean_jensen_shannon(b, a) == pytest.approx(found, abs=1e-12)
    assert 0 <= found <= math.log(2)


def test_agreement_counts_equal_answers():
    a = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [1.0, 2.0]])
    b = torch.tensor([[9.0, 1.0], [5.0, 1.0], [0.5, 0.1], [0.0, 2.0]])
    assert agreement(a, b) == 0.75
    assert agreement(a, a) == 1.0


@pytest.mark.parametrize("function", [mean_jensen_shannon, agreement])
def test_logits_that_do_not_correspond_are_refused(function):
    for a, b in ((X, Y), (X[0], X[0]), (X[:0], X[:0])):
        with pytest.raises(ValueError, match="needs logits"):
            function(a, b)
    with pytest.raises(ValueError, match="NaN"):
        function(X, X.clone().fill_(math.nan))


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e305])
@pytest.mark.parametrize("debiased", [False, True])
def test_scale_does_not_matter_even_where_squares_leave_float64(scale, debiased):
    assert linear_cka(scale * X, Y, debiased) == pytest.approx(linear_cka(X, Y, debiased), abs=1e-9)


def test_examples_that_are_all_equally_unlike_have_no_debiased_form():
    """One-hot rows: off the diagonal the centred Gram matrix is one number."""
    onehot = 3.0 * torch.eye(6)
    for a, b, which in ((onehot, drawn(0, 6, 4), "X"), (drawn(0, 6, 4), onehot, "Y"), (onehot, onehot, "X")):
        with pytest.warns(RuntimeWarning, match=f"in {which} all pairs of examples are equally unlike"):
            assert math.isnan(linear_cka(a, b, debiased=True))
    assert linear_cka(onehot, onehot) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("function", [mean_jensen_shannon, agreement])
def test_logits_that_are_no_distribution_are_refused(function):
    log_p = torch.tensor([[0.0, -math.inf], [-0.7, -0.7]])
    assert math.isfinite(function(log_p, log_p))
    for bad in ([math.inf, 0.0], [-math.inf, -math.inf]):
        with pytest.raises(ValueError, match="logits hold NaN or inf, or a row of -inf"):
            function(log_p, torch.tensor([[0.0, 1.0], bad]))


def test_the_rounding_of_a_dtype_is_no_representation():
    a = torch.full((9, 10), 0.1)
    a[0, 0] = torch.nextafter(a[0, 0], torch.tensor(1.0))
    with pytest.warns(RuntimeWarning, match="X is the same for all"):
        assert math.isnan(linear_cka(a, drawn(0, 9, 4)))
    assert linear_cka(a.double(), a.double()) == pytest.approx(1.0, abs=1e-9)
