"""Oscillation of codes, and their entropy."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from entrokit.compression.ofq import (
    OscillationMonitor,
    OscillationTracker,
    code_entropy_bits,
    quantize_model,
    quantized_weights,
    stats_codes,
)

from .ofq_cases import learn, mlp

CODES = [0, 1, 0, 1, 1, 2, 1, 1, 0, -1]


def by_hand(codes, m):
    """o and f of one weight, by the definition."""
    direction, f, every = 0, 0.0, []
    for before, now in pairwise(codes):
        delta = (before > now) - (before < now)
        o = delta * direction == -1
        direction = delta or direction
        f = m * o + (1 - m) * f
        every.append(int(o))
    return every, f


def test_check_6():
    tracker, seen = OscillationTracker(momentum=0.1), []
    for i, code in enumerate(CODES):
        seen.append(int(tracker.update(tensor([code]))))
        if i == 6:
            assert float(tracker.frequency) == pytest.approx(0.238510, abs=5e-7)
    assert seen == [0, 0, 1, 1, 0, 0, 1, 0, 0, 0]
    assert float(tracker.frequency) == pytest.approx(0.173874, abs=5e-7)
    assert (tracker.updates, int(tracker.total), tracker.changed) == (9, 3, 1)
    assert by_hand(CODES, 0.1)[0] == [0, 1, 1, 0, 0, 1, 0, 0, 0]


@given(st.lists(st.lists(st.integers(-4, 3), min_size=6, max_size=6), min_size=1, max_size=12), st.floats(0.01, 1.0))
def test_every_weight_is_followed_by_itself(codes, m):
    tracker = OscillationTracker(m)
    for row in codes:
        tracker.update(tensor(row, dtype=torch.int8).view(2, 3))
    expected = [by_hand([row[i] for row in codes], m) for i in range(6)]
    assert tracker.total.flatten().tolist() == [sum(o) for o, _ in expected]
    torch.testing.assert_close(tracker.frequency.flatten().double(), tensor([f for _, f in expected]).double())


def test_codes_of_any_integer_type_do_not_wrap():
    tracker = OscillationTracker()
    for code in (0, 255, 0):
        oscillated = tracker.update(tensor([[code]], dtype=torch.uint8))
    assert bool(oscillated)


def test_what_a_caller_does_to_the_codes_later_does_not_count():
    tracker, codes = OscillationTracker(), tensor([[1, 2]], dtype=torch.int8)
    tracker.update(codes)
    codes += 1
    tracker.update(codes)
    assert tracker.changed == 2


def test_shares():
    tracker = OscillationTracker(0.01)
    assert math.isnan(tracker.share())
    tracker.update(tensor([0, 0, 0, 0]))
    assert math.isnan(tracker.share())
    tracker.update(tensor([1, 1, 0, 0]))
    tracker.update(tensor([0, 2, 0, 1]))
    assert tracker.share() == 0.25
    for _ in range(70):
        tracker.update(tensor([0, 2, 0, 1]))
    assert tracker.share() == 0.0
    assert tracker.share(threshold=0.001) == 0.25


def test_a_state_goes_on_where_it_was():
    tracker, again = OscillationTracker(0.1), OscillationTracker()
    again.load_state_dict(tracker.state_dict())
    assert again.frequency is None
    for code in CODES[:5]:
        tracker.update(tensor([code]))
    state = tracker.state_dict()
    again.load_state_dict(state)
    for code in CODES[5:]:
        assert torch.equal(tracker.update(tensor([code])), again.update(tensor([code])))
    assert torch.equal(tracker.frequency, again.frequency)
    assert float(state["frequency"]) != float(tracker.frequency), "a state is a copy"
    for wrong in ({}, {**state, "more": 1}, {**state, "total": torch.zeros(3)}, None):
        with pytest.raises(ValueError, match=r"OscillationTracker.load_state_dict"):
            again.load_state_dict(wrong)
    assert torch.equal(tracker.frequency, again.frequency)


def test_bad_input_is_named():
    for momentum in (0.0, 1.1, math.nan):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            OscillationTracker(momentum)
    tracker = OscillationTracker()
    for wrong in (tensor([0.5]), [1, 2], tensor([True])):
        with pytest.raises(TypeError, match="integer codes"):
            tracker.update(wrong)
    tracker.update(tensor([[1, 2]]))
    with pytest.raises(ValueError, match=r"\[1, 2\], and are now of \[2, 1\]"):
        tracker.update(tensor([[1], [2]]))


def test_a_model_is_followed():
    model = mlp()
    with pytest.raises(ValueError, match="no quantised weights"):
        OscillationMonitor(model)
    quantize_model(model, 2)
    monitor = OscillationMonitor(model, momentum=0.5)
    assert math.isnan(monitor.share())
    assert monitor.update() == {"changed": 0.0, "oscillated": 0.0}
    before = {name: weight.codes() for name, weight in quantized_weights(model).items()}
    # Mirrored about 0 by way of an odd function of codes: k to -1 - k, all of them another code.
    with torch.no_grad():
        for weight in quantized_weights(model).values():
            weight.parameter.neg_()
    assert monitor.update() == {"changed": 1.0, "oscillated": 0.0}
    assert all(torch.equal(w.codes(), -1 - before[name]) for name, w in quantized_weights(model).items())
    state = monitor.state_dict()
    with torch.no_grad():
        quantized_weights(model)["0.weight"].parameter.neg_()
    share = 54 / (54 + 45 + 15)
    assert monitor.update() == {"changed": share, "oscillated": share}
    assert monitor.share() == pytest.approx(share)
    assert monitor.trackers["0.weight"].share() == 1.0
    monitor.load_state_dict(state)
    assert monitor.share() == 0.0
    assert monitor.update()["oscillated"] == share
    for wrong in ({}, {**state, "0.weight": {}}):
        with pytest.raises(ValueError, match="load_state_dict"):
            monitor.load_state_dict(wrong)
    assert monitor.trackers["0.weight"].updates == 2


def test_weights_that_became_nan_are_named_before_any_tracker_moves():
    model = mlp()
    quantize_model(model, 2)
    monitor = OscillationMonitor(model)
    monitor.update()
    with torch.no_grad():
        quantized_weights(model)["2.weight"].parameter[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"OscillationMonitor: 2.weight: .*1 of 45 weights are NaN"):
        monitor.update()
    assert [tracker.updates for tracker in monitor.trackers.values()] == [0, 0, 0]


def test_watching_changes_nothing():
    found = []
    for watch in (False, True):
        torch.manual_seed(1)
        model = mlp()
        quantize_model(model, 2)
        monitor = OscillationMonitor(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for _ in range(4):
            learn(model, optimizer, 1)
            if watch:
                monitor.update()
        found.append(model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


class TestEntropy:
    def test_of_few_codes(self):
        assert code_entropy_bits(tensor([[-2, -1, 0, 1]]), 2) == 2.0
        assert code_entropy_bits(tensor([[-2, -2, 1, 1]]), 2) == 1.0
        assert code_entropy_bits(tensor([[3, 3, 3]]), 4) == 0.0
        assert math.copysign(1.0, code_entropy_bits(tensor([[3]]), 4)) == 1.0

    @given(st.integers(2, 8), st.integers(0, 2**31))
    def test_it_is_at_most_the_width_and_does_not_see_order(self, bits, seed):
        generator = torch.Generator().manual_seed(seed)
        n = 2 ** (bits - 1)
        codes = torch.randint(-n, n, (40,), generator=generator, dtype=torch.int8)
        found = code_entropy_bits(codes, bits)
        assert 0 <= found <= bits
        assert code_entropy_bits(codes.flip(0).view(4, 10), bits) == found
        assert code_entropy_bits(-1 - codes, bits) == pytest.approx(found, abs=1e-12)

    @pytest.mark.parametrize(
        ("draw", "expected"),
        [
            (lambda g: torch.randn(1, 10**6, generator=g), (1.983681, 2.978701, 3.948289)),
            (
                lambda g: torch.rand(1, 10**6, generator=g).log() * torch.randn(1, 10**6, generator=g).sign(),
                (1.949030, 2.909258, 3.847544),
            ),
            (lambda g: 2 * torch.rand(1, 10**6, generator=g) - 1, (2.0, 3.0, 4.0)),
        ],
        ids=["gaussian", "laplace", "uniform"],
    )
    def test_check_4(self, draw, expected):
        weight = draw(torch.Generator().manual_seed(0))
        for bits, entropy in zip((2, 3, 4), expected, strict=True):
            assert code_entropy_bits(stats_codes(weight, bits), bits) == pytest.approx(entropy, abs=3e-3)

    def test_check_4_in_the_limit(self):
        # P(W / s < m / n) of a Gaussian, s = 2 √(2/π).
        s = 2 * math.sqrt(2 / math.pi)
        for bits, entropy in ((2, 1.983681), (3, 2.978701), (4, 3.948289)):
            n = 2 ** (bits - 1)
            below = [0.0, *(0.5 * math.erfc(-m * s / n / math.sqrt(2)) for m in range(-n + 1, n)), 1.0]
            exact = -sum((b - a) * math.log2(b - a) for a, b in pairwise(below))
            assert exact == pytest.approx(entropy, abs=6e-7)

    def test_bad_input_is_named(self):
        for codes in (tensor([2]), tensor([-3]), torch.zeros(0, dtype=torch.int8)):
            with pytest.raises(ValueError, match=r"codes of 2 bits are from -2 to 1, got"):
                code_entropy_bits(codes, 2)
        with pytest.raises(TypeError, match="see stats_codes"):
            code_entropy_bits(tensor([0.5]), 2)
        for bits in (1, 9):
            with pytest.raises(ValueError, match="from 2 to 8"):
                code_entropy_bits(tensor([0]), bits)


def test_a_frequency_at_the_threshold_is_not_above_it():
    tracker = OscillationTracker(0.5)
    for code in (0, 1, 0):
        tracker.update(torch.tensor([code]))
    assert tracker.frequency.tolist() == [0.5]
    assert tracker.share(0.5) == 0.0
    assert tracker.share(0.25) == 1.0
    model = mlp()
    quantize_model(model, 2)
    monitor = OscillationMonitor(model, 0.5)
    for _ in range(2):
        monitor.update()
    for own in monitor.trackers.values():
        own.frequency.fill_(0.5)
    assert (monitor.share(0.5), monitor.share(0.25)) == (0.0, 1.0)
