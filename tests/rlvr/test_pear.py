"""PEAR: the sheet's numbers, what its reward must not see, and where the marker may stand."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import grpo_advantages, recipe
from entrokit.rlvr.interventions.pear import Pear, marker_start, pear_reward, phase_entropy

from .cases import batch

TAG = 7


def rows(*given_rows):
    """``(entropies, index of the tag or None)`` a row, padded."""
    length = max(len(h) for h, _ in given_rows)
    entropy = torch.full((len(given_rows), length), float("nan"), dtype=torch.float64)
    ids, mask = torch.zeros(len(given_rows), length, dtype=torch.long), torch.zeros(len(given_rows), length).bool()
    for i, (h, tag) in enumerate(given_rows):
        entropy[i, : len(h)] = torch.tensor(h, dtype=torch.float64)
        mask[i, : len(h)] = True
        if tag is not None:
            ids[i, tag] = TAG
    return entropy, mask, ids


FIRST = ([0.2, 0.8, 0.5, 0.1, 0.9, 0.4, 0.05, 0.3, 0.1], 6)


def reward(given_rows, correct, **options):
    think, answer, _ = phase_entropy(*rows(*given_rows), TAG)
    return pear_reward(think, answer, torch.tensor(correct), **options)


def test_the_paper_s_response():
    think, answer, has = phase_entropy(*rows(FIRST), TAG)
    assert (float(think), float(answer), bool(has)) == (pytest.approx(0.483333, abs=1e-6), pytest.approx(0.2), True)
    for alpha, r in ((-1, 0.316667), (0, 0.516667), (0.5, 0.616667), (1, 0.716667), (2, 0.916667), (4, 1.0)):
        assert float(reward([FIRST], [True], alpha=alpha)) == pytest.approx(r, abs=1e-6)
        assert float(reward([FIRST], [False], alpha=alpha)) == 0
    think, answer, has = phase_entropy(*rows((FIRST[0], None)), TAG)
    assert (float(think), float(answer), bool(has)) == (pytest.approx(0.40625), 0, False)
    assert float(reward([(FIRST[0], None)], [True])) == pytest.approx(0.59375)


def test_the_paper_s_group():
    others = (
        ([0.1, 0.2, 0.1, 0.3, 0.05, 0.2], 3),
        ([0.9, 1.1, 0.7, 0.02, 0.1, 0.1], 3),
        ([0.3, 0.3, 0.4, 0.1, 0.2], None),
    )
    r = reward([FIRST, *others], [True, True, True, False])
    assert r.tolist() == pytest.approx([0.716667, 0.991667, 0.2, 0.0], abs=1e-6)
    sample = grpo_advantages(r, torch.zeros(4, dtype=torch.long), std_eps=1e-12)
    assert sample.tolist() == pytest.approx([0.524239, 1.125973, -0.606293, -1.043919], abs=1e-6)
    population = sample * (4 / 3) ** 0.5
    assert population.tolist() == pytest.approx([0.605339, 1.300162, -0.700087, -1.205413], abs=1e-6)


entropies = st.lists(st.floats(0, 3), min_size=2, max_size=8)


@given(entropies, entropies, st.floats(0, 3), st.floats(0, 2), st.floats(0, 1))
def test_what_the_reward_sees(think, answer, tag, alpha, more):
    def r(a, b, t=tag):
        return float(reward([([*a, t, *b], len(a))], [True], alpha=alpha))

    found = r(think, answer)
    assert r([think[0] + more, *think[1:]], answer) <= found + 1e-12
    assert r(think, [answer[0] + more, *answer[1:]]) >= found - 1e-12
    assert r(think, answer, tag + more) == found
    assert r(think + think, answer) == pytest.approx(found)
    assert found <= 1.0


def test_no_gradient_and_limits():
    entropy, mask, ids = rows(FIRST)
    entropy = entropy.nan_to_num().requires_grad_()
    think, answer, _ = phase_entropy(entropy, mask, ids, TAG)
    assert not pear_reward(think, answer, torch.tensor([True])).requires_grad
    assert float(reward([FIRST], [True], alpha=1e9, score=0.8)) == pytest.approx(0.8)
    # The paper says [0, 1]; a right answer can be worth less than a wrong one.
    bad = [([3.0, 3.0, 0.1, 0.0], 2)]
    assert float(reward(bad, [True])) == pytest.approx(-2.0)
    assert float(reward(bad, [True], floor=0.1)) == pytest.approx(0.1)


def test_where_the_marker_may_stand():
    for h, tag, think, answer in (
        ([0.5, 1.0, 2.0], 0, 0.0, 1.5),
        ([0.5, 1.0, 2.0], 2, 0.75, 0.0),
        ([0.5], 0, 0.0, 0.0),
        ([0.5], None, 0.0, 0.0),
        ([], None, 0.0, 0.0),
    ):
        found = phase_entropy(*rows((h, tag), ([1.0] * 4, 1)), TAG)
        assert (float(found[0][0]), float(found[1][0])) == (think, answer)
    ids = torch.tensor([[1, 2, 3, 1, 2, 3, 0], [1, 2, 1, 2, 0, 0, 0], [2, 3, 0, 0, 0, 0, 0]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    start, has = marker_start(ids, mask, [2, 3])
    assert (start.tolist(), has.tolist()) == ([1, 0, 0], [True, False, True])
    mask[2, 1] = False
    assert not marker_start(ids, mask, [2, 3])[1][2]
    assert not marker_start(ids[:, :1], mask[:, :1], [2, 3])[1].any()
    entropy = torch.arange(7.0).expand(3, 7)
    think, answer, _ = phase_entropy(entropy, torch.ones_like(mask), ids, [2, 3])
    assert (float(think[0]), float(answer[0])) == (0.0, 4.5)


def test_in_a_recipe():
    b = batch()
    tokens = torch.randint(5, b.tokens.shape, generator=torch.Generator().manual_seed(0))
    b = replace(b, correct=b.reward > 0, tokens=tokens)
    chosen = recipe("grpo+pear(end_of_thinking='x')")
    with pytest.raises(ValueError, match="call Recipe.bind"):
        chosen.advantages(b)
    chosen.bind(lambda text: [3])
    think, answer, _ = phase_entropy(b.behaviour.entropy, b.trained, b.tokens, 3)
    expected = pear_reward(think, answer, b.reward > 0)
    torch.testing.assert_close(chosen.rewards(b), expected)
    torch.testing.assert_close(chosen.advantages(b), grpo_advantages(expected, b.group)[:, None] * b.trained)
    with pytest.raises(ValueError, match="gives no token for"):
        chosen.bind(lambda text: [])
    with pytest.raises(ValueError, match="must be some text"):
        Pear(end_of_thinking="")
    unscored = replace(b, reward=torch.full_like(b.reward, float("nan")))
    chosen.bind(lambda text: [3])
    assert torch.isnan(chosen.rewards(unscored)).all()
