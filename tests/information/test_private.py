"""Private counting: the sheet's constants, privacy by enumeration, unbiased counts, and the tree at its limits."""

import math
import warnings
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.information.private import (
    KRR,
    OLH,
    ORACLES,
    OUE,
    AdaptiveExtension,
    ConsensusPruning,
    FixedExtension,
    History,
    PrefixTreeHeavyHitters,
    PrivacyError,
    PrivacyLedger,
    SecureSource,
    SeededSource,
    best_oracle,
    f1_at_k,
    ncr,
)


def parties(seed=0, sizes=(4000, 1000), items=40, bits=8):
    rng = np.random.default_rng(seed)
    codes = rng.choice(2**bits, items, replace=False)
    p = np.arange(1, items + 1) ** -1.5
    return [codes[rng.choice(items, n, p=p / p.sum())] for n in sizes], codes


@pytest.mark.parametrize(
    ("epsilon", "oue_q", "n_var", "switch", "g"),
    [
        (1.0, 0.268941, 3.682694, 10.155, 4),
        (2.0, 0.119203, 0.724062, 24.167, 8),
        (4.0, 0.017986, 0.076022, 165.794, 56),
    ],
)
def test_check_1_constants(epsilon, oue_q, n_var, switch, g):
    oue, olh = OUE(64, epsilon), OLH(64, epsilon)
    assert oue.q == pytest.approx(oue_q, abs=1e-6)
    assert float(oue.variance(0.0, 1)) == pytest.approx(n_var, abs=1e-6)
    assert olh.g == g
    assert best_oracle(math.floor(switch), epsilon) == "krr"
    assert best_oracle(math.floor(switch) + 1, epsilon) == "oue"


def test_check_1_randomised_response():
    krr = KRR(64, 1.0)
    assert krr.p == pytest.approx(0.041363, abs=1e-6)
    assert krr.q == pytest.approx(0.015216, abs=1e-6)
    assert float(krr.variance(0.0, 1)) == pytest.approx(21.919881, abs=1e-5)
    assert float(KRR(64, 2.0).variance(0.0, 1)) == pytest.approx(1.699877, abs=1e-6)
    assert float(KRR(64, 4.0).variance(0.0, 1)) == pytest.approx(0.040587, abs=1e-6)


def outputs(oracle):
    if isinstance(oracle, KRR):
        return np.arange(oracle.d + oracle.outside)
    if isinstance(oracle, OUE):
        return np.array(list(product((0, 1), repeat=oracle.d)))
    keys = np.random.default_rng(0).integers(1, 2**31 - 1, (20, 2))
    return np.array([[*key, value] for key in keys for value in range(oracle.g)])


@pytest.mark.parametrize("d", [2, 3, 4])
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("name", list(ORACLES))
def test_check_2_privacy_by_enumeration(name, outside, epsilon, d):
    oracle = ORACLES[name](d, epsilon, outside=outside)
    says = np.stack([oracle.likelihood(outputs(oracle), x) for x in range(-outside, d)])
    worst = (says.max(0) / says.min(0)).max()
    assert worst == pytest.approx(math.exp(epsilon), rel=1e-12)
    each = says if name != "olh" else says.reshape(len(says), 20, oracle.g)
    assert each.sum(-1) == pytest.approx(np.ones(each.shape[:-1]))


@pytest.mark.parametrize("name", ["krr", "oue"])
def test_reports_come_as_likely_as_said(name):
    oracle, n = ORACLES[name](3, 1.0), 20_000
    reports = oracle.randomize(np.full(n, 1), SecureSource())
    seen = Counter(map(tuple, reports.reshape(n, -1).astype(int).tolist()))
    every = outputs(oracle)
    expected = n * oracle.likelihood(every, 1)
    found = np.array([seen[tuple(np.atleast_1d(o).tolist())] for o in every])
    # Beyond the 1 - 1e-9 quantile of chi-squared with at most 7 degrees of freedom.
    assert ((found - expected) ** 2 / expected).sum() < 55


def test_hashed_reports_support_their_item_with_p_and_others_with_q():
    oracle, n = OLH(8, 1.0), 40_000
    found = oracle.aggregate(oracle.randomize(np.full(n, 3), SeededSource(0))) / n
    expected = np.where(np.arange(8) == 3, oracle.p, oracle.q)
    assert (abs(found - expected) < 5 * np.sqrt(expected / n)).all()


def test_check_3_estimates_are_unbiased_with_the_right_spread():
    rng, oue, krr = np.random.default_rng(0), OUE(3, 1.0), KRR(4, 1.0)
    found = np.stack([oue.estimate(oue.simulate([500, 300, 0], 1000, rng), 1000) for _ in range(20_000)])
    assert found.mean(0) == pytest.approx([0.5, 0.3, 0.0], abs=0.002)
    assert found.std(0) == pytest.approx([0.0646, 0.0633, 0.0603], rel=0.02)
    assert oue.variance([0.5, 0.3, 0.0], 1000) ** 0.5 == pytest.approx([0.0646, 0.0633, 0.0603], rel=0.01)
    found = np.stack([krr.estimate(krr.simulate([500, 300, 0, 200], 1000, rng), 1000) for _ in range(20_000)])
    assert found.mean(0) == pytest.approx([0.5, 0.3, 0.0, 0.2], abs=0.002)
    assert found.std(0) == pytest.approx([0.0464, 0.0441, 0.0403, 0.0429], rel=0.02)


@pytest.mark.parametrize("name", list(ORACLES))
def test_estimates_are_unbiased_where_some_users_are_outside(name):
    oracle, x = ORACLES[name](4, 2.0, outside=True), np.repeat([0, 1, 3, -1], [3000, 2000, 500, 4500])
    truth = np.array([0.3, 0.2, 0.0, 0.05])
    shares = [oracle.estimate(oracle.aggregate(oracle.randomize(x, SeededSource(1))), len(x))]
    if name != "olh":
        counts = oracle.simulate([3000, 2000, 0, 500], len(x), np.random.default_rng(0))
        shares.append(oracle.estimate(counts, len(x)))
    for found in shares:
        assert (abs(found - truth) < 5 * oracle.variance(truth, len(x)) ** 0.5).all()


def test_check_4_ranking():
    assert ncr([1, 5, 3], [1, 2, 3]) == pytest.approx(4 / 6)
    assert f1_at_k([1, 5, 3], [1, 2, 3]) == pytest.approx(2 / 3)
    assert ncr([1, 2, 3], [1, 2, 3]) == f1_at_k([3, 2, 1], [1, 2, 3]) == 1.0


@pytest.mark.parametrize("oracle", ["oue", "krr", "olh", "auto"])
def test_check_5_without_noise_the_top_items_are_exact(oracle):
    users, _ = parties(sizes=(20_000,))
    top = [v for v, _ in Counter(users[0].tolist()).most_common(3)]
    # OUE keeps an item's bit half the time, whatever ε is.
    tree = PrefixTreeHeavyHitters(3, 8, 4, 0, 16.0 if oracle == "olh" else 30.0, oracle, source=SeededSource(0))
    assert set(tree.fit(users).items_.tolist()) == set(top)
    assert tree.frequencies_[0] == pytest.approx((users[0] == tree.items_[0]).mean(), abs=0.05)
    assert tree.covered_.tolist() == [1.0] * 3


def test_check_5_an_extension_of_nothing_is_prefix_extending():
    users, _ = parties(sizes=(5000,))
    fixed, none = (
        PrefixTreeHeavyHitters(5, 8, 4, 0, 2.0, extension=e, source=SeededSource(3)).fit(users)
        for e in (FixedExtension(), AdaptiveExtension(c=-math.inf))
    )
    assert fixed.items_.tolist() == none.items_.tolist()
    assert fixed.frequencies_ == pytest.approx(none.frequencies_)


@pytest.mark.parametrize("pruning", [None, ConsensusPruning()])
def test_check_6_every_user_reports_once_and_groups_are_even(pruning):
    users, _ = parties(sizes=(3001, 999, 500))
    tree = PrefixTreeHeavyHitters(5, 8, 4, 2, 2.0, pruning=pruning, source=SeededSource(0)).fit(users)
    spent = np.concatenate(tree.ledger_.spent)
    assert (spent == 2.0).all()
    assert tree.summary() == {"epsilon": 2.0, "most_spent": 2.0, "secure": False, "skipped": ()}
    if pruning is None:
        asked = [line.users for line in tree.report_ if line.party == 0]
        assert max(asked) - min(asked) <= 1
    assert tree.report_[0].domain == 4
    assert [line.length for line in tree.report_ if line.party == 1] == [6, 8]


def test_a_shared_tree_to_the_last_level_and_odd_lengths():
    users, _ = parties(sizes=(6000, 6000))
    tree = PrefixTreeHeavyHitters(4, 8, 3, 3, 5.0, source=SeededSource(0)).fit(users)
    assert [line.length for line in tree.report_] == [3, 6, 8]
    top = [v for v, _ in Counter(np.concatenate(users).tolist()).most_common(3)]
    assert set(top) <= set(tree.items_.tolist())


@pytest.mark.parametrize("shared", [0, 2, 4])
def test_parties_with_fewer_users_than_levels_are_left_out_and_named(shared):
    users, _ = parties(sizes=(4000, 1000))
    mixed = [np.array([1, 1, 1]), users[0], [], users[1]]

    def tree():
        return PrefixTreeHeavyHitters(5, 8, 4, shared, 2.0, source=SeededSource(0))

    with pytest.warns(UserWarning, match=r"left out party 0 \(3 users\), party 2 \(0 users\): fewer users than the 4"):
        found = tree().fit(mixed)
    alone = tree().fit(users)
    assert found.skipped_ == found.summary()["skipped"] == (0, 2)
    assert alone.skipped_ == ()
    # The others are heard as if they were alone, and keep their numbers.
    assert found.items_.tolist() == alone.items_.tolist()
    assert found.frequencies_.tolist() == alone.frequencies_.tolist()
    assert found.covered_.max() <= 1.0
    assert [s.tolist() for s in found.ledger_.spent] == [[0.0] * 3, [2.0] * 4000, [], [2.0] * 1000]
    assert {line.party for line in found.report_} == ({None} if shared else set()) | ({1, 3} if shared < 4 else set())


def test_as_many_users_as_levels_are_heard():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = PrefixTreeHeavyHitters(1, 8, 4, 0, 30.0, "krr", source=SeededSource(0)).fit([np.full(4, 9)])
    assert tree.items_.tolist() == [9]


@pytest.mark.parametrize(("oracle", "shared"), [("oue", 0), ("oue", 4), ("krr", 2), ("olh", 2), ("auto", 2)])
def test_what_nobody_holds_is_marked_as_noise(oracle, shared):
    """Three items are held and ten asked for. Noise may pass in 1 of 20 runs: of 40, 10 or more by a chance of 2e-5."""
    held, runs, passed = [3, 77, 200], 40, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        users = [rng.choice(held, n, p=[0.5, 0.3, 0.2]) for n in (12_000, 4000)]
        tree = PrefixTreeHeavyHitters(10, 8, 4, shared, 2.0, oracle, source=SeededSource(seed)).fit(users)
        assert len(tree.items_) == 10
        real = np.isin(tree.items_, held)
        assert tree.above_noise_[real].all()
        passed += bool(tree.above_noise_[~real].any())
    assert passed < 10
    # Their estimates alone would have passed for shares.
    assert (tree.frequencies_[~real] > tree.standard_errors_[~real]).any()


def test_without_noise_what_nobody_holds_counts_nothing():
    tree = PrefixTreeHeavyHitters(4, 8, 4, 0, 30.0, "krr", source=SeededSource(0)).fit([np.repeat([5, 6], [300, 100])])
    assert tree.items_[:2].tolist() == [5, 6]
    assert tree.above_noise_.tolist() == [True, True, False, False]
    assert tree.frequencies_[2:] == pytest.approx([0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize("name", list(ORACLES))
@pytest.mark.parametrize("n", [3, 60])
def test_surprise_bounds_the_chance_of_every_count(name, n):
    """Against the exact tail of the binomial law that reports about an item that nobody holds obey."""
    oracle = ORACLES[name](6, 1.5, outside=True)
    chance = np.array([math.comb(n, c) * oracle.q**c * (1.0 - oracle.q) ** (n - c) for c in range(n + 1)])
    tail = chance[::-1].cumsum()[::-1]
    bound = np.exp(-oracle.surprise(oracle.estimate(np.arange(n + 1), n), n))
    assert (tail <= bound * (1.0 + 1e-12)).all()
    # All of n reports: the bound is the chance itself.
    assert bound[-1] == pytest.approx(oracle.q**n, rel=1e-9)
    assert oracle.surprise([-0.5, 0.0], n) == pytest.approx([0.0, 0.0], abs=1e-12)


def test_the_source_is_secure_unless_a_seed_is_given_and_torch_is_welcome():
    users, _ = parties()
    a, b = (PrefixTreeHeavyHitters(3, 8, 4, 1).fit([torch.tensor(u) for u in users]) for _ in range(2))
    assert a.summary()["secure"]
    assert a.frequencies_.tolist() != b.frequencies_.tolist()
    c, d = (PrefixTreeHeavyHitters(3, 8, 4, 1, source=SeededSource(5)).fit(users) for _ in range(2))
    assert c.frequencies_.tolist() == d.frequencies_.tolist()


def test_secure_draws_are_uniform():
    source = SecureSource()
    u = source.random((100, 200))
    assert u.shape == (100, 200)
    assert 0 <= u.min() <= u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.015)
    counts = np.bincount(source.integers(7, 70_000), minlength=7)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 60
    assert sorted(source.permutation(50).tolist()) == list(range(50))
    assert len(source.integers(5, 0)) == 0


def test_the_ledger_refuses_a_second_report():
    ledger = PrivacyLedger([3], 1.0)
    ledger.charge(0, np.array([0, 2]), 1.0)
    with pytest.raises(PrivacyError, match=r"more than its budget of ε = 1\.0"):
        ledger.charge(0, np.array([1, 2]), 0.5)
    assert ledger.spent[0].tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(PrivacyError):
        ledger.charge(0, np.array([1, 1]), 0.25)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(1, 8), st.floats(0, 0.5))
@settings(max_examples=50)
def test_rules_keep_at_least_k(shares, k, sd):
    shares = np.array(shares)
    least = min(k, len(shares))
    assert least <= AdaptiveExtension().keep(shares, sd, k) <= max(least, 2 * k)
    dropped = ConsensusPruning().dropped(np.ones(len(shares), dtype=bool), shares, sd, k)
    assert (~dropped).sum() >= least


def test_pruning_needs_both_sides():
    history = History.empty().with_party(np.arange(6), np.array([0.5, 0.4, 0.3, 0.0, 0.0, 0.0]), 1000, 1e-6)
    history = history.with_party(np.array([5, 9]), np.array([0.0, 0.2]), 500, 1e-6)
    assert history.prefixes.tolist() == [0, 1, 2, 3, 4, 5, 9]
    assert history.users.tolist() == [1000] * 5 + [1500, 500]
    rule, candidates = ConsensusPruning(), np.array([0, 3, 4, 7, 9])
    suspects = rule.suspects(candidates, history, 2)
    assert suspects.tolist() == [False, True, True, False, True]
    own = np.array([0.5, 0.0, 0.6, 0.0, 0.0])
    assert rule.dropped(suspects, own, 0.001, 2).tolist() == [False, True, False, False, True]
    assert not rule.suspects(candidates, History.empty(), 2).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: OUE(0, 1.0), "oue: the domain must hold"),
        (lambda: KRR(3, 0.0), "krr: epsilon must be finite and above 0"),
        (lambda: KRR(3, 1.0).randomize([3]), "integers from 0 to 2"),
        (lambda: OUE(3, 1.0, outside=True).randomize([-2]), "integers from -1 to 2"),
        (lambda: OLH(3, 1.0).randomize([-1]), "integers from 0 to 2"),
        (lambda: OLH(2**31, 1.0), "d must be below"),
        (lambda: KRR(3, 1.0).simulate([1, 1, 1], 4, np.random.default_rng(0)), "3 of 4 users"),
        (lambda: KRR(3, 1.0).estimate([0, 0, 0], 0), "needs reports"),
        (lambda: PrefixTreeHeavyHitters(levels=20), "levels <= bits"),
        (lambda: PrefixTreeHeavyHitters(oracle="rappor"), "'rappor'"),
        (lambda: PrefixTreeHeavyHitters(epsilon=-1.0), "epsilon"),
        (lambda: PrefixTreeHeavyHitters().fit([]), "no party"),
        (
            lambda: PrefixTreeHeavyHitters().fit([np.zeros(7, int), []]),
            r"no party has a user for each of 8 levels: party 0 \(7 users\), party 1 \(0 users\); use fewer",
        ),
        (lambda: PrefixTreeHeavyHitters(bits=8).fit([np.full(20, 256)]), "party 0: items must be"),
        (lambda: PrefixTreeHeavyHitters(bits=8).fit([np.full(20, 0.5)]), "party 0: items must be"),
        (lambda: AdaptiveExtension(cap=0.5), "cap"),
        (lambda: ConsensusPruning(beta=1.0), "beta"),
        (lambda: ncr([1], []), "truth_ranked"),
        (lambda: PrefixTreeHeavyHitters(bits=8).fit([np.zeros(20, int), np.empty((0, 2))]), "party 1: items must be"),
        (lambda: f1_at_k([], [1]), "must hold items"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
