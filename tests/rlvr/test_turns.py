"""Turns: exact under padding, whether derived from what was trained or given by an engine."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.rlvr import PolicyStats, Rollouts
from entrokit.rlvr.turns import Turns, number_runs


def batch(train, **fields):
    train = torch.as_tensor(train).bool()
    attention = train.flip(-1).cumsum(-1).flip(-1) > 0
    return Rollouts(
        tokens=torch.zeros(train.shape, dtype=torch.long),
        real=attention,
        trained=train,
        group=torch.arange(len(train)),
        reward=torch.zeros(len(train)),
        behaviour=PolicyStats(logp=torch.zeros(train.shape)),
        **fields,
    )


def test_runs_of_trained_tokens_are_turns():
    turns = Turns.of(batch([[1, 1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0], [0] * 7]))
    assert turns.which.tolist() == [[0, 0, -1, 1, -1, -1, 2], [-1, 3, -1, -1, -1, -1, -1], [-1] * 7]
    assert turns.trajectory.tolist() == [0, 0, 0, 1]
    assert turns.order.tolist() == [0, 1, 2, 0]
    assert turns.tokens.tolist() == [2, 1, 1, 1]
    x = torch.arange(21.0).reshape(3, 7)
    assert turns.mean(x).tolist() == [0.5, 3, 6, 8]
    assert turns.spread(torch.tensor([5.0, 6.0, 7.0, 8.0]))[0].tolist() == [5, 5, 0, 6, 0, 0, 7]


def test_an_engine_may_name_turns_and_cut_episodes_into_rows():
    rollouts = batch([[1, 1, 1], [1, 0, 1]], turn=torch.tensor([[0, 0, 1], [2, 2, 3]]), trajectory=torch.tensor([7, 7]))
    turns = Turns.of(rollouts)
    assert turns.trajectory.tolist() == [7, 7, 7, 7]
    assert turns.order.tolist() == [0, 1, 2, 3]
    assert turns.tokens.tolist() == [2, 1, 1, 1]
    again = Rollouts.from_columns(rollouts.columns())
    assert torch.equal(Turns.of(again).which, turns.which)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"turn": torch.tensor([[0, -1, 1]])},
            r"Rollouts.turn: is below 0 at a trained token, first at index \[0, 1\]",
        ),
        ({"turn": torch.tensor([[1, 0, 1]])}, r"Rollouts.turn: goes back to an earlier turn, first at index \[0, 1\]"),
        ({"turn": torch.zeros(1, 3)}, "Rollouts.turn: expected a integer tensor"),
        ({"trajectory": torch.tensor([[0]])}, r"Rollouts.trajectory: expected shape \[1\]"),
    ],
)
def test_bad_turns_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        batch([[1, 1, 1]], **fields)


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(0, 3))
@settings(max_examples=100)
def test_padding_changes_nothing(rows, extra):
    train = torch.tensor(rows)
    wide = torch.nn.functional.pad(train, (0, extra))
    narrow, padded = Turns.of(batch(train)), Turns.of(batch(wide))
    x = torch.rand(wide.shape)
    torch.testing.assert_close(padded.mean(x), narrow.mean(x[:, :5]))
    assert torch.equal(padded.order, narrow.order)
    assert torch.equal(number_runs(wide)[:, :5], number_runs(train))
    assert int(narrow.tokens.sum()) == int(train.sum())


def test_rows_of_one_episode_count_on_where_none_names_turns():
    """Two episodes, the first over rows 0 and 2, whose turns must not become one."""
    rollouts = batch([[1, 0, 1], [1, 1, 1], [1, 0, 1], [0, 0, 0]], trajectory=torch.tensor([5, 3, 5, 5]))
    turns = Turns.of(rollouts)
    assert len(turns) == 5
    assert turns.trajectory.tolist() == [3, 5, 5, 5, 5]
    assert turns.order.tolist() == [0, 0, 1, 2, 3]
    assert turns.tokens.tolist() == [3, 1, 1, 1, 1]
    assert Turns.of(batch(torch.zeros(2, 0), trajectory=torch.tensor([1, 1]))).order.tolist() == []
