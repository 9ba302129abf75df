"""Diffusion spectral entropy: the sheet's numbers, its limits and symmetries, gradients, and all kinds of reference."""

import math
import sys
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.information.spectral import (
    DiffusionSpectralEntropyLoss,
    adjacency_spectral_entropy,
    binned_entropy,
    categories,
    diffusion_eigenvalues,
    diffusion_spectral_entropy,
    diffusion_spectral_mutual_information,
    matrix_entry_entropy,
    spectral_entropy,
)

FIXED = torch.tensor(
    [[math.sin(0.7 * i + 1.3 * j) + 0.1 * ((i * j) % 5) for j in range(3)] for i in range(6)], dtype=torch.float64
)
CLUSTERS = 1000.0 * torch.eye(4, dtype=torch.float64).repeat_interleave(25, 0)
clouds = st.integers(0, 10**6).map(
    lambda seed: torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
)


def dse(x, **options):
    return float(diffusion_spectral_entropy(x, **options))


@pytest.mark.parametrize(
    ("d", "sigma", "t", "expected"),
    [(1.0, 1.0, 1, 0.715349), (1.0, 1.0, 2, 0.313759), (2.0, 1.0, 1, 0.986747), (1.0, 10.0, 1, 0.025158)],
)
def test_check_1_two_points(d, sigma, t, expected):
    assert dse(torch.tensor([[0.0], [d]]), sigma=sigma, t=t) == pytest.approx(expected, abs=1e-6)


def test_check_2_equidistant_points():
    x = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(
        diffusion_eigenvalues(x, sigma=1.0)[1:], torch.full((4,), 0.255762).double(), atol=1e-6, rtol=0
    )
    assert dse(x, sigma=1.0) == pytest.approx(2.011299, abs=1e-6)


def test_check_3_limits():
    assert abs(dse(torch.ones(9, 4))) < 1e-9
    assert dse(1000.0 * torch.arange(16.0)[:, None], sigma=1.0) == pytest.approx(4.0, abs=1e-9)
    for t in (1, 2, 5):
        assert dse(CLUSTERS, sigma=1.0, t=t) == pytest.approx(2.0, abs=1e-9)


def test_check_4_a_fixed_matrix():
    expected = torch.tensor([1, 0.538088, 0.329676, 0.119062, 0.042898, 0.014589], dtype=torch.float64)
    torch.testing.assert_close(diffusion_eigenvalues(FIXED, sigma=1.0), expected, atol=1e-6, rtol=0)
    for t, plain, half in ((1, 1.842783, 1.845391), (2, 1.187503, 1.222965), (5, 0.291355, 0.347643)):
        assert dse(FIXED, sigma=1.0, t=t) == pytest.approx(plain, abs=2e-6)
        assert dse(FIXED, sigma=1.0, t=t, alpha=0.5) == pytest.approx(half, abs=2e-6)
    assert dse(FIXED, sigma=0.5) == pytest.approx(2.470786, abs=1e-6)
    assert dse(FIXED, sigma=10.0) == pytest.approx(0.086871, abs=1e-6)
    assert dse(FIXED, sigma=1.0, alpha=1.0) == pytest.approx(1.844124, abs=1e-6)
    assert float(matrix_entry_entropy(FIXED, sigma=1.0)) == pytest.approx(4.851910, abs=1e-6)
    assert float(binned_entropy(FIXED)) == pytest.approx(2.251629, abs=1e-6)


@given(clouds, st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=30)
def test_check_5_what_it_does_not_depend_on(x, alpha):
    own = dse(x, sigma=1.0, alpha=alpha)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert dse(x.flip(0) @ turn + 40.0, sigma=1.0, alpha=alpha) == pytest.approx(own, abs=1e-8)
    assert dse(3.0 * x, sigma=3.0, alpha=alpha) == pytest.approx(own, abs=1e-9)
    assert dse(x, sigma=1.0, alpha=alpha, base=math.e) == pytest.approx(own * math.log(2), abs=1e-9)
    assert 0.0 <= own <= math.log2(7) + 1e-9
    if not alpha:
        assert dse(torch.cat([x, x]), sigma=1.0) == pytest.approx(own, abs=1e-8)


def test_check_6_gradients():
    x = FIXED.clone().requires_grad_()
    diffusion_spectral_entropy(x, sigma=1.0).backward()
    torch.testing.assert_close(x.grad[0], torch.tensor([-0.2368, 0.0221, 0.1944]).double(), atol=5e-5, rtol=0)
    for alpha in (0.0, 0.5):
        assert torch.autograd.gradcheck(partial(diffusion_spectral_entropy, sigma=1.0, alpha=alpha), (x,))
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    assert torch.autograd.gradcheck(
        lambda x: diffusion_spectral_mutual_information(x, y, sigma=1.0, generator=torch.Generator().manual_seed(0))[0],
        (x,),
    )


def test_gradients_are_finite_where_points_coincide():
    x = torch.cat([FIXED, FIXED]).requires_grad_()
    DiffusionSpectralEntropyLoss(sigma=1.0)(x.float()).backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 1e-3


def test_check_7_mutual_information_of_clusters():
    own, across = torch.arange(4).repeat_interleave(25), torch.arange(100) % 5
    found, labels = diffusion_spectral_mutual_information(CLUSTERS, own, sigma=1.0)
    assert float(found) == pytest.approx(2.0, abs=0.01)
    assert torch.equal(labels, own)
    assert float(diffusion_spectral_mutual_information(CLUSTERS, across, sigma=1.0)[0]) == pytest.approx(0.0, abs=1e-9)
    again, _ = diffusion_spectral_mutual_information(CLUSTERS, across, clusters=labels, sigma=1.0)
    assert float(again) == pytest.approx(2.0, abs=0.01)


def test_a_category_of_one_or_of_all_adds_nothing():
    assert float(diffusion_spectral_mutual_information(FIXED, torch.zeros(6, dtype=torch.long), sigma=1.0)[0]) == 0.0
    assert float(diffusion_spectral_mutual_information(FIXED, torch.arange(6), sigma=1.0)[0]) == 0.0


def test_more_points_than_asked_for_are_drawn_with_the_generator():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    a, b = (dse(x, sigma=1.0, max_samples=20, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert a == b < dse(x, sigma=1.0)
    y = torch.arange(50) % 2
    found, labels = diffusion_spectral_mutual_information(x, y, sigma=1.0, max_samples=20)
    assert math.isfinite(found)
    assert len(labels) == 50


def test_references_become_categories():
    assert categories(torch.tensor([7, -1, 7])).tolist() == [1, 0, 1]
    assert categories(torch.tensor([True, False])).tolist() == [1, 0]
    assert categories(torch.tensor([0.0, 0.49, 0.5, 1.0]), n_clusters=2).tolist() == [0, 0, 1, 1]
    assert categories(torch.tensor([3.0, 3.0])).tolist() == [0, 0]
    assert categories(torch.tensor([[0.5], [0.25]]), discrete=True).tolist() == [1, 0]
    assert categories(torch.tensor([[0, 1], [0, 0], [0, 1]]), discrete=True).tolist() == [1, 0, 1]


def test_vectors_are_clustered():
    pytest.importorskip("sklearn")
    labels = categories(torch.cat([torch.randn(30, 2) + 50.0 * i for i in range(3)]), n_clusters=3)
    assert [len(set(part.tolist())) for part in labels.split(30)] == [1, 1, 1]
    assert len(set(labels.tolist())) == 3


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match="entrokit"):
        categories(torch.randn(20, 2))


def test_baselines():
    far = 1000.0 * torch.arange(8.0)[:, None]
    assert float(adjacency_spectral_entropy(far, sigma=1.0)) == pytest.approx(3.0)
    assert float(matrix_entry_entropy(far, sigma=1.0)) == pytest.approx(3.0)
    assert float(binned_entropy(far, bins=8)) == pytest.approx(3.0)
    assert float(binned_entropy(torch.ones(4, 2))) == 0.0
    # A triangle has eigenvalues 2, -1, -1.
    assert float(adjacency_spectral_entropy(torch.eye(3), neighbours=2)) == pytest.approx(1.5)
    with pytest.raises(ValueError, match="neighbours must be 1 to 2"):
        adjacency_spectral_entropy(torch.eye(3), neighbours=3)


def test_bandwidths():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert dse(x, sigma="median") == pytest.approx(dse(x, sigma=5.0))
    assert dse(x, sigma="sqrt_dim") == pytest.approx(dse(x, sigma=math.sqrt(2)))
    with pytest.raises(ValueError, match="most points are equal"):
        dse(torch.ones(4, 2), sigma="median")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dse(torch.randn(3)), r"expected points \[N, D\]"),
        (lambda: dse(torch.empty(0, 2)), "N >= 1"),
        (lambda: dse(torch.tensor([[0.0], [math.nan], [math.inf]])), "2 of 3 points hold NaN or inf"),
        (lambda: dse(FIXED, sigma=0.0), "sigma must be a number above 0"),
        (lambda: dse(FIXED, sigma="scott"), "'scott'"),
        (lambda: dse(FIXED, t=0), "needs t > 0"),
        (lambda: spectral_entropy(torch.ones(2), base=1.0), "base > 1"),
        (lambda: spectral_entropy(torch.empty(0)), "0 eigenvalues whose powers add up to 0.0 have no shares"),
        (lambda: spectral_entropy(torch.zeros(3)), "3 eigenvalues whose powers add up to 0.0"),
        (lambda: spectral_entropy(torch.tensor([1.0, math.nan])), "add up to nan"),
        (lambda: spectral_entropy(torch.ones(2), weights=torch.zeros(2)), "have no shares"),
        (lambda: diffusion_spectral_mutual_information(FIXED, torch.arange(5)), "6 points and the reference 5"),
        (lambda: diffusion_spectral_mutual_information(FIXED, torch.arange(6), repeats=0), "repeats"),
        (lambda: categories(torch.tensor([math.nan])), "finite values"),
        (lambda: categories(torch.tensor([1.0]), n_clusters=0), "n_clusters"),
        (lambda: categories(torch.randn(3, 2)), "3 vectors cannot be 10 clusters"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
