"""Scorecards: the sheet's numbers and identities, errors by simulation, bins, estimators, and fair choices."""

import importlib
import math
import sys
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn")

from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from entrokit import extras
from entrokit.distributions import jeffreys_divergence
from entrokit.information.credit import (
    FairScorecard,
    WoEEncoder,
    information_value,
    pareto_front,
    psi,
    select_features,
    woe,
)
from entrokit.information.credit.binning import bins_of, merged, quantile_edges

GOOD, BAD = (400, 300, 200, 100), (20, 25, 30, 25)
cells = st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=2, max_size=6).map(np.array)


def portfolio(seed=0, rows=2000):
    rng = np.random.default_rng(seed)
    protected = rng.integers(2, size=rows)
    X = rng.normal(size=(rows, 3))
    X[:, 2] += protected
    y = rng.random(rows) < 1 / (1 + np.exp(1.5 - X[:, 0] - 0.5 * X[:, 2]))
    return X, y.astype(int), protected


def test_check_1_worked_numbers():
    found, se = woe(GOOD, BAD)
    assert found == pytest.approx([-0.693147, -0.182322, 0.405465, 0.916291], abs=1e-6)
    assert se == pytest.approx([0.229129, 0.208167, 0.195789, 0.223607], abs=1e-6)
    full = information_value(GOOD, BAD)
    assert full.iv == pytest.approx(0.325736, abs=1e-6)
    assert full.iv == pytest.approx(0.166502 + 0.159233, abs=2e-6)
    assert full.se == pytest.approx(0.120563, abs=1e-6)
    assert full.ci == pytest.approx((full.iv - 1.959964 * full.se, full.iv + 1.959964 * full.se), abs=1e-6)
    assert full.chi2 == pytest.approx(29.612330, abs=1e-6)
    assert full.p_value == pytest.approx(1.665e-6, rel=1e-3)
    assert information_value(GOOD, BAD, "library").se == pytest.approx(0.081801, abs=1e-6)
    with pytest.warns(UserWarning, match="intervals cover too little"):
        assert information_value(GOOD, BAD, "paper").se == pytest.approx(0.060964, abs=1e-6)


@pytest.mark.filterwarnings("ignore:se='paper'")
def test_check_2_two_bins_are_a_logistic_regression():
    found, se = woe((10, 20), (30, 10))
    assert found == pytest.approx([0.810930, -0.980829], abs=1e-6)
    assert se == pytest.approx([0.365148, 0.387298], abs=1e-6)
    assert found[0] - found[1] == pytest.approx(1.791759, abs=1e-6)
    assert math.hypot(*se) == pytest.approx(0.532291, abs=1e-6)
    for kind, expected in (("paper", 0.221788), ("library", 0.262258), ("full", 0.418472)):
        assert information_value((10, 20), (30, 10), kind).se == pytest.approx(expected, abs=1e-6)
    assert information_value((10, 20), (30, 10)).iv == pytest.approx(0.746566, abs=1e-6)


def test_check_3_stability():
    found = psi((253, 302, 204, 134, 72, 26, 8), (177, 262, 285, 158, 88, 25, 6))
    assert found.iv == pytest.approx(0.067693, abs=1e-6)
    assert found.chi2 == pytest.approx(33.846460, abs=1e-5)
    assert found.p_value == pytest.approx(7.20e-6, rel=1e-3)
    assert found.critical == pytest.approx(0.025183, abs=1e-6)
    assert psi([100] * 10, [100] * 10).critical == pytest.approx(0.033838, abs=1e-6)
    known = psi([100] * 10, [100] * 10, reference_fixed=True)
    assert known.critical == pytest.approx(0.033838 / 2, abs=1e-6)
    assert psi((30, 70), (40, 60), reference_fixed=True).se < psi((30, 70), (40, 60)).se


@given(cells)
def test_check_4_identities(counts):
    g, b = counts.T
    own = information_value(g, b)
    assert own.iv == pytest.approx(information_value(b, g).iv, abs=1e-12)
    assert own.iv == pytest.approx(psi(g, b).iv, abs=1e-12)
    p, q = (torch.tensor(x / x.sum()) for x in (g, b))
    assert own.iv == pytest.approx(float(jeffreys_divergence(p, q)), abs=1e-12)
    assert own.iv == pytest.approx(own.contributions.sum(), abs=1e-12)
    merge = [np.append(x[:-2], x[-2:].sum()) for x in (g, b)]
    assert information_value(*merge).iv <= own.iv + 1e-12
    assert information_value(10 * g, b).iv == pytest.approx(own.iv, abs=1e-12)
    split = [np.append(x * 2, x) for x in (g, b)]
    assert information_value(*split).iv == pytest.approx(own.iv, abs=1e-12)
    assert own.ci[0] >= 0


def test_check_5_the_full_error_is_that_of_a_simulation():
    rng = np.random.default_rng(0)
    draws = [
        information_value(rng.multinomial(9000, [0.4, 0.3, 0.2, 0.1]), rng.multinomial(1000, [0.2, 0.25, 0.3, 0.25]))
        for _ in range(2000)
    ]
    iv, se = np.array([(d.iv, d.se) for d in draws]).T
    assert iv.std() == pytest.approx(0.0386, rel=0.05)
    assert se.mean() == pytest.approx(0.0385, rel=0.02)
    assert iv.mean() - 0.325736 == pytest.approx(3 * (1 / 9000 + 1 / 1000), rel=0.6)


def test_check_6_a_regression_on_evidence_has_slope_one():
    X = np.repeat(np.arange(4.0), 250)[:, None]
    y = (np.random.default_rng(0).random(1000) < 0.1 + 0.15 * X[:, 0]).astype(int)
    evidence = WoEEncoder([[0.5, 1.5, 2.5]]).fit_transform(X, y)
    model = LogisticRegression(C=np.inf, tol=1e-8).fit(evidence, y)
    assert model.coef_[0, 0] == pytest.approx(1.0, abs=1e-4)
    assert model.intercept_[0] == pytest.approx(math.log(y.sum() / (1000 - y.sum())), abs=1e-4)


IV_Y, IV_A, SE_A = (0.5, 0.3, 0.2, 0.1), (0.12, 0.05, 0.02, 0.01), (0.03, 0.02, 0.01, 0.01)


@pytest.mark.parametrize(
    ("se", "tau", "expected", "total"),
    [
        (None, 0.03, {2, 3}, 0.30),
        (None, 0.10, {1, 2, 3}, 0.60),
        (None, 0.15, {0, 2, 3}, 0.80),
        (None, 0.20, {0, 1, 2, 3}, 1.10),
        (SE_A, 0.03, {3}, 0.10),
        (SE_A, 0.08, {2, 3}, 0.30),
        (SE_A, 0.18, {1, 2, 3}, 0.60),
        (SE_A, 0.21, {0, 2}, 0.70),
    ],
)
def test_check_7_fair_choices(se, tau, expected, total):
    found = select_features(IV_Y, IV_A, tau, se_protected=se, z=1.645)
    assert found.iv == pytest.approx(total)
    assert set(np.nonzero(found.chosen)[0]) == expected
    assert found.protected[0] <= tau + 1e-9


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_choices_are_those_of_brute_force(seed, limit):
    rng = np.random.default_rng(seed)
    iv, cost = rng.random(6), rng.random((2, 6))
    tau = rng.random(2) * cost.sum(1)
    best = max(
        sum(iv[list(s)])
        for r in range(limit + 1)
        for s in combinations(range(6), r)
        if (cost[:, list(s)].sum(1) <= tau).all()
    )
    assert select_features(iv, cost, tau, max_features=limit).iv == pytest.approx(best, abs=1e-9)


def test_fronts_rise():
    front = pareto_front(IV_Y, IV_A)
    assert all(a.iv < b.iv and (a.tau < b.tau).all() for a, b in pairwise(front))
    assert front[-1].chosen.all()
    held = pareto_front(IV_Y, IV_A, mandatory=[0], taus=[0.12, 0.5])
    assert all(p.chosen[0] for p in held)
    both = pareto_front(IV_Y, [IV_A, IV_A[::-1]])
    assert both[-1].chosen.all()


@parametrize_with_checks([WoEEncoder(), WoEEncoder("quantile"), FairScorecard()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_missing_values_are_a_bin_of_their_own():
    X, y, _ = portfolio()
    X[y == 1, 1] = np.where(np.arange((y == 1).sum()) % 2 == 0, np.nan, X[y == 1, 1])
    encoder = WoEEncoder().fit(X, y)
    table = encoder.woe_tables_[1]
    assert table.labels[-1] == "missing"
    assert table.has_missing
    assert table.good[-1] == 0
    assert table.woe[-1] == max(table.woe) > 2
    assert encoder.evidence_[1].smoothing == 0.5
    assert np.isfinite(encoder.transform(X)).all()
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"missing of features \[0\]"):
        encoder.transform(X)
    X[:, 0] = np.nan
    always = WoEEncoder().fit(X, y)
    assert always.iv_[0] == 0.0


def test_bins_respect_their_least_size_and_monotone_rates():
    X, y, _ = portfolio()
    encoder = WoEEncoder(min_share=0.1, monotonic=[1, 0, 0]).fit(X, y)
    for table in encoder.woe_tables_:
        assert (table.good + table.bad).min() >= 0.1 * len(X)
    rate = encoder.woe_tables_[0].bad / (encoder.woe_tables_[0].good + encoder.woe_tables_[0].bad)
    assert (np.diff(rate) >= 0).all()
    x = np.arange(8.0)
    assert merged(x, np.array([1, 1, 0, 1, 0, 1, 1, 1]), [1.5, 3.5, 5.5], 0.0, 1, 1).tolist() == [5.5]
    assert quantile_edges(np.ones(5), 4).tolist() == []
    assert bins_of(np.array([1.0, 1.5, np.nan, 9.0]), np.array([1.0, 2.0])).tolist() == [0, 1, 3, 2]


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "sklearn" else name)
    with pytest.raises(ImportError, match=r"credit needs scikit-learn: pip install 'entrokit\[information\]'"):
        importlib.reload(sys.modules["entrokit.information.credit"])


def test_points_add_up_and_double_the_odds():
    X, y, _ = portfolio()
    card = FairScorecard(base_score=500.0, base_odds=20.0, pdo=30.0).fit(X, y)
    score, odds = card.score_points(X), np.exp(-card.decision_function(X))
    assert score == pytest.approx(500.0 + 30.0 * np.log2(odds / 20.0))
    bins = card.encoder_.bins(X)
    points = {(p.feature, p.label): p.points for p in card.points_table_}
    added = [sum(points[f, card.encoder_.woe_tables_[f].labels[b]] for f, b in enumerate(row)) for row in bins[:50]]
    assert added == pytest.approx(list(score[:50]))
    proba = card.predict_proba(X)
    assert proba.sum(1) == pytest.approx(np.ones(len(X)))
    assert card.score_evidence_["target"].iv > 0.3


def test_a_bound_drops_the_proxy_and_the_score_tells_less_of_the_attribute():
    X, y, protected = portfolio(rows=5000)
    free = FairScorecard().fit(X, y, protected=protected)
    fair = FairScorecard(tau=0.1).fit(X, y, protected=protected)
    assert free.chosen_.all()
    assert fair.chosen_.tolist() == [True, True, False]
    assert fair.score_evidence_["0"].iv < 0.1 < free.score_evidence_["0"].iv
    assert {p.feature for p in fair.points_table_} == {0, 1}
    nothing = FairScorecard(tau=0.0).fit(X, y, protected=protected)
    assert not nothing.chosen_.any()
    assert nothing.predict_proba(X)[0, 1] == pytest.approx(y.mean())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: woe((1, 0), (1, 2)), r"bins \[1\] are empty on one side"),
        (lambda: woe((1, 2), (1, 2, 3)), "good has 2 bins and bad 3"),
        (lambda: woe((1, -2), (1, 2)), r"good: expected counts \[B\]"),
        (lambda: woe((0, 0), (1, 2)), "good: there are no accounts"),
        (lambda: woe((1, 2), (1, 2), -1), "smoothing"),
        (lambda: psi((1, 2), (0, 0)), "current: there are no accounts"),
        (lambda: information_value(GOOD, BAD, "delta"), "'delta'"),
        (lambda: information_value(GOOD, BAD, alpha=1.0), "alpha"),
        (lambda: select_features(IV_Y, IV_A, (0.1, 0.2)), "tau one bound"),
        (lambda: select_features(IV_Y, IV_A, 0.1, mandatory=[0]), r"mandatory features \[0\] alone"),
        (lambda: select_features(IV_Y, IV_A, -0.1), "bounds at least 0"),
        (lambda: select_features(IV_Y, IV_A, 0.1, se_protected=[1.0]), "se_protected is"),
        (lambda: pareto_front(IV_Y, [IV_A, IV_A], taus=[0.1]), "one protected attribute"),
        (lambda: WoEEncoder("tree").fit(np.ones((4, 1)), [0, 1, 0, 1]), "'tree'"),
        (lambda: WoEEncoder([[0.0]]).fit(np.ones((4, 2)), [0, 1, 0, 1]), "edges of 1 features for 2"),
        (lambda: WoEEncoder(monotonic=[2]).fit(np.ones((4, 1)), [0, 1, 0, 1]), "must be -1, 0 or 1"),
        (lambda: WoEEncoder().fit(np.ones((4, 1)), [0, 1, 2, 1]), "two classes, got 3"),
        (lambda: FairScorecard(tau=0.1).fit(*portfolio()[:2]), r"give fit\(protected=\)"),
        (lambda: FairScorecard().fit(*portfolio()[:2], protected=np.zeros(2000)), "attribute 0 must have two values"),
        (lambda: FairScorecard().fit(*portfolio()[:2], protected=np.zeros(3)), r"protected must be \[2000\]"),
        (lambda: WoEEncoder().fit(*portfolio()[:2]).evidence(portfolio()[0], [0, 1]), "2000 rows and 2 targets"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
