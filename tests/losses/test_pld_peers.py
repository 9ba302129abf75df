"""KD, DIST and DKD by their papers' formulas; ListMLE and the paper's listing beside PLD."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from entrokit.distributions import kl_divergence
from entrokit.losses.pld import dist_loss, dkd_loss, kd_loss, pld_loss

from .ranked import S, T, Y, differences, gradient_of, ranking


@pytest.fixture(params=["the sheet's", "random"])
def batch(request):
    if request.param == "random":
        g = torch.Generator().manual_seed(0)
        s, t = (2 * torch.randn(6, 5, generator=g, dtype=torch.float64) for _ in range(2))
        return s, t, torch.tensor([0, 4, 2, 2, 1, 3])
    return S, T, Y


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_kd_is_cross_entropy_and_a_divergence(batch):
    s, t, y = batch
    divergence = kl_divergence(t / 3, s / 3, from_logits=True).mean()
    same(kd_loss(s, t, y, temperature=3.0, ce_weight=0.25), 0.25 * cross_entropy(s, y) + 0.75 * 9 * divergence)
    torchs = kl_div((s / 2).log_softmax(1), (t / 2).softmax(1), reduction="batchmean")
    same(kd_loss(s, t, y), 0.1 * cross_entropy(s, y) + 0.9 * 4 * torchs)


def correlation(a, b):
    """Pearson's, with 1e-8 beside the norms as its authors have it: of the softened sheet's that is 1e-3 of it."""
    norms = len(a) * np.std(a) * np.std(b)
    return np.corrcoef(a, b)[0, 1] * norms / (norms + 1e-8)


def test_dist_is_cross_entropy_and_correlations(batch):
    s, t, y = batch
    p, q = ((x / 4).softmax(1).numpy() for x in (s, t))
    inter = np.mean([1 - correlation(a, b) for a, b in zip(p, q, strict=True)])
    intra = np.mean([1 - correlation(a, b) for a, b in zip(p.T, q.T, strict=True)])
    expected = float(cross_entropy(s, y)) + 2 * 16 * inter + 3 * 16 * intra
    assert float(dist_loss(s, t, y, intra_weight=3.0)) == pytest.approx(expected, abs=1e-9)
    assert torch.equal(dist_loss(s, t, y), dist_loss(s, t, y, temperature=4.0, inter_weight=2.0, intra_weight=2.0))
    only = {"temperature": 1.0, "ce_weight": 0.0, "intra_weight": 0.0, "inter_weight": 1.0}
    shifted = (0.3 * t.softmax(1) + 0.7 / t.shape[1]).log()
    assert float(dist_loss(shifted, t, y, **only)) == pytest.approx(0.0, abs=1e-6)


def test_a_row_without_correlation_costs_a_whole():
    flat = torch.zeros(2, 4, dtype=torch.float64)
    found = dist_loss(flat, T, Y, temperature=1.0, ce_weight=0.0, inter_weight=1.0, intra_weight=1.0)
    assert float(found) == pytest.approx(2.0, abs=1e-9)


def test_dkd_is_two_divergences(batch):
    s, t, y = batch
    p, q = ((x / 4).softmax(1) for x in (s, t))
    tckd, nckd = [], []
    for a, b, label in zip(p, q, y.tolist(), strict=True):
        others = [c for c in range(len(a)) if c != label]
        coin_p, coin_q = (torch.stack([x[label], x[others].sum()]) for x in (a, b))
        tckd.append(kl_divergence(coin_q, coin_p))
        nckd.append(kl_divergence(b[others] / b[others].sum(), a[others] / a[others].sum()))
    tckd, nckd = torch.stack(tckd).mean(), torch.stack(nckd).mean()
    same(dkd_loss(s, t, y), cross_entropy(s, y) + 16 * (tckd + 8 * nckd))
    same(dkd_loss(s, t, y, ce_weight=0.0, target_weight=3.0, other_weight=0.0), 16 * 3 * tckd)


def test_kd_is_both_parts_of_dkd_with_the_teacher_s_doubt_as_weight():
    """Equation 7 of DKD, a row at a time, since that weight is the row's."""
    for s, t, y in zip(S, T, Y, strict=True):
        rest = 1 - float((t / 2).softmax(0)[y])
        found = dkd_loss(s[None], t[None], y[None], temperature=2.0, ce_weight=0.0, other_weight=rest)
        same(found, kd_loss(s[None], t[None], y[None], ce_weight=0.0))


@pytest.mark.parametrize("loss", [kd_loss, dist_loss, dkd_loss])
def test_their_gradients(loss):
    (found,) = gradient_of(lambda s: loss(s, T, Y), S)
    # Differences of step h are off by h² times a third derivative (here up to 16²) and eps / h of the loss.
    torch.testing.assert_close(found, differences(lambda s: loss(s, T, Y), S), rtol=0, atol=1e-7)
    t = T.clone().requires_grad_()
    loss(S.clone().requires_grad_(), t, Y).backward()
    assert t.grad is None


@pytest.mark.parametrize("loss", [kd_loss, dist_loss, dkd_loss])
def test_a_student_that_is_its_teacher_has_the_cross_entropy_alone(loss):
    # DIST's correlations end at 1 - 1e-8 / norms: the smallest here, of two rows' probabilities of a class, are 3e-4.
    assert float(loss(T, T, Y, ce_weight=0.0)) == pytest.approx(0.0, abs=4 * 16 * 1e-8 / 3e-4)
    assert torch.isfinite(gradient_of(lambda s: loss(s * 100, -T * 100, Y), S)[0]).all()


def test_list_mle_is_uniform_pld_times_classes():
    for s, t, y in zip(S, T, Y.tolist(), strict=True):
        likelihood = 1.0
        order = ranking(t.tolist(), y)
        for k, c in enumerate(order):
            likelihood *= float(s[c].exp() / s[order[k:]].exp().sum())
        found = 4 * pld_loss(s, t, torch.tensor(y), weights="uniform")
        assert float(found) == pytest.approx(-math.log(likelihood), rel=1e-9)


def test_the_paper_s_listing_in_reverse(batch):
    """Appendix C sorts ascending, puts the label last, and takes an ordinary logcumsumexp: the same numbers."""
    s, t, y = batch
    ascending = t.argsort(1)
    others = ascending[ascending != y[:, None]].view(len(t), -1)
    order = torch.cat([others, y[:, None]], 1)
    chosen, q = s.gather(1, order), t.softmax(1).gather(1, order)
    listing = ((chosen.logcumsumexp(1) - chosen) * q).sum(1)
    same(pld_loss(s, t, y, reduction="none"), listing)
