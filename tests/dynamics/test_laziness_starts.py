"""Initialisers of a rank, aligned starts, the theorem against the flow, and the network of rates."""

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
    truncate_rank,
    two_layer_kernel,
)

seeds = st.integers(0, 10**6)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthogonal(n, seed=0):
    return torch.linalg.qr(normal(n, n, seed=seed))[0]


@given(seeds, st.integers(1, 12))
@settings(max_examples=20)
def test_check_4_the_initialiser_has_its_rank_and_its_norm(seed, rank):
    def drawn(rank):
        return low_rank_init_(torch.empty(12, 12).double(), rank, torch.Generator().manual_seed(seed), gain=1.5)

    full, W = drawn(12), drawn(rank)
    assert int(torch.linalg.matrix_rank(W)) == rank
    assert float(W.norm()) == pytest.approx(float(full.norm()), abs=1e-6)
    assert effective_rank(W) <= rank + 1e-9
    U, s, Vh = torch.linalg.svd(full)
    top = (U[:, :rank] * s[:rank]) @ Vh[:rank]
    torch.testing.assert_close(W, top * (full.norm() / top.norm()), atol=1e-9, rtol=0)
    torch.testing.assert_close(truncate_rank(full, rank, keep_norm=False), top, atol=1e-9, rtol=0)


def test_the_initialiser_s_scale_is_gain_over_the_root_of_the_inputs():
    W = low_rank_init_(torch.empty(300, 200), 200, torch.Generator().manual_seed(0))
    # 60 000 squares: their mean is off by √(2 / 60 000) = 0.6 %, one standard deviation.
    assert float(W.square().mean()) * 200 == pytest.approx(1.25**2, rel=0.03)


def test_what_is_below_the_rank_is_only_the_rounding_of_the_cast():
    W = low_rank_init_(torch.empty(30, 30), 3, torch.Generator().manual_seed(0))
    s = torch.linalg.svdvals(W.double())
    # A perturbation moves no singular value by more than its Frobenius norm; every entry is rounded to half an ulp.
    assert float(s[3]) <= torch.finfo(torch.float32).eps / 2 * float(W.norm())


def test_initialisers_fill_what_is_not_contiguous_and_of_half_precision():
    storage = torch.zeros(4, 6, dtype=torch.bfloat16)
    assert low_rank_init_(storage.T, 2) is not None
    assert bool(storage.any())
    parameter = torch.nn.Parameter(torch.zeros(4, 4))
    low_rank_init_(parameter, 1)
    assert parameter.requires_grad
    assert parameter.grad_fn is None


def spectra():
    """Singular values of 30 by 30 matrices: equal ones of rank 1, 3, 10, 30, and a Gaussian's."""
    flat = [torch.cat([torch.ones(r), torch.zeros(30 - r)]).double() for r in (1, 3, 10, 30)]
    return [*flat, torch.linalg.svdvals(normal(30, 30, seed=5))]


def test_check_5_the_theorem_against_the_flow():
    scale, start = 1e-3, []
    for i, s in enumerate(spectra()):
        start.append(orthogonal(30, 2 * i) @ torch.diag(scale * s / s.norm()) @ orthogonal(30, 2 * i + 1))
    W1, beta = torch.stack(start)[:, None], normal(20, 30, seed=99)
    beta = beta / beta.norm(dim=1, keepdim=True)
    end = two_layer_kernel(*linear_flow(W1, torch.zeros(30), beta, step=0.4, tolerance=1e-5))
    for s, W, ends in zip(spectra(), W1[:, 0], end, strict=True):
        M0 = W.T @ W
        found = torch.tensor([kernel_alignment(M0, M) for M in ends]).double()
        theory = expected_alignment(s, 30)
        assert abs(float(found.mean()) - theory) < 4 * float(found.std()) / math.sqrt(20) + 0.003
        for a, b in zip(found, beta, strict=True):
            # The formula is the limit of scale 0.
            assert float(a) == pytest.approx(alignment_for_task(M0, b), abs=scale)


@pytest.mark.parametrize(("rank", "expected"), [(1, 0.179880), (3, 0.311562), (10, 0.568831), (30, 0.985245)])
def test_check_5_theory_of_equal_singular_values(rank, expected):
    assert expected_alignment(0.001 * torch.ones(rank), 30) == pytest.approx(expected, abs=1e-6)


def test_check_5_theory_of_a_participation_ratio():
    s = torch.tensor([1.0] * 15 + [math.sqrt((30 - math.sqrt(900 - 4 * 14.107 * 1.605)) / (2 * 14.107))])
    assert effective_rank(torch.diag(s)) == pytest.approx(15.107, abs=1e-4)
    assert expected_alignment(s, 30) == pytest.approx(0.69915, abs=5e-6)


def test_the_formula_s_mean_over_tasks_is_exact():
    M0 = normal(4, 4)
    M0 = M0.T @ M0
    # Over ± the eigenvectors, each as likely as another, βᵀ M_0 β has its mean over isotropic β, tr M_0 / d.
    over_axes = [alignment_for_task(M0, b) for b in torch.linalg.eigh(M0)[1].T]
    expected = expected_alignment(torch.linalg.eigvalsh(M0).clamp(min=0).sqrt(), 4)
    assert sum(over_axes) / 4 == pytest.approx(expected, abs=1e-9)


def test_check_6_aligned_starts():
    beta = normal(30)
    W1, w2 = torch.empty(20, 30).double(), torch.empty(1, 20).double()
    aligned_init_(W1, w2, beta, 0.1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(W1 @ W1.T, w2.T @ w2, atol=1e-12, rtol=0)
    assert float(W1.norm()) == pytest.approx(0.1)
    assert float((W1 @ beta @ w2[0]) / (W1.norm() * beta.norm() * w2.norm())) == pytest.approx(1.0)
    end = two_layer_kernel(*linear_flow(W1, w2[0], beta))
    assert kernel_alignment(two_layer_kernel(W1, w2[0]), end) == pytest.approx(1.0, abs=1e-6)

    aligned_init_(W1, w2, beta, 1e-3, balanced=False)
    assert not w2.any()
    end = two_layer_kernel(*linear_flow(W1, w2[0], beta))
    # At scale s the closed form is off by about s²; both have six digits.
    assert kernel_alignment(W1.T @ W1, end) == pytest.approx(0.348155, abs=2e-6)
    assert alignment_for_task(W1.T @ W1, beta) == pytest.approx(0.348155, abs=1e-6)


def test_check_7_the_flow_conserves_the_balance_and_meets_the_target():
    W1, w2, beta = normal(4, 3), normal(4, seed=1), normal(3, seed=2)
    start = W1.clone()
    end1, end2 = linear_flow(W1, w2, beta, tolerance=1e-3)
    before = W1 @ W1.T - torch.outer(w2, w2)
    assert float((end1 @ end1.T - torch.outer(end2, end2) - before).norm()) < 1e-6
    assert float((end1.T @ end2 - beta).norm()) <= 1e-3 * float(beta.norm())
    assert float((end1 - W1).norm()) > 0.1
    assert torch.equal(W1, start)


def test_flows_of_many_nets_are_those_of_each():
    W1, w2, beta = normal(2, 1, 4, 3), normal(2, 1, 4, seed=1), normal(5, 3, seed=2)
    many = linear_flow(W1, w2, beta, step=0.5, tolerance=1e-10)
    assert [list(x.shape) for x in many] == [[2, 5, 4, 3], [2, 5, 4]]
    off = (many[0].mT @ many[1][..., None])[..., 0] - beta
    assert bool((off.norm(dim=-1) <= 1e-10 * beta.norm(dim=-1)).all())
    one = linear_flow(W1[1, 0], w2[1, 0], beta[3], step=0.5, tolerance=1e-10)
    # The batch flows on until its last net has arrived, by 1e-10 of a target and little more of the weights.
    torch.testing.assert_close(many[0][1, 3], one[0], atol=1e-8, rtol=0)
    torch.testing.assert_close(many[1][1, 3], one[1], atol=1e-8, rtol=0)


def test_a_flow_that_starts_on_a_saddle_is_no_solution():
    with pytest.raises(RuntimeError, match="1 of 1 nets not there after 30 steps, the farthest 1 of"):
        linear_flow(torch.zeros(2, 2), torch.zeros(2), torch.ones(2), max_steps=30)


@pytest.mark.parametrize("leak", [None, 0.25])
def test_a_network_of_rates_follows_its_equation(leak):
    options = {} if leak is None else {"leak": leak}
    net = RateRNN(2, 4, 3, rank=2, generator=torch.Generator().manual_seed(0), **options).double()
    x, h = normal(5, 3, 2), torch.zeros(5, 4).double()
    course = net.activity(x)
    for t in range(3):
        driven = x[:, t] @ net.W_in.T + h @ net.W_rec.T
        h = torch.relu(driven if leak is None else 0.75 * h + 0.25 * driven)
        torch.testing.assert_close(course[:, t], h, atol=1e-12, rtol=0)
    torch.testing.assert_close(net(x), course @ net.W_out.T, atol=1e-12, rtol=0)


def test_networks_of_one_seed_differ_by_the_rank_of_the_recurrent_weight_alone():
    low, full = (RateRNN(2, 6, 3, rank=r, generator=torch.Generator().manual_seed(1)) for r in (1, None))
    assert torch.equal(low.W_in, full.W_in)
    assert torch.equal(low.W_out, full.W_out)
    assert float(low.W_in.detach().abs().max()) <= 1 / math.sqrt(2)
    assert float(low.W_out.detach().abs().max()) <= 1 / math.sqrt(6)
    assert effective_rank(low.W_rec) == pytest.approx(1.0, abs=1e-6)
    assert float(low.W_rec.detach().norm()) == pytest.approx(float(full.W_rec.detach().norm()), rel=1e-6)


def test_a_refused_initialisation_leaves_the_weights():
    W1, w2 = torch.ones(4, 3), torch.ones(4)
    with pytest.raises(ValueError, match="rank must be"):
        low_rank_init_(W1, 5)
    with pytest.raises(ValueError, match="beta and scale"):
        aligned_init_(W1, w2, torch.full((3,), math.nan), 1.0)
    assert torch.equal(W1, torch.ones(4, 3))
    assert torch.equal(w2, torch.ones(4))
