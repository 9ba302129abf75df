"""ARM: the sheet's worked example, what lies exactly between two right answers, and the groups it leaves alone."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import recipe
from entrokit.rlvr.interventions.arm import ARM, arm_advantage, low_prob_confidence

from .cases import batch

D = torch.float64
ANSWERS = torch.tensor(
    [[-0.01, -0.02, -0.9, -0.05, -0.3], [-0.1, -2, -0.05, -1.5, -0.2], [-0.02, -0.01, -0.05, -0.3, -0.01],
     [-0.4, -0.6, -0.1, -3, -0.2]], dtype=D,
)  # fmt: skip
PROMPT = torch.tensor([[-1, -2, -0.5, -3, -0.25]], dtype=D)
REWARDS = torch.tensor([1.0, 1, 0, 0], dtype=D)
GROUP = torch.zeros(4, dtype=torch.long)


def everywhere(x):
    return torch.ones_like(x, dtype=torch.bool)


def test_the_paper_s_example():
    prompt = low_prob_confidence(PROMPT, everywhere(PROMPT), ARM().prompt_frac)
    assert float(prompt) == pytest.approx(0.259240, abs=1e-6)
    for rho, confidences, advantages in (
        (0.2, [0.406570, 0.135335, 0.740818, 0.049787], [0.955799, 1.037169, -1.144471, -0.937162]),
        (0.4, [0.548812, 0.173774, 0.839457, 0.165299], [0.913127, 1.025638, -1.174063, -0.971816]),
        (1.0, [0.774142, 0.463013, 0.924964, 0.423162], [0.845527, 0.938866, -1.199715, -1.049175]),
    ):
        found = low_prob_confidence(ANSWERS, everywhere(ANSWERS), rho)
        assert found.tolist() == pytest.approx(confidences, abs=1e-6)
        shaped = arm_advantage(REWARDS, found, prompt.expand(4), GROUP)
        assert shaped.tolist() == pytest.approx(advantages, abs=1e-6)
    sample = arm_advantage(REWARDS, found, found, GROUP, ddof=1)
    assert sample.abs().tolist() == pytest.approx([0.866024] * 4, abs=1e-6)


def test_groups_that_are_left_alone():
    conf, prompt = torch.rand(4, dtype=D), torch.rand(4, dtype=D)
    for rewards, active, changed in (
        ([0.0] * 4, "any_correct", False),
        ([1.0] * 4, "any_correct", True),
        ([1.0] * 4, "mixed", False),
        ([1.0, 0, 0, 0], "mixed", True),
    ):
        r = torch.tensor(rewards, dtype=D)
        plain = arm_advantage(r, conf, prompt, GROUP, alpha=0.0)
        found = arm_advantage(r, conf, prompt, GROUP, active=active)
        assert torch.equal(found, plain) != changed
    only = arm_advantage(REWARDS, conf, prompt, GROUP, correct_only=True)
    plain = arm_advantage(REWARDS, conf, prompt, GROUP, alpha=0.0)
    assert torch.equal(only[2:], plain[2:])
    assert not torch.equal(only[:2], plain[:2])
    centred = arm_advantage(torch.ones(4, dtype=D), conf, prompt, GROUP, center=True)
    assert abs(float(centred.sum())) < 1e-12
    equal, eight = torch.full((8,), 0.7), torch.zeros(8, dtype=torch.long)
    assert not arm_advantage(equal, torch.rand(8), torch.rand(8), eight, alpha=0.0).any()


@given(st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4), st.floats(0.0, 2.0))
def test_between_two_right_answers_the_surer_one_gets_less(conf, alpha):
    c = torch.tensor(conf, dtype=D)
    found = arm_advantage(REWARDS, c, torch.full((4,), 0.5, dtype=D), GROUP, alpha)
    assert float(found[0] - found[1]) == pytest.approx(float(-alpha * (c[0] - c[1])), abs=1e-12)


@given(st.lists(st.floats(-5, 0), min_size=1, max_size=9), st.randoms())
def test_confidence(logp, random):
    x = torch.tensor([logp], dtype=D)
    full = low_prob_confidence(x, everywhere(x), 1.0)
    assert float(full) == pytest.approx(float(x.mean().exp()))
    values = [float(low_prob_confidence(x, everywhere(x), rho)) for rho in (0.1, 0.4, 0.7, 1.0)]
    assert values == sorted(values)
    assert all(0 < v <= 1 + 1e-12 for v in values)
    shuffled = torch.tensor([random.sample(logp, len(logp))], dtype=D)
    padded = torch.cat([shuffled, torch.full((1, 3), float("nan"), dtype=D)], 1)
    mask = torch.arange(padded.shape[1])[None] < len(logp)
    assert float(low_prob_confidence(padded, mask, 0.4)) == pytest.approx(values[1])


def test_empty_sure_and_selected_by_entropy():
    x = torch.tensor([[-1.0, -2.0], [0.0, 0.0], [-1.0, -2.0]])
    mask = torch.tensor([[False, False], [True, True], [True, True]])
    assert low_prob_confidence(x, mask).tolist()[:2] == [1.0, 1.0]
    uncertain = low_prob_confidence(x, mask, 0.5, uncertainty=torch.tensor([[0, 0], [0, 0], [2.0, 1.0]]))
    assert float(uncertain[2]) == pytest.approx(float(torch.tensor(-1.0).exp()))
    x.requires_grad_()
    assert not low_prob_confidence(x, mask).requires_grad


def test_a_recipe_needs_the_prompts():
    b = replace(batch(), prompt_logp=None, prompt_mask=None)
    chosen = recipe("grpo+arm")
    assert chosen.needs_prompts
    with pytest.raises(ValueError, match="no log-probabilities of the prompts"):
        chosen.advantages(b)
    with pytest.raises(ValueError, match="prompt_logp and prompt_mask come together"):
        replace(b, prompt_logp=torch.zeros(8, 3))
    with pytest.raises(ValueError, match="ddof must be 0 or 1"):
        ARM(ddof=2)
