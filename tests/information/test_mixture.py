"""Mixtures: the sheet's regrets and bounds, their order for any class, and what duplicates and impossible ones do."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.information.mixture import (
    effective_dimension_nats,
    hypothesis_weight,
    laplace_complexity,
    mixture_log_prob,
    mixture_regret,
    regret_bounds,
)

GRID = torch.arange(1, 10, dtype=torch.float64) / 10


def kl(truth, theta):
    return truth * torch.log(truth / theta) + (1 - truth) * torch.log((1 - truth) / (1 - theta))


def exact(theta, truth, n, log_prior=None):
    """Expected total regret of a Bernoulli mixture: sequences of equal counts are alike."""
    k = torch.arange(n + 1, dtype=torch.float64)
    log_choose = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(n + 1)]
    choose = torch.tensor(log_choose, dtype=torch.float64)
    log_true = k * math.log(truth) + (n - k) * math.log(1 - truth)
    log_lik = k * theta.log()[:, None] + (n - k) * (1 - theta).log()[:, None]
    mixture = torch.stack([mixture_log_prob(log_lik[:, [i]], log_prior)[0] for i in range(n + 1)])
    return float(((choose + log_true).exp() * (log_true - mixture)).sum())


@pytest.mark.parametrize(
    ("n", "regret", "soft", "hard"),
    [(5, 0.337446, 0.685313, 1.222345), (20, 0.810271, 1.287302, 1.661963), (100, 1.570102, 2.035631, math.log(9))],
)
def test_check_1_a_grid(n, regret, soft, hard):
    assert exact(GRID, 0.3, n) == pytest.approx(regret, abs=1e-6)
    bounds = regret_bounds(kl(torch.tensor(0.3, dtype=torch.float64), GRID), n)
    assert bounds.soft == pytest.approx(soft, abs=1e-6)
    assert bounds.hard == pytest.approx(hard, abs=1e-6)
    if n == 20:
        assert bounds.eps == pytest.approx(0.028168, abs=1e-6)


def test_check_2_the_size_of_the_class_is_irrelevant():
    many = GRID.repeat(1000)
    truth = torch.tensor(0.3, dtype=torch.float64)
    assert exact(many, 0.3, 20) == pytest.approx(exact(GRID, 0.3, 20), abs=1e-9)
    one, other = regret_bounds(kl(truth, GRID), 20), regret_bounds(kl(truth, many), 20)
    assert (one.soft, one.hard) == pytest.approx((other.soft, other.hard), abs=1e-9)


def test_check_3_the_weight_matters():
    copies = torch.cat([GRID, torch.full((991,), 0.3, dtype=torch.float64)])
    for truth, expected in ((0.3, (0.002596, 0.006537, 0.008032)), (0.7, (4.566307, 5.623494, 6.372494))):
        bounds = regret_bounds(kl(torch.tensor(truth, dtype=torch.float64), copies), 20)
        assert (exact(copies, truth, 20), bounds.soft, bounds.hard) == pytest.approx(expected, abs=1e-6)
    weight = hypothesis_weight(kl(torch.tensor(0.3, dtype=torch.float64), copies), 1e-12)
    assert float(weight) == pytest.approx(0.992)


def test_check_4_batch_regrets_add_up_to_the_online_one():
    online = [exact(GRID, 0.3, n) for n in range(21)]
    batch = [b - a for a, b in pairwise(online)]
    assert batch[-1] == pytest.approx(0.021873, abs=1e-6)
    assert sum(batch) == pytest.approx(0.810271, abs=1e-6)


def beta_regret(a, truth, n):
    k = torch.arange(n + 1, dtype=torch.float64)
    lg = torch.lgamma
    one = torch.tensor(float(a), dtype=torch.float64)
    log_q = lg(k + a) + lg(n - k + a) - lg(torch.tensor(n + 2.0 * a, dtype=torch.float64)) - 2 * lg(one) + lg(2 * one)
    log_p = k * math.log(truth) + (n - k) * math.log(1 - truth)
    choose = lg(torch.tensor(n + 1.0, dtype=torch.float64)) - lg(k + 1) - lg(n - k + 1)
    return float(((choose + log_p).exp() * (log_p - log_q)).sum())


def test_check_5_continuous_priors_and_the_laplace_form():
    dense = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    found = [exact(dense[::100], 0.3, n) for n in (10, 100)]
    assert found == pytest.approx([beta_regret(1, 0.3, n) for n in (10, 100)], abs=1e-4)
    assert [beta_regret(1, 0.3, n) for n in (10, 100)] == pytest.approx([0.618816, 1.674580], abs=1e-5)
    soft = regret_bounds(kl(torch.tensor(0.3, dtype=torch.float64), dense), 1000).soft
    assert soft == pytest.approx(3.315949, abs=1e-5)
    fisher = torch.tensor([1 / (0.3 * 0.7)], dtype=torch.float64)
    assert laplace_complexity(fisher, 1000, 0.0) == pytest.approx(3.315263, abs=1e-6)
    assert laplace_complexity(torch.cat([fisher, torch.zeros(5)]), 1000, 0.0) == pytest.approx(3.315263, abs=1e-6)
    assert soft - 2.816326 == pytest.approx(0.5, abs=1e-2)


def test_check_6_a_gaussian_mean_by_samples_of_its_prior():
    g = torch.Generator().manual_seed(0)
    truth = torch.ones(3, dtype=torch.float64)
    means = torch.randn(400_000, 3, generator=g, dtype=torch.float64)
    soft = regret_bounds(0.5 * ((means - truth) ** 2).sum(1), 10).soft
    closed = 1.5 * math.log(11) + 0.5 * 10 * 3 / 11
    assert closed == pytest.approx(4.960479, abs=1e-6)
    assert soft == pytest.approx(closed, abs=0.03)
    assert effective_dimension_nats(torch.ones(3), 10) == pytest.approx(1.5 * math.log(11), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(0, 40))
def test_exact_is_at_most_soft_is_at_most_hard(seed, hypotheses, n):
    g = torch.Generator().manual_seed(seed)
    theta = torch.rand(hypotheses, generator=g, dtype=torch.float64) * 0.9 + 0.05
    log_prior = torch.randn(hypotheses, generator=g, dtype=torch.float64)
    truth = torch.rand((), generator=g, dtype=torch.float64) * 0.9 + 0.05
    bounds = regret_bounds(kl(truth, theta), n, log_prior)
    assert exact(theta, float(truth), n, log_prior) <= bounds.soft + 1e-9
    assert bounds.soft <= bounds.hard + 1e-9


def test_regret_of_data_and_of_impossible_hypotheses():
    log_lik = torch.tensor([[0.0, 0.0, 0.0], [0.0, -torch.inf, 0.0]], dtype=torch.float64)
    assert mixture_log_prob(log_lik).tolist() == pytest.approx([0.0, -math.log(2), -math.log(2)])
    regret = mixture_regret(log_lik, torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, math.log(3)]).double())
    assert regret.tolist() == pytest.approx([0.0, math.log(4), math.log(4)])
    bounds = regret_bounds(torch.tensor([0.0, torch.inf]), 5)
    assert bounds.soft == pytest.approx(math.log(2))


def test_what_is_refused():
    with pytest.raises(ValueError, match="without NaN"):
        mixture_log_prob(torch.tensor([[float("nan")]]))
    with pytest.raises(ValueError, match="log_prior must be"):
        mixture_log_prob(torch.zeros(2, 3), torch.zeros(3))
    for bad in (torch.tensor([-1.0]), torch.tensor([torch.inf])):
        with pytest.raises(ValueError, match="at least one of them finite"):
            regret_bounds(bad, 3)
    with pytest.raises(ValueError, match="eigenvalues of at least 0"):
        laplace_complexity(torch.tensor([-1.0]), 3, 0.0)
