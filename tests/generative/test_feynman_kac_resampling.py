"""Resamplers and clocks: counts that are right, weights of any size, and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.generative.feynman_kac import (
    BirthDeathClocks,
    effective_sample_size,
    residual_resample,
    stratified_resample,
    systematic_resample,
)

RESAMPLERS = {"systematic": systematic_resample, "stratified": stratified_resample, "residual": residual_resample}
EVERY = pytest.mark.parametrize("name", list(RESAMPLERS))
LOGW = torch.tensor([0.0, 1.0, -2.0, 0.5, 3.0, -1.0])
WEIGHTS = st.lists(st.one_of(st.floats(-60, 60), st.just(-math.inf)), min_size=1, max_size=12).filter(
    lambda values: max(values) > -math.inf
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def counts(indices, count):
    return torch.zeros(count, dtype=torch.float64).index_add_(0, indices, torch.ones(len(indices), dtype=torch.float64))


def test_check_7_the_sheet_s_indices_and_effective_sample_size():
    assert systematic_resample(LOGW, u=torch.tensor(0.05)).tolist() == [1, 4, 4, 4, 4, 4]
    assert float(effective_sample_size(LOGW)) == pytest.approx(1.624591, abs=5e-7)


@EVERY
def test_check_7_equal_weights_are_a_permutation(name):
    for seed in range(5):
        indices = RESAMPLERS[name](torch.full((7,), -3.0), generator(seed))
        assert sorted(indices.tolist()) == list(range(7))


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.integers(0, 2**31))
@EVERY
def test_counts_are_close_to_their_means_and_the_dead_stay_dead(name, logw, seed):
    """Systematic: within 1. Stratified: below 2. Residual: never below the floor."""
    logw = torch.tensor(logw, dtype=torch.float64)
    expected = len(logw) * logw.softmax(0)
    found = counts(RESAMPLERS[name](logw, generator(seed)), len(logw))
    assert float(found.sum()) == len(logw)
    assert not found[logw == -math.inf].any()
    if name == "residual":
        assert bool((found >= (expected - 1e-9).floor()).all())
    else:
        assert float((found - expected).abs().max()) < {"systematic": 1, "stratified": 2}[name] + 1e-9


@settings(max_examples=40, deadline=None)
@given(WEIGHTS)
def test_systematic_counts_are_unbiased(logw):
    """A count steps twice, by 1, over u's interval of 1 / K: a midpoint rule of m points is off by 2 / m at most."""
    logw = torch.tensor(logw, dtype=torch.float64)
    size, points = len(logw), 500
    u = (torch.arange(points, dtype=torch.float64) + 0.5) / points / size
    indices = systematic_resample(logw.expand(points, -1), u=u)
    found = counts(indices.flatten(), size) / points
    assert float((found - size * logw.softmax(0)).abs().max()) <= 2 / points + 1e-9


@EVERY
def test_counts_are_unbiased_on_average(name):
    """Five standard errors of a count whose variance is that of independent draws at most."""
    repeats, weights = 4000, LOGW.double().softmax(0)
    indices = RESAMPLERS[name](LOGW.expand(repeats, -1), generator(3))
    found = counts(indices.flatten(), 6) / repeats
    assert bool(((found - 6 * weights).abs() <= 5 * (6 * weights * (1 - weights) / repeats).sqrt()).all())


def test_residual_draws_the_rest_by_what_is_left():
    """Of 2.5, 0.25 and 0.25 expected, two are sure; the third is one of 0.5, 0.25 and 0.25."""
    logw = torch.tensor([2.5, 0.25, 0.25], dtype=torch.float64).log().expand(4000, -1)
    found = residual_resample(logw, generator(1))
    assert bool((found[:, :2] == 0).all())
    third = counts(found[:, 2], 3) / 4000
    assert third.tolist() == pytest.approx([0.5, 0.25, 0.25], abs=5 * math.sqrt(0.25 / 4000))


@EVERY
def test_weights_are_relative_and_may_be_of_any_size(name):
    base = RESAMPLERS[name](LOGW.double(), generator(2))
    for shift in (-1e4, 1e4):
        assert RESAMPLERS[name](LOGW.double() + shift, generator(2)).tolist() == base.tolist()
    assert float(effective_sample_size(LOGW.double() - 1e4)) == pytest.approx(1.624591, abs=1e-6)


@EVERY
def test_weights_that_underflow_leave_the_heaviest(name):
    logw = torch.tensor([-2000.0, 0.0, -1000.0])
    assert RESAMPLERS[name](logw, generator()).tolist() == [1, 1, 1]
    assert float(effective_sample_size(logw)) == 1.0


@EVERY
def test_groups_never_mix(name):
    logw = torch.stack([LOGW, LOGW.flip(0), torch.zeros(6)])
    together = RESAMPLERS[name](logw, generator(4))
    assert together.shape == (3, 6)
    for row, indices in zip(logw, together, strict=True):
        expected, found = 6 * row.double().softmax(0), counts(indices, 6)
        assert bool((found >= expected.floor() - (0 if name != "stratified" else 1)).all())
    assert effective_sample_size(logw).tolist() == pytest.approx([1.624591, 1.624591, 6.0], abs=1e-6)


def test_the_ends_of_the_unit_interval():
    """A place of 0 is not the first particle's if that is dead, nor one of almost 1 the last one's."""
    logw = torch.tensor([-math.inf, 0.0, 0.0, -math.inf])
    for u in (0.0, 0.24999999, 0.5, 1 - 2**-53):
        found = systematic_resample(logw, u=torch.tensor(u, dtype=torch.float64)).tolist()
        assert set(found) == {1, 2}, u


@EVERY
def test_a_place_that_rounds_up_to_one_is_not_the_dead_s(name, monkeypatch):
    """(3 + 1 - 2^-53) / 4 is 1 in float64."""
    monkeypatch.setattr(torch, "rand", lambda shape, **options: torch.full(shape, 1 - 2**-53, dtype=options["dtype"]))
    assert 3 not in RESAMPLERS[name](torch.tensor([0.0, 1.0, 2.0, -math.inf]))


@EVERY
@pytest.mark.parametrize(
    ("logw", "message"),
    [
        (torch.zeros(0), r"K >= 1.*\[0\]"),
        (torch.tensor(1.0), r"shape is \[\]"),
        (torch.tensor([0.0, math.nan, math.inf]), "2 of 3 log-weights are NaN or"),
        (torch.tensor([[0.0, 1.0], [-math.inf, -math.inf]]), "1 of 2 groups are 0"),
    ],
    ids=["empty", "scalar", "nan", "dead"],
)
def test_what_is_no_weight_is_refused(name, logw, message):
    for call in (RESAMPLERS[name], effective_sample_size):
        with pytest.raises(ValueError, match=message):
            call(logw)


@pytest.mark.parametrize("u", [torch.tensor(1.0), torch.tensor(-0.1), torch.tensor([0.5]), torch.tensor(math.nan)])
def test_a_number_that_is_no_place(u):
    with pytest.raises(ValueError, match=r"u is one number in \[0, 1\)"):
        systematic_resample(LOGW, u=u)


def test_clocks_replace_as_many_as_the_equation_says():
    """A particle with increment -δ against a mean of 0 lives on with probability exp(-δ) a step."""
    groups, count, delta = 1, 20000, 0.05
    increment = torch.where(torch.arange(count) < count // 2, -delta, delta).expand(groups, count)
    clocks = BirthDeathClocks(groups, count, generator(0))
    alive = torch.ones(count, dtype=torch.bool)
    for _ in range(10):
        indices = clocks.step(increment)[0]
        replaced = indices != torch.arange(count)
        # Only those that gain less than the mean die, and only those that gain more are copied.
        assert bool((replaced.nonzero() < count // 2).all())
        assert bool((indices[replaced] >= count // 2).all())
        alive &= ~replaced
    left = math.exp(-10 * delta)
    share = float(alive[: count // 2].double().mean())
    assert share == pytest.approx(left, abs=5 * math.sqrt(left * (1 - left) / (count // 2)))


def test_a_replaced_particle_s_clock_starts_again_and_gains_are_spent():
    clocks = BirthDeathClocks(2, 2, generator(1))
    clocks.threshold = torch.tensor([[0.5, 0.5], [5.0, 5.0]], dtype=torch.float64)
    assert clocks.step(torch.tensor([[0.0, 0.8], [0.0, 0.8]])).tolist() == [[0, 1], [0, 1]]
    assert clocks.step(torch.tensor([[0.0, 0.8], [0.0, 0.8]])).tolist() == [[1, 1], [0, 1]]
    assert clocks.clock[0].tolist() == [0.0, 0.0]
    assert clocks.clock[1].tolist() == pytest.approx([0.8, 0.0])
    assert clocks.gained[0].tolist() == [0.0, 0.0]
    assert clocks.gained[1].tolist() == pytest.approx([0.0, 0.8])
    assert clocks.threshold[0, 0] != 0.5
    assert clocks.threshold[0, 1] == 0.5


def test_clocks_with_equal_increments_do_nothing_and_go_on_from_their_state():
    clocks = BirthDeathClocks(1, 4, generator(0))
    for _ in range(50):
        assert clocks.step(torch.full((1, 4), -7.0)).tolist() == [[0, 1, 2, 3]]
    clocks.step(torch.tensor([[0.0, 0.1, 0.2, 0.3]]))
    copy = BirthDeathClocks(1, 4, generator(9))
    copy.load_state_dict(clocks.state_dict())
    for name, value in clocks.state_dict().items():
        assert torch.equal(copy.state_dict()[name], value)
    with pytest.raises(ValueError, match=r"clock has shape \[1, 4\]; these clocks \[1, 5\]"):
        BirthDeathClocks(1, 5).load_state_dict(clocks.state_dict())


@pytest.mark.parametrize("increment", [torch.zeros(4), torch.tensor([[0.0, math.nan, 0.0, 0.0]])])
def test_increments_that_clocks_refuse(increment):
    clocks = BirthDeathClocks(1, 4, generator(0))
    with pytest.raises(ValueError, match=r"finite increments \[1, 4\]"):
        clocks.step(increment)
    assert not clocks.clock.any()
