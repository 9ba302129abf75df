"""CANON: the sheet's numbers, its exact identities, and what odd, tied and unscored groups do."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import Context, recipe
from entrokit.rlvr.interventions.canon import Canon, canon_advantage, canon_mu_schedule, response_entropy

from .cases import batch

R = torch.tensor([1, 1, 0, 1, 0, 0, 0, 0], dtype=torch.float64)
C = torch.tensor([0.30, 0.10, 0.25, 0.50, 0.45, 0.20, 0.15, 0.60], dtype=torch.float64)
ONE = torch.zeros(8, dtype=torch.long)


def advantage(mu=1.0, **options):
    return canon_advantage(R, C, ONE, mu, **options).tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mu": 1.0}, [0.75, 0.5, -0.5, 0.75, -0.25, -0.5, -0.5, -0.25]),
        ({"mu": 0.0}, [0.5, 0.75, -0.25, 0.5, -0.5, -0.25, -0.25, -0.5]),
        ({"mu": 0.5}, [0.625, 0.625, -0.375, 0.625, -0.375, -0.375, -0.375, -0.375]),
        ({"mu": 0.7}, [0.675, 0.575, -0.425, 0.675, -0.325, -0.425, -0.425, -0.325]),
        ({"alpha": 0.9}, [0.65, 0.55, -0.45, 0.65, -0.25, -0.45, -0.45, -0.25]),
        ({"alpha": 0.9, "weighted_half": "low"}, [0.775, 0.4, -0.5, 0.775, -0.225, -0.5, -0.5, -0.225]),
        ({"scale": 2.0}, [1.5, 1.0, -1.0, 1.5, -0.5, -1.0, -1.0, -0.5]),
    ],
)
def test_the_paper_s_group(options, expected):
    assert advantage(**options) == pytest.approx(expected)


def test_the_high_half_of_an_odd_group_has_one_more():
    r, c = torch.tensor([1.0, 0, 1, 0, 1]), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    found = canon_advantage(r, c, torch.zeros(5, dtype=torch.long))
    assert found.tolist() == pytest.approx([1 / 3, -2 / 3, 0.5, -0.5, 0.5])


groups = st.lists(
    st.lists(st.tuples(st.floats(-2, 2), st.integers(-9, 9)), min_size=2, max_size=8).filter(lambda g: len(g) % 2 == 0),
    min_size=1,
    max_size=3,
)


def tensors(given_groups):
    rows = [(r, c, i) for i, g in enumerate(given_groups) for r, c in g]
    r, c, group = zip(*rows, strict=True)
    return torch.tensor(r, dtype=torch.float64), torch.tensor(c, dtype=torch.float64), torch.tensor(group)


@given(groups, st.floats(0, 1))
def test_identities_of_equal_halves(given_groups, mu):
    r, c, group = tensors(given_groups)
    intra, inter = (canon_advantage(r, c, group, m) for m in (0.0, 1.0))
    mean = torch.stack([r[group == g].mean() for g in group])
    torch.testing.assert_close(canon_advantage(r, c, group, 0.5), r - mean, atol=1e-12, rtol=0)
    torch.testing.assert_close(canon_advantage(r, c, group, mu), intra + mu * (inter - intra), atol=1e-12, rtol=0)
    for g in group.unique():
        own = group == g
        gap = (inter - intra)[own].abs()
        torch.testing.assert_close(gap, gap[:1].expand_as(gap), atol=1e-12, rtol=0)
        assert abs(float(inter[own].sum())) < 1e-9
        assert abs(float(intra[own].sum())) < 1e-9
        squares = canon_advantage(r, c, group, mu)[own].square().sum()
        expected = intra[own].square().sum() + mu**2 * int(own.sum()) * gap[0] ** 2
        torch.testing.assert_close(squares, expected, atol=1e-9, rtol=1e-9)


@given(groups, st.randoms())
def test_invariances(given_groups, random):
    r, c, group = tensors(given_groups)
    found = canon_advantage(r, c, group)
    torch.testing.assert_close(canon_advantage(r, c.exp() * 3, group), found)
    torch.testing.assert_close(canon_advantage(r + 0.7, c, group), found)
    if len({(g, x) for g, x in zip(group.tolist(), c.tolist(), strict=True)}) == len(r):
        torch.testing.assert_close(canon_advantage(r, -c, group), found)
        order = torch.tensor(random.sample(range(len(r)), len(r)))
        torch.testing.assert_close(canon_advantage(r[order], c[order], group[order]), found[order])


def test_equal_rewards():
    ones = torch.ones(8)
    assert not canon_advantage(ones, C.float(), ONE).any()
    found = canon_advantage(ones, C.float(), ONE, alpha=0.9)
    high = C >= 0.3
    torch.testing.assert_close(found, torch.where(high, -0.1, 0.1))


def test_unscored_empty_tied_and_single_completions():
    nan = float("nan")
    r = torch.tensor([1.0, 0.0, nan, 1.0, 5.0])
    c = torch.tensor([0.2, nan, 0.1, 0.3, 0.0])
    group = torch.tensor([0, 0, 0, 0, 1])
    # Of group 0 three are scored: the low half is the one whose entropy is unknown.
    assert canon_advantage(r, c, group).tolist() == pytest.approx([1.0, -1.0, 0.0, 1.0, 0.0])
    assert canon_advantage(r, c, group, singleton="reward")[4] == 5.0
    tied = canon_advantage(torch.tensor([1.0, 0, 0, 1]), torch.zeros(4), torch.zeros(4, dtype=torch.long), 0.0)
    assert tied.tolist() == [0.5, -0.5, -0.5, 0.5]
    assert canon_advantage(r[:0], c[:0], group[:0]).shape == (0,)


def test_schedules():
    inter = {0: 0.033333, 10: 0.366667, 29: 1, 30: 1, 50: 0.7, 69: 0.400925, 70: 1}
    intra = {0: 0.98, 10: 0.78, 29: 0.4, 30: 0.4, 50: 0.7, 69: 0.999075, 70: 0.4}
    for kind, values in (("cosine-inter-intra", inter), ("cosine-intra-inter", intra)):
        for step, value in values.items():
            assert canon_mu_schedule(step, kind) == pytest.approx(value, abs=1e-6)
    with pytest.raises(ValueError, match="is no cosine schedule"):
        canon_mu_schedule(0, "linear")
    with pytest.raises(ValueError, match="3 cycles do not fit into 30 steps"):
        canon_mu_schedule(0, total=30)


def test_response_entropy_of_an_empty_completion_is_0():
    mask = torch.tensor([[True, True, False], [False] * 3])
    found = response_entropy(torch.tensor([[1.0, 2.0, math.nan], [math.nan] * 3]), mask)
    assert found.tolist() == [1.5, 0.0]


def test_the_metrics_of_a_recipe():
    b = batch()
    length = b.trained.sum(1).double()
    by_length = recipe("dr_grpo+canon(metric='length')").advantages(b)
    expected = canon_advantage(b.reward, length, b.group)[:, None] * b.trained
    torch.testing.assert_close(by_length, expected)
    torch.testing.assert_close(recipe("dr_grpo", Canon(lambda r: r.trained.sum(1))).advantages(b), expected)
    by_entropy = recipe("dr_grpo+canon(mu=0.3)").advantages(b)
    entropy = response_entropy(b.behaviour.entropy, b.trained)
    torch.testing.assert_close(by_entropy, canon_advantage(b.reward, entropy, b.group, 0.3)[:, None] * b.trained)
    drawn = [
        recipe("dr_grpo+canon(metric='random')").advantages(b, Context(generator=torch.Generator().manual_seed(s)))
        for s in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert "entropy" not in recipe("grpo+canon(metric='length')").needs


def test_schedules_of_a_recipe():
    b = batch()
    at = {m: recipe("dr_grpo", Canon(mu=m)).advantages(b) for m in (0.0, 1.0)}
    for kind, mu in (("cosine-inter-intra", 0.7), ("cosine-intra-inter", 0.7)):
        found = recipe("dr_grpo", Canon(schedule=kind)).advantages(b, Context(step=50))
        torch.testing.assert_close(found, at[0.0] + mu * (at[1.0] - at[0.0]))
    accuracy = float(b.reward.mean().clamp(0, 1))
    found = recipe("dr_grpo", Canon(schedule="accuracy-inter-intra")).advantages(b)
    torch.testing.assert_close(found, at[0.0] + (1 - accuracy) * (at[1.0] - at[0.0]))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"metric": "height"}, "metric must be one of"),
        ({"mu": 1.5}, r"mu must be a number in \[0, 1\]"),
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"schedule": "cosine-inter-intra", "cycles": 0}, "0 cycles do not fit"),
    ],
)
def test_bad_knobs(knobs, message):
    with pytest.raises(ValueError, match=message):
        Canon(**knobs)
    with pytest.raises(ValueError, match="must give one number a row"):
        recipe("grpo", Canon(lambda r: r.behaviour.logp)).advantages(batch())
