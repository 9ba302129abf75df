"""Weighted GRPO and the choice of pairs: the sheet's tables, the parameter that cancels, degenerate groups."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import recipe
from entrokit.rlvr.interventions.weighted_grpo import select_pair, weighted_grpo_advantage

from .cases import batch

PAIR = torch.zeros(16, dtype=torch.long)
GROUP = torch.arange(16) // 8
# q+ has one right answer of 8, q- has seven.
CORRECT = torch.tensor([1] + [0] * 7 + [1] * 7 + [0], dtype=torch.bool)


def of(normalize="prompt", eps=0.0, **options):
    return weighted_grpo_advantage(
        CORRECT, GROUP, normalize=normalize, pair=PAIR, eps=eps, dtype=torch.float64, **options
    )


def test_the_balanced_pair():
    found = of()
    assert found[[0, 1, 8, 15]].tolist() == pytest.approx([2.645751, -0.377964, 0.377964, -2.645751], abs=1e-6)
    assert of(ddof=1)[[0, 1]].tolist() == pytest.approx([2.474874, -0.353553], abs=1e-6)
    assert of("pair").abs().tolist() == pytest.approx([1.0] * 16)
    assert of("center")[[0, 1]].tolist() == pytest.approx([1.75, -0.25])
    assert of("center", lambda_neg=2.0)[[0, 1]].tolist() == pytest.approx([2.625, -0.375])
    weighted = of(w_pos=2.0, w_neg=0.5)
    assert weighted[[0, 15]].tolist() == pytest.approx([5.291503, -1.322876], abs=1e-6)


@pytest.mark.parametrize(
    ("k", "right", "wrong"),
    [(1, 2.645751, -0.377964), (2, 1.732051, -0.577350), (3, 1.290994, -0.774597), (4, 1.0, -1.0),
     (5, 0.774597, -1.290994), (6, 0.577350, -1.732051), (7, 0.377964, -2.645751)],
)  # fmt: skip
def test_k_right_of_8(k, right, wrong):
    found = weighted_grpo_advantage(torch.arange(8) < k, torch.zeros(8, dtype=torch.long), eps=0.0)
    assert found[[0, 7]].tolist() == pytest.approx([right, wrong], abs=1e-5)


@given(st.sampled_from([0.1, 0.5, 1.0, 2.0, 10.0]), st.lists(st.booleans(), min_size=2, max_size=12))
def test_lambda_cancels_and_right_and_wrong_are_dual(lambda_neg, correct):
    c = torch.tensor(correct)
    group = torch.zeros(len(c), dtype=torch.long)
    options = {"eps": 0.0, "dtype": torch.float64}
    found = weighted_grpo_advantage(c, group, lambda_neg, **options)
    torch.testing.assert_close(found, weighted_grpo_advantage(c, group, **options), atol=1e-9, rtol=0)
    torch.testing.assert_close(weighted_grpo_advantage(~c, group, lambda_neg, **options), -found, atol=1e-9, rtol=0)
    mixed = 0 < c.sum() < len(c)
    assert float(found.sum()) == pytest.approx(0, abs=1e-9)
    assert float(found.square().sum()) == pytest.approx(len(c) if mixed else 0, abs=1e-9)


@pytest.mark.parametrize(("p", "expected"), [(1 / 8, 0.656391), (1 / 2, 0.992188)])
def test_how_often_eight_answers_teach_anything(p, expected):
    """``1 - p^8 - (1-p)^8``, over every outcome of eight answers: the others get no advantage at all."""
    outcomes = torch.tensor(list(product([False, True], repeat=8)))
    group = torch.arange(256).repeat_interleave(8)
    advantage = weighted_grpo_advantage(outcomes.flatten(), group).view(256, 8)
    right = outcomes.sum(1).double()
    probability = p**right * (1 - p) ** (8 - right)
    assert float(probability[(advantage != 0).all(1)].sum()) == pytest.approx(expected, abs=1e-6)
    assert float(probability[(advantage == 0).all(1)].sum()) == pytest.approx(1 - expected, abs=1e-6)


def test_selection():
    assert select_pair([8, 4, 7, 6, 8, 3], [0, 2, 1, 0, 5], 8) == (2, 2)
    assert select_pair([6, 6], [2, 2], 8) == (0, 0)
    with pytest.raises(
        ValueError, match="no eligible prompt in the hard pool of 3: none has 1 to 2 successes out of 8"
    ):
        select_pair([7], [0, 0, 5], 8)
    with pytest.raises(ValueError, match="easy pool"):
        select_pair([8], [1], 8)


def test_in_a_recipe():
    b = replace(batch(), correct=batch().reward > 0)
    found = recipe("grpo+weighted-grpo").advantages(b)
    expected = weighted_grpo_advantage(b.reward > 0, b.group, dtype=torch.float64)
    torch.testing.assert_close(found, expected[:, None] * b.trained)
    pairs = recipe("grpo+weighted-grpo(normalize='pair')").advantages(b)
    torch.testing.assert_close(
        pairs,
        weighted_grpo_advantage(b.reward > 0, b.group, normalize="pair", pair=b.group // 2, dtype=torch.float64)[
            :, None
        ]
        * b.trained,
    )
    with pytest.raises(
        ValueError, match="weighted-grpo needs to know which completions are right.*EntropyGRPOTrainer.correct="
    ):
        recipe("grpo+weighted-grpo").advantages(replace(b, correct=None))
    with pytest.raises(ValueError, match="which prompts are a pair"):
        weighted_grpo_advantage(CORRECT, GROUP, normalize="pair")


def test_unscored_completions_count_nowhere():
    scored = torch.ones(16, dtype=torch.bool)
    scored[3] = False
    found = weighted_grpo_advantage(CORRECT, GROUP, eps=0.0, scored=scored)
    assert found[3] == 0
    assert float(found[0]) == pytest.approx((6 / 1) ** 0.5, abs=1e-5)
