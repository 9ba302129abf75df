import math
from dataclasses import replace

import pytest
import torch

from entrokit.rlvr import PolicyStats, Rollouts


def batch(rows=4, length=3):
    attention = torch.arange(length) < torch.tensor([3, 1, 2, 0])[:rows, None]
    return Rollouts(
        tokens=torch.arange(rows * length).view(rows, length),
        attention=attention,
        train=attention,
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
    train = b.train.clone()
    train[0, 1] = False
    assert not replace(b, train=train).train[0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": torch.zeros(3)}, r"tokens: expected shape \[B, T\], got \(3,\)"),
        ({"tokens": torch.zeros(4, 3)}, "tokens: expected a integer tensor, got torch.float32"),
        ({"reward": torch.zeros(3)}, r"reward: expected shape \[4\], got \[3\]"),
        ({"reward": torch.tensor([0.0, 0.0, math.inf, 0.0])}, r"reward: is infinite, first at index \[2\]"),
        ({"train": torch.ones(4, 3)}, "train: expected a bool tensor, got torch.float32"),
        ({"train": torch.ones(4, 3, dtype=torch.bool)}, r"train: marks padding as trained.*index \[1, 1\]"),
        (
            {"behaviour": PolicyStats(logp=torch.full((4, 3), math.nan))},
            r"behaviour.logp: is NaN.*index \[0, 0\]",
        ),
        ({"behaviour": PolicyStats(logp=torch.zeros(4, 2))}, r"behaviour.logp: expected shape \[4, 3\]"),
        (
            {"reference_logp": torch.full((4, 3), -math.inf)},
            r"reference_logp: is NaN or infinite at a trained token",
        ),
    ],
)
def test_validation_names_field_shape_and_first_index(change, message):
    with pytest.raises(ValueError, match=r"Rollouts\." + message):
        replace(batch(), **change)


def test_left_padding_is_refused():
    b = batch()
    with pytest.raises(ValueError, match=r"attention: follows padding; completions must be right-padded.*\[0, 1\]"):
        replace(b, attention=torch.tensor([[False, True, True]] * 4), train=torch.zeros(4, 3, dtype=torch.bool))


def test_nan_in_padding_is_harmless():
    b = batch()
    logp = torch.where(b.attention, b.behaviour.logp, math.nan)
    assert replace(b, behaviour=PolicyStats(logp=logp)).behaviour.masked(b.train).logp.isfinite().all()
