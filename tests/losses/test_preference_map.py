"""Utility-probability duality (arXiv 2305.14859), reconstructed: maps from utilities to probabilities."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from entrokit.distributions import entropy
from entrokit.losses.preference import UtilityToProbability
from entrokit.losses.preference.slopes import _likelihood, pieces_of

from .preference_cases import FLOAT64, U, at, forbidding, rows

# Pieces with few data lie at a bound, of which `fit` warns; that it does is held elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore:UtilityToProbability:RuntimeWarning")


@pytest.mark.parametrize(
    ("tau", "probs", "nats"),
    [
        (0.5, (0.567220, 0.114520, 0.311297, 0.006964), 0.967660),
        (1.0, (0.434603, 0.195280, 0.321962, 0.048155), 1.192076),
        (2.0, (0.349174, 0.234059, 0.300537, 0.116230), 1.318741),
        (0.25, None, 0.661722),
    ],
)
def test_check_4_temperatures(tau, probs, nats):
    found = at(tau).transform(U)
    if probs:
        assert found.tolist() == pytest.approx(probs, abs=5e-7)
    assert float(entropy(at(tau).rescale(U), from_logits=True)) == pytest.approx(nats, abs=5e-7)


def test_check_4_the_slope_of_entropy_is_variance_over_tau_cubed():
    for tau in (0.3, 1.0, 4.0):
        own = torch.tensor(tau, dtype=FLOAT64, requires_grad=True)
        p = torch.softmax(U / own, -1)
        (slope,) = torch.autograd.grad(-(p * p.log()).sum(), own)
        variance = (p * U**2).sum() - (p * U).sum() ** 2
        assert float(slope) == pytest.approx((variance / tau**3).item(), abs=1e-12)
        h = 1e-5
        up, down = (float(entropy(at(tau + s).rescale(U), from_logits=True)) for s in (h, -h))
        assert float(slope) == pytest.approx((up - down) / (2 * h), abs=1e-7)


def test_check_4_limits():
    assert at(1e-3).transform(U).tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=1e-12)
    assert at(1e-3).transform(torch.tensor([2.0, 1.0, 2.0], dtype=FLOAT64)).tolist() == [0.5, 0.0, 0.5]
    assert at(1e9).transform(U).tolist() == pytest.approx([0.25] * 4, abs=1e-8)


def moments(u, target, probs):
    """Mean utility of what was observed, and of what the map expects."""
    finite = torch.where(u == -torch.inf, 0.0, u)
    return finite.gather(1, target[:, None]).mean(), (probs * finite).sum(1).mean()


@pytest.mark.parametrize("forbidden", [False, True])
def test_check_8_a_fitted_temperature_matches_moments(forbidden):
    u, target = rows(300, 6)
    u = forbidding(u, target) if forbidden else u
    fitted = UtilityToProbability().fit(u, target)
    seen, expected = moments(u, target, fitted.transform(u))
    assert float(seen) == pytest.approx(float(expected), abs=1e-9)
    assert 0.5 < fitted.tau_ < 0.9, "targets were drawn at 1 / 1.5"
    assert not fitted.at_bound_
    assert fitted.nll_ == pytest.approx(float(cross_entropy(fitted.rescale(u), target)), abs=1e-12)
    assert fitted.nll_before_ == pytest.approx(float(cross_entropy(u, target)), abs=1e-12)
    assert fitted.nll_ < fitted.nll_before_


@pytest.mark.parametrize("kind", ["temperature", "monotone"])
@given(st.integers(0, 10**6), st.floats(0.2, 5.0))
@settings(max_examples=8)
def test_check_8_multiples_of_utilities_have_the_same_probabilities(kind, seed, c):
    u, target = rows(60, 5, seed)
    # A bracket that never binds: at its ends multiples would not be the same.
    one, other = (UtilityToProbability(kind, bracket=(1e-6, 1e6)).fit(v, target) for v in (u, c * u))
    if one.tau_ is not None and other.tau_ is not None:
        assert other.tau_ == pytest.approx(c * one.tau_, rel=1e-6)
    if not (one.at_bound_ or other.at_bound_):
        torch.testing.assert_close(one.transform(u), other.transform(c * u), rtol=0, atol=1e-5)


@given(st.integers(0, 10**6), st.floats(1.01, 5.0))
def test_a_flatter_map_draws_the_best_candidate_less_often(seed, tau):
    u, _ = rows(6, 4, seed)
    best = [at(t).transform(u).amax(-1) for t in (1.0, tau)]
    assert (best[1] < best[0]).all()


def test_check_6_an_offset_of_a_row_changes_nothing():
    u, target = rows(80, 5)
    offset = 100 * torch.randn(80, 1, dtype=FLOAT64)
    for kind in ("temperature", "monotone"):
        one = UtilityToProbability(kind).fit(u, target)
        other = UtilityToProbability(kind).fit(u + offset, target)
        torch.testing.assert_close(one.transform(u), other.transform(u + offset), rtol=0, atol=1e-9)


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=12)
def test_a_monotone_map_keeps_the_order_and_is_never_worse_on_its_own_data(seed, pieces):
    u, target = rows(40, 5, seed)
    u[:, 3] = u[:, 1]
    single = UtilityToProbability(bracket=(1e-3, 1e3)).fit(u, target)
    fitted = UtilityToProbability("monotone", pieces=pieces, bracket=(1e-3, 1e3)).fit(u, target)
    assert len(fitted.slopes_) == len(fitted.breaks_) <= pieces
    assert fitted.breaks_[0] == 0.0
    assert all(1e-3 <= slope <= 1e3 for slope in fitted.slopes_)
    assert fitted.nll_ <= single.nll_ + 1e-12
    fresh = 3 * torch.randn(50, 5, dtype=FLOAT64, generator=torch.Generator().manual_seed(seed))
    mapped = fitted.rescale(fresh)
    assert torch.equal(mapped.argsort(-1), fresh.argsort(-1))
    probs = fitted.transform(u)
    assert torch.equal(probs[:, 3], probs[:, 1]), "ties stay ties"
    assert float(probs.sum(-1).sub(1).abs().max()) < 1e-12


@pytest.mark.parametrize(("gap", "wrong"), [(10.0, 1), (10.0, 400), (0.01, 1), (1000.0, 1)])
def test_two_candidates_at_one_gap_have_a_closed_form(gap, wrong):
    """P(wrong) is its share; the first of these starts where a Newton step goes far beyond the optimum."""
    u = torch.tensor([[gap, 0.0]], dtype=FLOAT64).expand(1000, 2)
    target = (torch.arange(1000) < wrong).long()
    fitted = UtilityToProbability(bracket=(1e-4, 1e4)).fit(u, target)
    # A last step that would win less than float64 tells, 1e-16 nats, is not taken: an error of 1e-7 at most here.
    assert fitted.tau_ == pytest.approx(gap / math.log((1000 - wrong) / wrong), rel=1e-6)


def test_one_piece_is_the_temperature():
    u, target = rows(100, 5)
    one, other = UtilityToProbability().fit(u, target), UtilityToProbability("monotone", pieces=1).fit(u, target)
    assert other.tau_ == pytest.approx(one.tau_, rel=1e-9)
    torch.testing.assert_close(one.transform(u), other.transform(u), rtol=0, atol=1e-9)


def test_a_monotone_map_finds_a_kink():
    """Data of a map that is steep up to a gap of 1 and flat beyond, which no temperature has."""
    u, _ = rows(20_000, 4)
    gaps = u.amax(-1, keepdim=True) - u
    true = -(3.0 * gaps.clamp(max=1.0) + 0.3 * (gaps - 1.0).clamp(min=0.0))
    target = torch.multinomial(torch.softmax(true, -1), 1, generator=torch.Generator().manual_seed(1))[:, 0]
    fitted = UtilityToProbability("monotone", pieces=6).fit(u, target)
    first, last = fitted.slopes_[0], fitted.slopes_[-1]
    # Standard errors of both are near 0.1.
    assert first == pytest.approx(3.0, abs=0.5)
    assert last == pytest.approx(0.3, abs=0.3)
    single = UtilityToProbability().fit(u, target)
    assert fitted.nll_ < single.nll_ - 0.01


def test_slopes_are_a_stationary_point_with_the_right_derivatives():
    u, target = rows(30, 5)
    breaks, theta = [0.0, 0.5, 1.5], torch.tensor([1.3, 0.4, 2.0], dtype=FLOAT64)

    def nll(theta):
        phi = pieces_of(u.amax(-1, keepdim=True) - u, breaks)
        return cross_entropy(-(phi * theta).sum(-1), target)

    value, slope, curve = _likelihood(u, target[:, None], breaks, theta)
    assert value == pytest.approx(float(nll(theta)), abs=1e-12)
    torch.testing.assert_close(slope, torch.autograd.functional.jacobian(nll, theta), rtol=0, atol=1e-10)
    torch.testing.assert_close(curve, torch.autograd.functional.hessian(nll, theta), rtol=0, atol=1e-10)
    fitted = UtilityToProbability("monotone").fit(u, target)
    value, slope, curve = _likelihood(u, target[:, None], fitted.breaks_, torch.tensor(fitted.slopes_, dtype=FLOAT64))
    low, high = (torch.tensor(fitted.slopes_) <= 1 / 30 + 1e-12), (torch.tensor(fitted.slopes_) >= 1 / 0.03 - 1e-9)
    # A step that would win less than 1e-16 of the NLL is not taken: slope²/curvature is below that.
    unresolved = (1e-16 * max(1.0, value) * curve.diagonal()).sqrt()
    assert (slope.abs() <= unresolved)[~low & ~high].all()
    assert (slope[low] >= 0).all()
    assert (slope[high] <= 0).all()


def test_rows_in_parts_are_the_same(monkeypatch):
    u, target = rows(50, 5)
    whole = UtilityToProbability("monotone").fit(u, target)
    monkeypatch.setattr("entrokit.losses.preference.slopes._CHUNK", 100)
    parts = UtilityToProbability("monotone").fit(u, target)
    assert parts.slopes_ == pytest.approx(whole.slopes_, rel=1e-6)
    assert parts.nll_ == pytest.approx(whole.nll_, abs=1e-12)


def test_a_peer_fits_the_same_temperature():
    """scikit-learn's own, through a classifier that gives the utilities as they are."""
    calibration = pytest.importorskip("sklearn.calibration")
    frozen = pytest.importorskip("sklearn.frozen")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        def fit(self, x, y):
            self.classes_, self.n_features_in_ = torch.arange(5).numpy(), 5
            return self

        def decision_function(self, x):
            return x

        def predict(self, x):
            return x.argmax(1)

    u, target = rows(400, 5)
    try:
        peer = calibration.CalibratedClassifierCV(frozen.FrozenEstimator(Given().fit(None, None)), method="temperature")
        peer.fit(u.numpy(), target.numpy())
    except ValueError as error:
        pytest.skip(f"this version of scikit-learn has no temperature scaling: {error}")
    fitted = UtilityToProbability().fit(u, target)
    # It searches log β to sqrt(eps) of float64 near a minimum that is flat.
    torch.testing.assert_close(fitted.transform(u), torch.from_numpy(peer.predict_proba(u.numpy())), rtol=0, atol=1e-6)
