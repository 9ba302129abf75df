"""Maximum entropy: the sheet's numbers, Gibbs relations by finite differences, and constraints that cannot be met."""

import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.information.maxent import InfeasibleError, IonChannel, MaxEntModel, poisson, pore_count

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


SQUARES = np.hstack([DIE, DIE**2])
# A tetrahedron, and a fifth state in its middle.
SOLID = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.25, 0.25, 0.25]], dtype=float)


@pytest.mark.parametrize(
    ("features", "targets", "named", "left"),
    [
        (DIE, [6.0], "<f0> = 6 is the largest", [5]),
        (DIE, [1.0], "<f0> = 1 is the smallest", [0]),
        (np.hstack([DIE, DIE == 2]), [3.0, 0.0], "<f1> = 0 is the smallest", [0, 2, 3, 4, 5]),
        # 4.5 with the smallest variance a die can have: a combination of two averages of which each has room.
        (SQUARES, [4.5, 20.5], "<f0> - 0.111111 <f1> = 2.22222 is the largest", [3, 4]),
        (SQUARES, [4.5, 25.5], "<f0> - 0.142857 <f1> = 0.857143 is the smallest", [0, 5]),
        # A corner, where many combinations are on the border.
        (SQUARES, [3.0, 9.0], "= 1.71429 is the largest", [2, 3]),
        # A face, an edge; in other units.
        (SOLID, [0.2, 0.3, 0.5], "is the largest", [1, 2, 3]),
        (SOLID * [1e-9, 1.0, 1e9], [0.2e-9, 0.3, 0.5e9], "is the largest", [1, 2, 3]),
        (SOLID, [0.4, 0.6, 0.0], "<f2> = 0 is the smallest", [0, 1, 2]),
        # Redundant, and on the border besides.
        (np.hstack([DIE, 2 * DIE, np.ones_like(DIE)]), [6.0, 12.0, 1.0], "= 6 is the largest", [5]),
    ],
)
def test_averages_on_the_border_are_refused_and_named(features, targets, named, left):
    model = MaxEntModel(np.asarray(features, dtype=float))
    with pytest.raises(InfeasibleError, match="lie on the border") as refused:
        model.fit(targets)
    assert named in str(refused.value)
    assert not model.multipliers.any()
    has = f"only {len(left)} of {len(features)} states have that ({', '.join(map(str, left))})"
    assert has in str(refused.value)


def test_what_the_message_advises_can_be_done():
    """From an edge of a solid: a face first, then the edge, on which the averages lie inside."""
    targets, left, refused = [0.4, 0.6, 0.0], np.arange(5), 0
    while refused < 4:
        model = MaxEntModel(SOLID, np.where(np.isin(np.arange(5), left), 0.0, -np.inf))
        try:
            model.fit(targets)
            break
        except InfeasibleError as error:
            left = np.array(re.search(r"have that \((.*)\)", str(error))[1].split(", "), dtype=int)
            refused += 1
    assert refused == 2
    np.testing.assert_allclose(model.prob, [0, 0.4, 0.6, 0, 0], atol=1e-10)


def test_an_unlikely_reference_does_not_hide_the_border():
    """The reference alone is on the border to 1e-13: the first gradient is 0, and no step seems to be needed."""
    reference = np.append(np.full(5, -30.0), 0.0)
    with pytest.raises(InfeasibleError, match="<f0> = 6 is the largest"):
        MaxEntModel(DIE, reference).fit([6.0])


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(deadline=None)
def test_every_face_of_a_random_polytope_is_found(seed, observables):
    """A law on the states where a random combination is least, of which no single average need be extreme."""
    model, rng = random_model(seed, 12, observables)
    direction = rng.normal(size=observables)
    # As many states on a face as span it.
    height = model.features @ direction
    lowest = np.argsort(height)[:observables]
    model.features[lowest] -= np.outer(height[lowest] - height.min(), direction) / (direction @ direction)
    with pytest.raises(InfeasibleError, match="on the border"):
        model.fit(rng.dirichlet(np.ones(observables)) @ model.features[lowest])


@pytest.mark.parametrize("inside", [10.0**-k for k in range(1, 9)])
def test_next_to_the_border_multiplier_and_response_are_exact(inside):
    """Of a coin that shows 1 with probability F: λ = -ln(F / (1 - F)), response -1 / (F (1 - F))."""
    F = 1.0 - inside
    rest = 1.0 - F
    model = MaxEntModel(np.array([[0.0], [1.0]]))
    # The last Newton step moved λ by at most 1e-6 nats, which leaves the square of that, and rounding.
    assert model.fit([F]).item() == pytest.approx(-np.log(F / rest), abs=1e-11)
    assert model.response().item() == pytest.approx(-1.0 / (F * rest), rel=1e-11)


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1e6, 1e9])
def test_the_law_does_not_depend_on_the_units(unit):
    model = MaxEntModel(SQUARES * [unit, 1.0])
    model.fit([4.5 * unit, 22.5])
    plain = MaxEntModel(SQUARES)
    plain.fit([4.5, 22.5])
    np.testing.assert_allclose(model.prob, plain.prob, atol=1e-9)
    np.testing.assert_allclose(model.response() * [[unit**2, unit], [unit, 1.0]], plain.response(), rtol=1e-6)
    with pytest.raises(InfeasibleError, match="no law has"):
        MaxEntModel(DIE * unit).fit([7.0 * unit])


def test_a_response_without_spread_is_refused():
    model = MaxEntModel(DIE)
    model.multipliers = np.array([-1000.0])
    with pytest.raises(ValueError, match="no spread left"):
        model.response()
    redundant = MaxEntModel(np.hstack([DIE, DIE]))
    covariance = redundant.covariance()
    np.testing.assert_allclose(covariance @ redundant.response() @ covariance, -covariance, atol=1e-12)


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
    MaxEntModel(SQUARES).fit([4.5, 22.5])
    for targets in ([3.0, 4.0], [4.5, 20.5]):
        with pytest.raises(ImportError, match="scipy"):
            MaxEntModel(SQUARES).fit(targets)
    with pytest.raises(InfeasibleError, match="<f0> = 6 is the largest"):
        MaxEntModel(DIE).fit([6.0])
    with pytest.raises(InfeasibleError, match="the nearest has f0 = 6 instead of 7.5"):
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
