"""Maximum entropy: the sheet's numbers, Gibbs relations by finite differences, and constraints that cannot be met."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.information import InfeasibleError, IonChannel, MaxEntModel, poisson, pore_count

pytest.importorskip("scipy")
DIE = np.arange(1.0, 7.0)[:, None]
REFERENCE = np.log([0.1, 0.1, 0.2, 0.2, 0.3, 0.1])
CHANNEL = IonChannel(np.array([[-2, -1], [-3, -1.5], [-3, -1.5], [-2, -1]]), 2.0, np.array([-3.0, -2.0]))


def test_check_1_a_loaded_die():
    model = MaxEntModel(DIE)
    assert model.fit([4.5]).tolist() == pytest.approx([-0.371049], abs=1e-6)
    assert model.log_z == pytest.approx(3.283301, abs=1e-6)
    expected = [0.054353, 0.078772, 0.114160, 0.165447, 0.239774, 0.347494]
    assert model.prob.tolist() == pytest.approx(expected, abs=1e-6)
    assert model.entropy() == pytest.approx(1.613581, abs=1e-6)
    assert model.covariance().item() == pytest.approx(2.298175, abs=1e-6)
    model = MaxEntModel(DIE, REFERENCE)
    assert model.fit([4.5]).item() == pytest.approx(-0.376288, abs=1e-6)
    expected = [0.030337, 0.044196, 0.128776, 0.187610, 0.409984, 0.199097]
    assert model.prob.tolist() == pytest.approx(expected, abs=1e-6)
    assert -model.entropy() == pytest.approx(0.124191, abs=1e-6)


def random_model(seed, states=12, observables=3):
    rng = np.random.default_rng(seed)
    return MaxEntModel(rng.normal(size=(states, observables)), rng.normal(size=states)), rng


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_fit_recovers_the_law_that_it_was_asked_about(seed):
    model, rng = random_model(seed)
    true = rng.normal(size=3)
    model.multipliers = true
    targets, law = model.mean, model.prob
    assert model.fit(targets) == pytest.approx(true, abs=1e-6)
    np.testing.assert_allclose(model.prob, law, atol=1e-9)
    np.testing.assert_allclose(model.mean, targets, atol=1e-9)


def test_gibbs_relations_by_finite_differences():
    model, _ = random_model(1)
    model.fit(model.mean + 0.1)
    at, eps = model.multipliers.copy(), 1e-5
    for k in range(3):
        moved = []
        for sign in (1, -1):
            model.multipliers = at + sign * eps * np.eye(3)[k]
            moved.append((model.log_z, model.mean))
        (up, mean_up), (down, mean_down) = moved
        model.multipliers = at
        assert -(up - down) / (2 * eps) == pytest.approx(model.mean[k], abs=1e-8)
        np.testing.assert_allclose((mean_up - mean_down) / (2 * eps), -model.covariance()[k], atol=1e-8)
    np.testing.assert_allclose(model.response() @ model.covariance(), -np.eye(3), atol=1e-9)
    F, entropies = model.mean, []
    for sign in (1, -1):
        model.fit(F + sign * eps * np.eye(3)[0])
        entropies.append(model.entropy())
    assert (entropies[0] - entropies[1]) / (2 * eps) == pytest.approx(at[0], abs=1e-6)


def test_information_added_in_sequence_lowers_entropy_by_the_relative_entropy():
    both, _ = random_model(2, observables=2)
    first = MaxEntModel(both.features[:, :1], both.log_reference)
    first.fit(first.mean + 0.2)
    second = MaxEntModel(both.features, first.log_prob)
    target = [*first.mean.tolist(), float(second.mean[1]) + 0.1]
    second.fit(target)
    both.fit(target)
    np.testing.assert_allclose(second.prob, both.prob, atol=1e-9)
    divergence = float(second.prob @ (second.log_prob - first.log_prob))
    assert first.entropy() - both.entropy() == pytest.approx(divergence, abs=1e-9)


def test_redundant_observables_have_one_law():
    model = MaxEntModel(np.hstack([DIE, 2 * DIE, np.ones_like(DIE)]))
    model.fit([4.5, 9.0, 1.0])
    alone = MaxEntModel(DIE)
    alone.fit([4.5])
    np.testing.assert_allclose(model.prob, alone.prob, atol=1e-8)


def test_constraints_that_cannot_be_met_are_named_with_the_nearest():
    with pytest.raises(InfeasibleError, match=r"no law has <eyes> = 7; the nearest has eyes = 6 instead of 7"):
        MaxEntModel(DIE, names=("eyes",)).fit([7.0])
    model = MaxEntModel(np.hstack([DIE, DIE**2]), names=("x", "x2"))
    with pytest.raises(InfeasibleError, match=r"no law has <x> = 3, <x2> = 4"):
        model.fit([3.0, 4.0])  # a variance below 0
    forbidden = MaxEntModel(DIE, np.where(DIE[:, 0] > 4, -np.inf, 0.0))
    with pytest.raises(InfeasibleError, match="nearest has f0 = 4"):
        forbidden.fit([4.5])


def test_the_border_is_met_to_the_precision():
    model = MaxEntModel(DIE)
    model.fit([6.0])
    assert model.prob[-1] == pytest.approx(1.0, abs=1e-9)
    assert np.isfinite(model.multipliers).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3),), "finite \\[X, K\\]"),
        ((np.full((3, 1), np.nan),), "finite \\[X, K\\]"),
        ((DIE, np.zeros(5)), "expected \\[6\\]"),
        ((DIE, np.full(6, -np.inf)), "with a finite entry"),
        ((DIE, None, ("a", "b")), "2 names for 1"),
    ],
)
def test_bad_models_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MaxEntModel(*arguments)
    with pytest.raises(ValueError, match="expected 1 finite targets"):
        MaxEntModel(DIE).fit([np.nan])


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    MaxEntModel(DIE).fit([4.5])
    with pytest.raises(ImportError, match="scipy"):
        MaxEntModel(DIE).fit([7.5])


def test_check_2_asking_how_many_gives_a_poisson_law():
    for particles, distance in ((10, 0.041928), (100, 0.003948), (1000, 0.000392)):
        law, limit = pore_count(particles, 1.5 / particles), poisson(1.5, particles)
        assert law.sum() == pytest.approx(1.0)
        total = 0.5 * (np.abs(law - limit).sum() + 1.0 - limit.sum())
        assert total == pytest.approx(distance, abs=1e-6)
    assert pore_count(0, 0.5).tolist() == [1.0]
    assert pore_count(3, 1.0).tolist() == [0, 0, 0, 1.0]
    with pytest.raises(ValueError, match="share in"):
        pore_count(3, 1.5)


def test_check_3_an_ion_channel():
    model = CHANNEL.model()
    assert CHANNEL.log_xi() == pytest.approx(2.258383, abs=1e-6)
    assert model.log_z == pytest.approx(CHANNEL.log_xi())
    assert model.mean.tolist() == pytest.approx([0.756267, 0.577663], abs=1e-6)
    assert CHANNEL.pmf()[0] == pytest.approx(0.104519, abs=1e-6)
    assert -(model.prob @ model.log_prob) == pytest.approx(3.221090, abs=1e-6)
    assert model.covariance()[0].tolist() == pytest.approx([0.474504, -0.202487], abs=1e-6)
    law = [0.104519, 0.489629, 0.373616, 0.031874, 0.000362]
    assert CHANNEL.occupancy().tolist() == pytest.approx(law, abs=1e-6)
    taken = (CHANNEL.states() > 0).sum(1)
    assert np.bincount(taken, CHANNEL.pmf()).tolist() == pytest.approx(law, abs=1e-6)
    eps = 1e-5
    moved = [IonChannel(CHANNEL.energies, 2.0, CHANNEL.mu + np.array([s * eps, 0.0])).model().mean[1] for s in (1, -1)]
    assert (moved[0] - moved[1]) / (2 * eps) == pytest.approx(-0.202487, abs=1e-6)


def test_check_4_without_repulsion_sites_are_independent():
    free = IonChannel(CHANNEL.energies, 0.0, CHANNEL.mu)
    expected = np.log1p(np.exp(CHANNEL.mu - CHANNEL.energies).sum(1)).sum()
    assert free.log_xi() == pytest.approx(expected)


def test_long_channels_need_no_list_and_voltage_pulls():
    long = IonChannel(np.tile(CHANNEL.energies, (50, 1)), 2.0, CHANNEL.mu)
    assert np.isfinite(long.log_xi())
    assert long.occupancy().sum() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="too many to list"):
        long.states()
    pulled = IonChannel(CHANNEL.energies, 2.0, CHANNEL.mu, 3.0, np.array([1.0, 1.0]), np.linspace(0, 1, 4))
    last = [c.pmf()[c.states()[:, -1] > 0].sum() for c in (CHANNEL, pulled)]
    assert last[1] > last[0]
    with pytest.raises(ValueError, match="needs charges"):
        IonChannel(CHANNEL.energies, 2.0, CHANNEL.mu, 1.0).log_xi()
    with pytest.raises(ValueError, match=r"mu \[S\]"):
        IonChannel(CHANNEL.energies, 2.0, np.zeros(3)).log_xi()
