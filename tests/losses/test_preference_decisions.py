"""Utility-probability duality (arXiv 2305.14859): what order decides, what probabilities decide, and reliability."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.losses.preference import (
    argmax_decision,
    expected_gain,
    gain_matrix,
    mbr_decision,
    pairwise_preference_accuracy,
    pool_reliability,
    preference_margin,
    preference_rate,
    reliability,
    sample_decision,
)

from ..rounding import bound
from .preference_cases import FLOAT64, GAIN, U, forbidding, rows

INF = torch.inf


@pytest.mark.parametrize(
    ("tau", "scores", "best"),
    [
        (1.0, (0.478475, 0.499455, 0.458392, 0.318040), 1),
        (0.25, (0.751183, 0.314099, 0.242687, 0.179575), 0),
        (4.0, None, 1),
    ],
)
def test_check_5_decisions_by_gain(tau, scores, best):
    probs = torch.softmax(U / tau, -1)
    if scores:
        assert expected_gain(probs, GAIN).tolist() == pytest.approx(scores, abs=5e-7)
    assert int(mbr_decision(probs, GAIN)) == best
    assert int(argmax_decision(probs)) == int(argmax_decision(U)) == 0


def order_statistics(u, target):
    return (
        argmax_decision(u).tolist(),
        float(pairwise_preference_accuracy(u, target)),
        float(preference_rate(u, target)),
        preference_margin(u, target).sign().tolist(),
    )


@given(st.integers(0, 10**6))
def test_check_6_only_the_order_counts(seed):
    u, target = rows(7, 5, seed)
    u[:, 4] = u[:, 2]
    g = torch.Generator().manual_seed(seed)
    a, b = torch.rand(7, 1, dtype=FLOAT64, generator=g) + 0.1, torch.randn(7, 1, dtype=FLOAT64, generator=g)
    own = order_statistics(u, target)
    for other in (u.exp(), u**3, a * u + b):
        assert order_statistics(other, target) == own


def test_worked_diagnostics():
    u = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0], [0.0, 5.0, -INF]], dtype=FLOAT64)
    target = torch.tensor([0, 1, 0])
    assert preference_margin(u, target).tolist() == [1.0, 0.0, -5.0]
    # Pairs: two won; one tied, one won; one lost, and a forbidden candidate is no rival.
    assert float(pairwise_preference_accuracy(u, target)) == pytest.approx((2 + 0.5 + 1 + 0) / 5, abs=1e-12)
    assert float(preference_rate(u, target)) == pytest.approx((1 + 0.5 + 0) / 3, abs=1e-12)
    assert argmax_decision(u).tolist() == [0, 0, 1]
    assert argmax_decision(torch.tensor([-1.0, 2.0, 2.0])) == 1


def test_rows_without_rivals_and_forbidden_targets():
    u = torch.tensor([[0.0, -INF], [1.0, 2.0]], dtype=FLOAT64)
    assert preference_margin(u, torch.tensor([0, 1])).tolist() == [INF, 1.0]
    assert preference_margin(u, torch.tensor([1, 1])).tolist() == [-INF, 1.0]
    assert float(pairwise_preference_accuracy(u, torch.tensor([0, 0]))) == 0.0
    assert float(pairwise_preference_accuracy(u, torch.tensor([1, 1]))) == 0.5
    with pytest.raises(ValueError, match="no row has an allowed candidate beside the observed one"):
        pairwise_preference_accuracy(u[:1], torch.tensor([0]))
    margin = preference_margin(u.requires_grad_(), torch.tensor([0, 0]))
    (gradient,) = torch.autograd.grad(margin[1], u)
    assert gradient.tolist() == [[0.0, 0.0], [1.0, -1.0]]


@pytest.mark.parametrize("function", [pairwise_preference_accuracy, preference_margin, preference_rate])
def test_diagnostics_name_what_is_wrong(function):
    with pytest.raises(ValueError, match="target 2 of row"):
        function(torch.zeros(1, 2), torch.tensor([2]))
    with pytest.raises(ValueError, match="nothing but -inf"):
        function(torch.full((1, 2), -INF), torch.tensor([0]))
    with pytest.raises(ValueError, match="there are no rows"):
        function(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))


def test_half_precision_diagnostics():
    u, target = rows(6, 4, dtype=torch.bfloat16)
    assert order_statistics(u, target) == order_statistics(u.float(), target)
    exact = order_statistics(u.double(), target)
    assert order_statistics(u, target)[1:3] == pytest.approx(exact[1:3], abs=bound(1.0, 10))


class TestGains:
    @given(st.integers(0, 10**6))
    def test_the_identity_is_argmax_and_constants_change_nothing(self, seed):
        u, target = rows(5, 4, seed)
        probs = torch.softmax(forbidding(u, target, seed), -1)
        eye = torch.eye(4, dtype=FLOAT64)
        assert torch.equal(mbr_decision(probs, eye), argmax_decision(u.where(probs > 0, -INF)))
        offset = torch.randn(4, dtype=FLOAT64, generator=torch.Generator().manual_seed(seed))
        # What depends on the truth alone adds the same to every decision.
        assert torch.equal(mbr_decision(probs, 3.0 * eye + offset), mbr_decision(probs, eye))

    def test_silence_is_a_decision(self):
        gain = torch.cat([2 * torch.eye(3, dtype=FLOAT64) - 1, torch.zeros(1, 3, dtype=FLOAT64)])
        probs = torch.tensor([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25]], dtype=FLOAT64)
        assert mbr_decision(probs, gain).tolist() == [0, 3]
        torch.testing.assert_close(expected_gain(probs, gain)[:, 3], torch.zeros(2, dtype=FLOAT64))

    def test_a_matrix_a_row(self):
        probs = torch.softmax(torch.stack([U, -U]), -1)
        gains = torch.stack([GAIN, GAIN.flip(0)])
        each = [expected_gain(p, g) for p, g in zip(probs, gains, strict=True)]
        torch.testing.assert_close(expected_gain(probs, gains), torch.stack(each))
        assert mbr_decision(probs, gains).tolist() == [int(one.argmax()) for one in each]

    def test_ties_go_to_the_lowest_index_and_integers_are_gains(self):
        probs = torch.tensor([0.5, 0.5])
        assert int(mbr_decision(probs, torch.eye(2, dtype=torch.long))) == 0

    def test_only_what_is_allowed(self):
        probs = torch.tensor([[0.5, 0.5, 0.0]], dtype=FLOAT64)
        # In between of both, and so the best bet though it cannot be true.
        gain = torch.tensor([[1.0, 0.0, 0.6], [0.0, 1.0, 0.6], [0.6, 0.6, 1.0]], dtype=FLOAT64)
        assert mbr_decision(probs, gain).tolist() == [2]
        assert mbr_decision(probs, gain, allowed=probs > 0).tolist() == [0]
        assert mbr_decision(probs, gain, allowed=torch.tensor([False, True, False])).tolist() == [1]
        with pytest.raises(ValueError, match=r"row \[0\] allows no decision"):
            mbr_decision(probs, gain, allowed=torch.zeros(1, 3, dtype=torch.bool))
        with pytest.raises(ValueError, match=r"allowed must be bool of shape \[1, 3\], got torch.int64 of \[1, 3\]"):
            mbr_decision(probs, gain, allowed=torch.ones(1, 3, dtype=torch.long))

    @pytest.mark.parametrize(
        ("probs", "gain", "error", "message"),
        [
            ([0.5, 0.5], torch.eye(3), ValueError, r"expected a gain matrix \[D, 2\].*got \[3, 3\]"),
            ([0.5, 0.5], torch.zeros(2), ValueError, r"got \[2\]"),
            ([0.5, 0.5], torch.zeros(0, 2), ValueError, r"got \[0, 2\]"),
            ([0.5, 0.5], torch.tensor([[1.0, math.nan], [0.0, 1.0]]), ValueError, r"gain at \[0, 1\] is nan"),
            ([0.5, 0.5], torch.tensor([[1.0, 0.0], [-INF, 1.0]]), ValueError, r"gain at \[1, 0\] is -inf"),
            ([0.5, 0.5], [[1.0, 0.0], [0.0, 1.0]], TypeError, "got list"),
            ([0.5, 0.6], torch.eye(2), ValueError, "got a sum of 1.1"),
            ([1.5, -0.5], torch.eye(2), ValueError, "is no distribution"),
            ([math.nan, 0.5], torch.eye(2), ValueError, "is no distribution"),
            ([[0.5, 0.5]] * 3, torch.zeros(2, 2, 2), ValueError, "do not fit probabilities"),
            ([], torch.eye(2), ValueError, "hold no candidates"),
        ],
    )
    def test_bad_gains_and_probabilities(self, probs, gain, error, message):
        with pytest.raises(error, match=message):
            mbr_decision(torch.tensor(probs), gain)

    def test_a_gain_over_strings(self):
        texts = ["a cat", "a dog", "the cat"]

        def shared(decided, true):
            a, b = set(decided.split()), set(true.split())
            return len(a & b) / len(a | b)

        found = gain_matrix(texts, shared)
        third = 1 / 3
        assert found.flatten().tolist() == pytest.approx([1, third, third, third, 1, 0, third, 0, 1])
        assert torch.equal(gain_matrix(texts, found), found)
        # Decided first, true second.
        assert gain_matrix(["a", "bb"], lambda d, t: len(d) - 10 * len(t)).tolist() == [[-9, -19], [-8, -18]]

    @pytest.mark.parametrize(
        ("outputs", "gain", "error", "message"),
        [
            ([], torch.eye(2), ValueError, "there are no candidates"),
            (["a"], torch.eye(2), ValueError, r"1 candidates need gains of shape \[1, 1\], got \[2, 2\]"),
            (
                ["a", "b"],
                lambda d, t: math.nan if t == "b" else 1.0,
                ValueError,
                "gain of 'a' where 'b' is true is nan",
            ),
            (["a"], lambda d, t: None, TypeError, "gain of 'a' where 'a' is true is None"),
        ],
    )
    def test_bad_gains_of_outputs(self, outputs, gain, error, message):
        with pytest.raises(error, match=message):
            gain_matrix(outputs, gain)


def test_samples_are_drawn_by_their_probabilities():
    probs = torch.tensor([0.5, 0.0, 0.3, 0.2], dtype=FLOAT64).expand(40_000, 4)
    drawn = sample_decision(probs, torch.Generator().manual_seed(0))
    share = drawn.bincount(minlength=4) / len(drawn)
    # Standard deviations are 0.0025 at most.
    assert share.tolist() == pytest.approx([0.5, 0.0, 0.3, 0.2], abs=0.0125)
    assert share[1] == 0
    assert torch.equal(drawn, sample_decision(probs, torch.Generator().manual_seed(0)))
    assert sample_decision(torch.tensor([0.0, 1.0])).shape == ()
    assert int(sample_decision(torch.tensor([0.0, 1.0]))) == 1
    assert sample_decision(torch.full((2, 3, 4), 0.25)).shape == (2, 3)
    with pytest.raises(TypeError, match="probabilities must be a tensor of floats"):
        sample_decision(torch.tensor([0, 1]))


class TestReliability:
    def test_worked_numbers(self):
        confidence = torch.tensor([0.55, 0.58, 0.91, 0.95, 1.0, 0.25])
        correct = torch.tensor([True, False, True, True, False, False])
        found = reliability(confidence, correct)
        assert found.count == (1, 2, 3)
        assert found.low == pytest.approx((0.2, 0.5, 0.9))
        assert found.high == pytest.approx((0.3, 0.6, 1.0))
        assert found.confidence == pytest.approx((0.25, 0.565, 2.86 / 3))
        assert found.accuracy == pytest.approx((0.0, 0.5, 2 / 3))
        expected = (0.25 + 2 * 0.065 + 3 * (2.86 / 3 - 2 / 3)) / 6
        assert found.expected_calibration_error == pytest.approx(expected)
        assert found.overconfidence == pytest.approx((0.25 + 0.13 + 0.86) / 6)

    @given(st.integers(0, 10**6), st.integers(1, 20), st.booleans())
    def test_bins_hold_everything_once(self, seed, bins, equal_mass):
        g = torch.Generator().manual_seed(seed)
        confidence = torch.rand(57, dtype=FLOAT64, generator=g)
        correct = torch.rand(57, generator=g) < confidence
        found = reliability(confidence, correct, bins=bins, equal_mass=equal_mass)
        assert sum(found.count) == 57
        assert min(found.count) > 0
        assert len(found.count) <= bins
        if equal_mass:
            assert max(found.count) <= -(-57 // bins) + 1
        for low, high, mean in zip(found.low, found.high, found.confidence, strict=True):
            assert low - 1e-12 <= mean <= high + 1e-12
        gap = float(confidence.mean() - correct.double().mean())
        assert found.overconfidence == pytest.approx(gap, abs=1e-12)
        assert abs(gap) - 1e-12 <= found.expected_calibration_error <= 1.0

    def test_an_edge_belongs_to_the_bin_below(self):
        found = reliability(torch.tensor([0.0, 0.5, 0.75, 1.0]), torch.ones(4, dtype=torch.bool), bins=2)
        assert (found.low, found.high, found.count) == ((0.0, 0.5), (0.5, 1.0), (2, 2))

    def test_perfect_and_hopeless(self):
        sure = torch.ones(5)
        assert reliability(sure, torch.ones(5, dtype=torch.bool)).expected_calibration_error == 0.0
        assert reliability(sure, torch.zeros(5, dtype=torch.bool)).expected_calibration_error == 1.0
        rounded = reliability(sure.double() + 1e-6, torch.ones(5, dtype=torch.bool))
        assert (rounded.confidence, rounded.high) == ((1.0,), (1.0,))
        assert reliability(torch.zeros(3), torch.zeros(3, dtype=torch.bool), equal_mass=True).count == (3,)

    def test_a_peer_has_the_same_bins(self):
        calibration = pytest.importorskip("sklearn.calibration")
        g = torch.Generator().manual_seed(0)
        confidence = torch.rand(500, dtype=FLOAT64, generator=g)
        correct = torch.rand(500, generator=g) < confidence**2
        own = reliability(confidence, correct, bins=7)
        share, mean = calibration.calibration_curve(correct.numpy(), confidence.numpy(), n_bins=7)
        assert list(own.accuracy) == pytest.approx(list(share), abs=1e-12)
        assert list(own.confidence) == pytest.approx(list(mean), abs=1e-12)

    @pytest.mark.parametrize(
        ("confidence", "correct", "options", "error", "message"),
        [
            ([0.5], [True], {"bins": 0}, ValueError, "bins must be"),
            ([0.5], [1], {}, TypeError, "correct must be bool, got torch.int64"),
            ([0.5, 0.5], [True], {}, ValueError, r"of one shape and not empty, got \[2\] and \[1\]"),
            ([1.2], [True], {}, ValueError, "confidence 1.2.* at 0 is no probability"),
            ([math.nan], [True], {}, ValueError, "confidence nan at 0"),
        ],
    )
    def test_bad_input(self, confidence, correct, options, error, message):
        with pytest.raises(error, match=message):
            reliability(torch.tensor(confidence), torch.tensor(correct), **options)
        with pytest.raises(ValueError, match="not empty"):
            reliability(torch.zeros(0), torch.zeros(0, dtype=torch.bool))

    def test_pictures_of_the_same_bins_are_pooled(self):
        g = torch.Generator().manual_seed(0)
        confidence = torch.rand(60, dtype=FLOAT64, generator=g)
        correct = torch.rand(60, generator=g) < confidence
        whole = reliability(confidence, correct)
        parts = [reliability(c, r) for c, r in zip(confidence.split(7), correct.split(7), strict=True)]
        pooled = pool_reliability(parts)
        assert (pooled.low, pooled.high, pooled.count) == (whole.low, whole.high, whole.count)
        assert pooled.confidence == pytest.approx(whole.confidence, abs=1e-12)
        assert pooled.accuracy == pytest.approx(whole.accuracy, abs=1e-12)
        with pytest.raises(ValueError, match="bins up to .* overlap"):
            pool_reliability([whole, reliability(confidence, correct, bins=7)])
        with pytest.raises(ValueError, match="there are no pictures"):
            pool_reliability([])
