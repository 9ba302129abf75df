"""A temperature that is too small is said in training, once, and hardly costs a look."""

import copy
import math
import pickle
import warnings
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.generative.weighted_flow import WeightedConditionalFlowMatcher, effective_share, gibbs_weights
from entrokit.generative.weighted_flow.watch import Watch

from .weighted_flow_cases import normal

A, B = normal(64, 2), normal(64, 2, seed=1) + 3


def said(call, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments)
    return caught


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.weights(A, B),
        lambda m: m.sample(A, B),
        lambda m: m.loss(lambda t, x: x, A, B),
    ],
    ids=["weights", "sample", "loss"],
)
def test_a_pair_that_holds_most_of_the_weight_is_said_once_where_the_caller_stands(use):
    matcher = WeightedConditionalFlowMatcher(0.02)
    (warning,) = said(use, matcher)
    assert warning.filename == __file__
    assert issubclass(warning.category, UserWarning)
    weight = gibbs_weights(A, B, 0.02)
    share, pairs = float(weight.max() / weight.sum()), float(weight.sum() ** 2 / weight.square().sum())
    assert share > 0.5
    message = str(warning.message)
    assert message.startswith(f"at eps 0.02 one pair of 64 holds {share:.0%} of the weight, and the batch counts as")
    assert f"{pairs:.1f} pairs (ess {pairs / 64:.2g} < 0.3): raise eps" in message
    assert not [w for _ in range(20) for w in said(use, matcher)]
    assert said(use, WeightedConditionalFlowMatcher(0.02))
    assert said(use, replace(matcher, eps=0.03))


def test_what_has_been_said_is_copied_and_no_part_of_what_a_matcher_is():
    matcher = WeightedConditionalFlowMatcher(0.02)
    assert said(matcher.weights, A, B)
    for other in (pickle.loads(pickle.dumps(matcher)), copy.deepcopy(matcher)):
        assert not said(other.weights, A, B)
    assert matcher == WeightedConditionalFlowMatcher(0.02)
    assert hash(matcher) == hash(WeightedConditionalFlowMatcher(0.02))
    assert "watch" not in repr(matcher)


@pytest.mark.parametrize("eps", [1.0, 4.0, math.inf])
def test_temperatures_that_keep_many_pairs_are_not_said(eps):
    assert not said(WeightedConditionalFlowMatcher(eps).weights, A, B)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_a_few_pairs_nothing_can_be_told(count):
    assert not said(WeightedConditionalFlowMatcher(0.001).weights, A[:count], B[:count])
    assert said(WeightedConditionalFlowMatcher(0.001).weights, A[:4], B[:4])


def test_both_bounds_bind():
    half, few = torch.ones(40), torch.zeros(40)
    half[0] = 39.5  # more than half, and less than 0.3 of all: (39 + 39.5)² / (39 + 39.5²) = 3.9 pairs
    few[:2] = 1.0  # half each, which is no more than half
    assert said(Watch().look, half, 1.0)
    assert not said(Watch().look, few, 1.0)


def test_batches_are_looked_at_ever_more_rarely():
    watch, looked, heavy = Watch(), [], torch.tensor([1.0] + [0.0] * 9)
    for batch in range(1, 40):
        watch.warned = False
        looked += [batch] * bool(said(watch.look, heavy, 1.0))
    assert looked == [1, 2, 4, 8, 16, 32]


def test_a_later_batch_is_seen_too():
    matcher = WeightedConditionalFlowMatcher(0.5)
    even = torch.zeros(64, 2, dtype=torch.float64)
    assert [bool(said(matcher.weights, even, even if i != 4 else B * 10)) for i in range(1, 6)] == [
        i == 4 for i in range(1, 6)
    ]


def test_the_share_of_pairs_that_count():
    assert float(effective_share(torch.full((7,), 0.3))) == pytest.approx(1, rel=1e-12)
    assert float(effective_share(torch.tensor([0.0, 5.0, 0.0, 0.0]))) == 0.25
    assert float(effective_share(torch.tensor([1.0, 2.0]))) == pytest.approx(9 / 10, rel=1e-12)
    assert float(effective_share(torch.zeros(3))) == 0
    assert float(effective_share(torch.tensor([1.0, 2.0]) * 1e-30)) == pytest.approx(9 / 10, rel=1e-6)
    # 512 ones in float16: their square is beyond 65,504.
    assert float(effective_share(torch.ones(512, dtype=torch.float16))) == 1
    assert not effective_share(torch.ones(3, requires_grad=True)).requires_grad


@given(st.lists(st.just(0.0) | st.floats(1e-9, 1e6), min_size=1, max_size=20).filter(any), st.floats(1e-6, 1e6))
@settings(max_examples=40, deadline=None)
def test_the_share_lies_between_one_pair_and_all_and_knows_no_scale(values, scale):
    weight = torch.tensor(values, dtype=torch.float64)
    share = float(effective_share(weight))
    assert 1 / len(values) - 1e-12 <= share <= 1 + 1e-12
    assert float(effective_share(scale * weight)) == pytest.approx(share, rel=1e-9)
