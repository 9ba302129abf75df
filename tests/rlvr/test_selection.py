"""Which prompts come next: a pair chosen once, the prompts of highest variance, a pair that is chosen again."""

import pytest

from entrokit.rlvr.selection import FixedPrompts, RunningRarePair, highest_variance, rare_pair

COUNTS = [8, 4, 7, 1, 0, 6, 2, 5]


def test_the_pair_is_the_rarest_success_and_the_rarest_failure():
    assert rare_pair(COUNTS, 8).next(6) == [3, 2, 3, 2, 3, 2]
    assert highest_variance(COUNTS, 8).prompts == (1, 7)
    assert highest_variance(COUNTS, 8, 3).prompts == (1, 7, 5)
    with pytest.raises(ValueError, match="5 prompts is no multiple of the 2 selected"):
        rare_pair(COUNTS, 8).next(5)
    with pytest.raises(ValueError, match="0 of 2 prompts succeed and fail; 2 are needed"):
        highest_variance([0, 8], 8)
    with pytest.raises(ValueError, match="at least one prompt"):
        FixedPrompts(())


def test_a_pair_that_has_become_ordinary_is_chosen_again(caplog):
    chosen = RunningRarePair(list(COUNTS), 8)
    assert chosen.next(2) == [3, 2]
    chosen.observe([3] * 4 + [2] * 4, [True] * 4 + [True] * 3 + [False])
    assert chosen.next(2) == [3, 2], "eight answers of a prompt make its count"
    chosen.observe([3] * 4, [True] * 2 + [False] * 2)
    assert chosen.next(2) == [6, 2], "prompt 3 succeeds six times of eight now; prompt 6 twice"
    again = RunningRarePair(list(COUNTS), 8)
    again.load_state_dict(chosen.state_dict())
    assert again.next(2) == [6, 2]
    assert again.state_dict() == chosen.state_dict()
    chosen.observe([6] * 8, [True] * 8)
    assert chosen.next(2) == [6, 2]
    assert "the pair of prompts (6, 2) stays: select_pair: no eligible prompt in the hard pool" in caplog.text


def test_only_the_last_answers_count():
    chosen = RunningRarePair([1, 7, 1], 8)
    for _ in range(3):
        chosen.observe([0] * 8, [True] * 4 + [False] * 4)
    assert len(chosen.recent[0]) == 8
    assert chosen.next(2) == [2, 1]
