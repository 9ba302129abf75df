import math
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from entrokit.rlvr import Intervention, PolicyStats, Rollouts, recipe


def batch(rows=4, length=3):
    attention = torch.arange(length) < torch.tensor([3, 1, 2, 0])[:rows, None]
    return Rollouts(
        tokens=torch.arange(rows * length).view(rows, length),
        real=attention,
        trained=attention,
        group=torch.tensor([0, 0, 1, 1])[:rows],
        reward=torch.tensor([1.0, 0.0, math.nan, 0.5])[:rows],
        behaviour=PolicyStats(logp=-torch.rand(rows, length), entropy=torch.rand(rows, length)),
        truncated=torch.zeros(rows, dtype=torch.bool),
        reference_logp=-torch.rand(rows, length),
    )


def test_columns_survive_shuffling_and_splitting_and_come_back():
    b = batch()
    order = torch.tensor([2, 0, 3, 1])
    part = Rollouts.from_columns({k: v[order][:2] for k, v in b.columns().items()})
    assert len(part) == 2
    assert torch.equal(part.tokens, b.tokens[[2, 0]])
    assert torch.equal(part.behaviour.entropy, b.behaviour.entropy[[2, 0]])
    assert part.behaviour.collision is None
    assert set(part.columns()) == set(b.columns())


def test_tool_tokens_are_attended_and_not_trained_on():
    b = batch()
    train = b.trained.clone()
    train[0, 1] = False
    assert not replace(b, trained=train).trained[0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": torch.zeros(3)}, r"tokens: expected shape \[B, T\], got \(3,\)"),
        ({"tokens": torch.zeros(4, 3)}, "tokens: expected a integer tensor, got torch.float32"),
        ({"reward": torch.zeros(3)}, r"reward: expected shape \[4\], got \[3\]"),
        ({"reward": torch.tensor([0.0, 0.0, math.inf, 0.0])}, r"reward: is infinite, first at index \[2\]"),
        ({"trained": torch.ones(4, 3)}, "trained: expected a bool tensor, got torch.float32"),
        ({"trained": torch.ones(4, 3, dtype=torch.bool)}, r"trained: marks padding as trained.*index \[1, 1\]"),
        (
            {"behaviour": PolicyStats(logp=torch.full((4, 3), math.nan))},
            r"behaviour.logp: is NaN.*index \[0, 0\]",
        ),
        ({"behaviour": PolicyStats(logp=torch.zeros(4, 2))}, r"behaviour.logp: expected shape \[4, 3\]"),
        (
            {"reference_logp": torch.full((4, 3), -math.inf)},
            r"reference_logp: is NaN or infinite at a trained token",
        ),
        ({"rewards": torch.zeros(4)}, r"rewards: expected shape \[4, K\], got \[4\]"),
        ({"rewards": torch.zeros(3, 2)}, r"rewards: expected shape \[4, 2\], got \[3, 2\]"),
        ({"prompt": torch.zeros(4, dtype=torch.long)}, r"prompt: expected shape \[4, P\], got \[4\]"),
        (
            {"prompt_logp": torch.zeros(4), "prompt_mask": torch.ones(4, dtype=torch.bool)},
            r"prompt_mask: expected shape \[4, P\], got \[4\]",
        ),
        (
            {"prompt_logp": torch.ones(4, 2), "prompt_mask": torch.ones(4, 2, dtype=torch.bool)},
            r"prompt_logp: is above 0.*index \[0, 0\]",
        ),
        ({"sampler_weight": torch.full((4, 3), math.nan)}, r"sampler_weight: is NaN, infinite or below 0.*\[0, 0\]"),
        ({"sampler_weight": torch.full((4, 3), -0.1)}, r"sampler_weight: is NaN, infinite or below 0.*\[0, 0\]"),
        ({"sampler_weight": torch.full((4, 3), math.inf)}, r"sampler_weight: is NaN, infinite or below 0.*\[0, 0\]"),
        (
            {"behaviour": PolicyStats(logp=torch.full((4, 3), 0.3))},
            r"behaviour.logp: is above 0; these are natural log-probabilities.*index \[0, 0\]",
        ),
        ({"reference_logp": torch.full((4, 3), 0.3)}, r"reference_logp: is above 0.*index \[0, 0\]"),
    ],
)
def test_validation_names_field_shape_and_first_index(change, message):
    with pytest.raises(ValueError, match=r"Rollouts\." + message):
        replace(batch(), **change)


def test_left_padding_is_refused():
    b = batch()
    with pytest.raises(ValueError, match=r"real: follows padding; completions must be right-padded.*\[0, 1\]"):
        replace(b, real=torch.tensor([[False, True, True]] * 4), trained=torch.zeros(4, 3, dtype=torch.bool))


def test_nan_in_padding_is_harmless():
    b = batch()
    logp = torch.where(b.real, b.behaviour.logp, math.nan)
    assert replace(b, behaviour=PolicyStats(logp=logp)).behaviour.masked(b.trained).logp.isfinite().all()


def test_rounding_above_0_and_anything_in_padding_is_fine():
    b = batch()
    tiny = torch.where(b.real, 1e-6, 7.0)
    weight = torch.where(b.trained, 1.0, math.nan)
    assert replace(b, behaviour=PolicyStats(logp=tiny), reference_logp=tiny, sampler_weight=weight)


def test_a_weight_of_a_token_that_is_not_trained_on_reaches_no_loss():
    b = replace(batch(), sampler_weight=torch.where(batch().trained, 1.0, math.nan))
    r = recipe("dapo")
    A = r.advantages(b)
    plain = r.loss(b.behaviour, replace(b, sampler_weight=None), A).loss
    torch.testing.assert_close(r.loss(b.behaviour, b, A).loss, plain)


def test_whoever_asks_what_is_right_is_told_how_to_say_it():
    with pytest.raises(ValueError, match=r"pear needs to know.*EntropyGRPOTrainer\(correct=.*policy_loss.correct"):
        batch().require_correct("pear")
    right = torch.ones(4, dtype=torch.bool)
    assert replace(batch(), correct=right).require_correct("pear") is right


def test_advantages_are_zero_where_nothing_is_trained_on():
    """Whatever an intervention returns there."""

    @dataclass
    class Everywhere(Intervention):
        name: ClassVar[str] = "everywhere"

        def advantage(self, rollouts, advantages, context):
            return torch.ones_like(advantages)

    b = batch()
    assert torch.equal(recipe("grpo", Everywhere()).advantages(b), b.trained.float())


def test_columns_under_the_names_of_before_are_those_of_a_checkpoint_made_then():
    b = batch()
    old = {{"real": "attention", "trained": "train"}.get(name, name): value for name, value in b.columns().items()}
    again = Rollouts.from_columns(old)
    assert torch.equal(again.trained, b.trained)
    assert torch.equal(again.real, b.real)
