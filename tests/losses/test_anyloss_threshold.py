"""AnyLoss: the threshold after training."""

import math

import pytest
import torch

from entrokit.losses.anyloss import accuracy, f_beta, hard_confusion, tune_threshold
from entrokit.losses.anyloss.scores import score_by_name

from .imbalanced import METRICS, P, Y, matthews

close = pytest.approx
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def exactly(*values):
    return torch.tensor(values, dtype=torch.float64)


def tune_score(metric, scores, y, cut, w, options):
    return score_by_name(metric, options.get("beta", 1.0), 0.0, "")(*hard_confusion(scores, y, cut, weight=w))


@pytest.mark.parametrize("metric", [*METRICS, matthews], ids=lambda metric: getattr(metric, "__name__", metric))
def test_no_other_threshold_is_better(metric):
    options = METRICS.get(metric, {})
    torch.manual_seed(1)
    for trial in range(10):
        scores = torch.randn(25, dtype=torch.float64).mul(4).round() if trial % 2 else torch.randn(25).double()
        y, w = torch.randint(2, (25,)), torch.rand(25, dtype=torch.float64)
        y[:2] = torch.tensor([0, 1])
        found = tune_threshold(scores, y, metric, weight=w, **options)
        cuts = [-math.inf, *(scores.unique().tolist())]
        each = [float(tune_score(metric, scores, y, cut, w, options)) for cut in cuts]
        assert float(found.score) == close(max(each))
        assert float(tune_score(metric, scores, y, found.threshold, w, options)) == close(float(found.score))


def test_it_lies_in_the_widest_gap_of_those_that_tie():
    found = tune_threshold(exactly(0.1, 0.2, 0.6, 0.7, 0.9), torch.tensor([0, 0, 1, 0, 1]), "accuracy")
    assert found.threshold.tolist() == close(0.4)
    later = tune_threshold(exactly(0.1, 0.2, 0.4, 0.5, 0.9), torch.tensor([0, 0, 1, 0, 1]), "accuracy")
    assert later.threshold.tolist() == close(0.7)
    assert found.score.tolist() == close(0.8)
    separable = tune_threshold(exactly(0.1, 0.3, 0.7), torch.tensor([0, 0, 1]))
    assert separable.threshold.tolist() == close(0.5)


def test_where_one_class_is_best_all_are_put_on_one_side():
    scores = exactly(0.2, 0.4, 0.6, 0.8)
    everything = tune_threshold(scores, torch.tensor([1, 1, 1, 0]), "f1")
    assert (scores > everything.threshold).all()
    nothing = tune_threshold(scores, torch.tensor([1, 0, 0, 0]), "accuracy")
    assert not (scores > nothing.threshold).any()
    equal = tune_threshold(exactly(3.0, 3.0), torch.tensor([0, 1]))
    assert float(equal.score) == close(2 / 3)
    assert float(equal.threshold) < 3.0


def test_neighbouring_floats_are_told_apart():
    # Halfway between them is rounded to the even one, which is the upper of the second pair.
    for low in (0.5, math.nextafter(0.5, 1.0)):
        high = math.nextafter(low, 1.0)
        assert low <= float(tune_threshold(exactly(low, high), torch.tensor([0, 1])).threshold) < high


def test_labels_have_thresholds_of_their_own():
    scores, y = torch.stack([P, -3 * P], 1), torch.stack([Y, 1 - Y], 1)
    found = tune_threshold(scores, y)
    for k in range(2):
        assert found.threshold[k] == tune_threshold(scores[:, k], y[:, k]).threshold
    weight = torch.ones(8)
    weight[2] = 0.0
    assert tune_threshold(P, Y, weight=weight) == tune_threshold(P[weight > 0], Y[weight > 0])


@pytest.mark.parametrize(
    ("scores", "y", "message"),
    [
        (P, torch.ones(8), "one class only, and any threshold would do"),
        (torch.stack([P, P], 1), torch.stack([Y, 0 * Y], 1), r"one class only in columns \[1\]"),
        (P, Y[:7], r"labels must be of the shape of scores, \[8\], got \[7\]"),
        (P.clone().fill_(math.nan), Y, "8 of 8 scores are NaN or infinite"),
        (P[:0], Y[:0], "an empty batch"),
        (P, Y * 2, r"labels must be 0 or 1, got 2 at \[0\]"),
    ],
)
def test_what_has_no_threshold(scores, y, message):
    with pytest.raises(ValueError, match=message):
        tune_threshold(scores, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_are_on_one_side_in_the_scores_own_dtype(dtype):
    """A number just below the least in float64 is the least itself in float32, which then was predicted 0."""
    for scores in ([0.2, 0.4, 0.6, 0.8], [-0.8, -0.6, -0.4, -0.2], [0.0, 0.1, 0.2, 0.3], [1e-6, 1.0, 2.0, 3.0]):
        scores, y = torch.tensor(scores, dtype=dtype), torch.tensor([1, 1, 1, 0])
        found = tune_threshold(scores, y)
        assert (scores > found.threshold).all()
        assert float(f_beta(*hard_confusion(scores, y, found.threshold))) == close(float(found.score))
        assert float(found.threshold) == close(float(scores[0]), rel=4 * torch.finfo(dtype).eps, abs=1e-4)
        nothing = tune_threshold(scores, torch.tensor([1, 0, 0, 0]), "accuracy")
        assert not (scores > nothing.threshold).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_neighbours_of_every_dtype_are_told_apart(dtype):
    step = torch.finfo(dtype).eps
    for low in (1.0, 1.0 + step, 1.0 + 2 * step):
        scores = torch.tensor([low, low + step], dtype=dtype)
        found = tune_threshold(scores, torch.tensor([0, 1]))
        assert (scores > found.threshold).tolist() == [False, True]
        assert found.threshold.dtype == torch.float64
        assert (scores[:, None] > tune_threshold(scores[:, None], torch.tensor([[0], [1]])).threshold).tolist() == [
            [False],
            [True],
        ]


def test_rows_without_weight_are_no_scores():
    """Between 0.3 and 0.9 is the widest gap; a row in it that is not counted would make it two."""
    scores, y = exactly(0.1, 0.3, 0.6, 0.9, 1.3), torch.tensor([0, 0, 1, 1, 1])
    weight = exactly(1.0, 1.0, 0.0, 1.0, 1.0)
    assert float(tune_threshold(scores, y, weight=weight).threshold) == close(0.6)
    assert float(tune_threshold(scores, y, weight=weight.clamp(min=1e-9)).threshold) == close(0.45)


def test_ties_are_relative_to_the_metric():
    """A gain of a million has rounding of its own; of equal ones the widest gap decides."""
    scores, y = exactly(0.1, 0.2, 0.6, 0.7, 0.9), torch.tensor([0, 0, 1, 0, 1])
    million = tune_threshold(scores, y, lambda *entries: 1e6 * accuracy(*entries) * (1 + 1e-14 * entries[1]))
    assert float(million.threshold) == close(0.4)


def test_gradients_do_not_flow_and_scores_are_not_changed():
    scores = P.clone().requires_grad_()
    found = tune_threshold(scores, Y)
    assert not found.threshold.requires_grad
    assert torch.equal(scores, P)


@pytest.mark.parametrize(
    ("threshold", "error", "message"),
    [
        (math.nan, ValueError, "the threshold is NaN, and nothing is above it"),
        (torch.tensor([0.5, math.nan]), ValueError, "the threshold is NaN"),
        (torch.zeros(8), ValueError, r"one number or \[2\], one a column, got shape \[8\]"),
        (torch.zeros(8, 1), ValueError, r"got shape \[8, 1\]"),
        (torch.zeros(1), ValueError, r"got shape \[1\]"),
        ([0.5, 0.5], TypeError, r"the threshold must be a number, got \[0.5, 0.5\]"),
        ("0.5", TypeError, "the threshold must be a number, got '0.5'"),
        (torch.zeros(2, device="meta"), ValueError, "the threshold is on the meta device"),
    ],
)
def test_thresholds_that_are_none(threshold, error, message):
    scores, y = torch.stack([P, 1 - P], 1), torch.stack([Y, Y], 1)
    with pytest.raises(error, match=message):
        hard_confusion(scores, y, threshold)


def test_thresholds_of_columns_and_of_one_column():
    scores, y = torch.stack([P, P], 1).float(), torch.stack([Y, Y], 1)
    both = hard_confusion(scores, y, exactly(0.1, 0.5))
    for k, cut in enumerate((0.1, 0.5)):
        for one, other in zip(both, hard_confusion(P.float(), Y, cut), strict=True):
            assert one[k] == other, "a tie is none in either dtype"
    with pytest.raises(ValueError, match=r"must be one number, got shape \[8\]"):
        hard_confusion(P, Y, P)
    assert float(hard_confusion(P, Y, -math.inf).fn) == 0.0
