"""Cold-start data: target lengths of the sheet, uniform brackets, and what is refused."""

import numpy as np
import pytest

from entrokit.rlvr.cold_start import length_target, select_cold_start


def test_target_lengths_of_the_paper():
    assert length_target([0.25, 0.5, 0.0, 1.0], 8000, 500).tolist() == [6125, 4250, 8000, 500]


def test_the_nearest_to_their_target_come_first_and_brackets_share_evenly():
    rng = np.random.default_rng(0)
    p = np.repeat([0.0, 0.5, 1.0], 40)
    length = np.where(p == 0, 8000, np.where(p == 0.5, 4250, 500)) + rng.integers(-400, 400, 120)
    chosen = select_cold_start(p, length, ["a"] * 120, 12, brackets=3)
    assert [int((p[chosen] == v).sum()) for v in (0.0, 0.5, 1.0)] == [4, 4, 4]
    target = length_target(p, np.median(length[p == 0]), np.median(length[p == 1]))
    for v in (0.0, 0.5, 1.0):
        own = np.abs(length - target)[p == v]
        assert sorted(np.abs(length - target)[chosen][p[chosen] == v]) == sorted(own)[:4]


def test_sources_have_lengths_of_their_own():
    p = [0.0, 1.0, 0.5, 0.0, 1.0, 0.5]
    length = [100, 10, 55, 1000, 100, 550]
    chosen = select_cold_start(p, length, ["a"] * 3 + ["b"] * 3, 6)
    assert chosen.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_poor_bracket_gives_its_share_away():
    p = [0.0] * 6 + [1.0]
    assert len(select_cold_start(p, [9] * 6 + [1], ["a"] * 7, 5)) == 5
    assert len(select_cold_start(p, [9] * 6 + [1], ["a"] * 7, 99)) == 7
    assert len(select_cold_start([], [], [], 3)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 2.0], [1, 1], ["a", "a"], 1), "must lie in"),
        (([0.5], [1, 1], ["a"], 1), "expected three"),
        (([0.5, 1.0], [1, 1], ["a", "a"], 1), "no response to a problem of pass rate 0"),
        (([0.0, 1.0], [1, 1], ["a", "a"], -1), "count >= 0"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        select_cold_start(*arguments)
