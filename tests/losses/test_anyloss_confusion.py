"""AnyLoss: the confusion matrix, its metrics and the threshold after training."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.losses.anyloss import (
    Confusion,
    accuracy,
    amplify,
    balanced_accuracy,
    f_beta,
    g_mean,
    hard_confusion,
    soft_confusion,
)

from ..rounding import unit
from .imbalanced import P, Y

rows = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans(), st.floats(0.125, 4.0)), min_size=2, max_size=12).map(
    lambda drawn: torch.tensor(drawn, dtype=torch.float64).T
)
close = pytest.approx


def exactly(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_check_1_amplified_probabilities_and_counts():
    expected = [0.768525, 0.450166, 0.017986, 0.425557, 0.574443, 0.119203, 0.512497, 0.982014]
    assert amplify(P, 10.0).tolist() == close(expected, abs=5e-7)
    expected = [0.999843, 0.188467, 0.0, 0.100652, 0.899348, 0.0, 0.590250, 1.0]
    assert amplify(P).tolist() == close(expected, abs=5e-7)
    assert torch.stack(soft_confusion(P, Y, 10.0)).tolist() == close([2.176096, 0.823904, 1.674295, 3.325705], abs=5e-7)


def test_check_1_metrics():
    for scale, losses in (
        (10.0, (0.312275, 0.408720, 0.364680, 0.313551, 0.305399, 0.304747)),
        (73.0, (0.322196, 0.420209, 0.380253, 0.334383, 0.317959, 0.317724)),
    ):
        entries = soft_confusion(P, Y, scale)
        found = [
            accuracy(*entries),
            *(f_beta(*entries, beta=beta) for beta in (0.5, 1.0, 2.0)),
            g_mean(*entries),
            balanced_accuracy(*entries),
        ]
        assert [1.0 - float(score) for score in found] == close(losses, abs=1e-6)
    hard = hard_confusion(P, Y)
    found = [1.0 - float(score(*hard)) for score in (accuracy, f_beta, g_mean, balanced_accuracy)]
    assert found == close([0.375, 0.428571, 0.367544, 0.366667], abs=5e-7)
    assert float(g_mean(*hard, squared=True)) == close(float(g_mean(*hard)) ** 2)


@pytest.mark.parametrize(("dtype", "last"), [(torch.float64, 73), (torch.float32, 33)])
def test_check_5_where_one_is_reached(dtype, last):
    """The formula as it is written gets to 73; rounded to nearest, h is below 1 at one scale more."""
    one = torch.ones(1, dtype=dtype)
    for scale in range(last - 3, last + 5):
        assert bool(1 / (1 + torch.exp(-scale * (one - 0.5))) < 1) == (scale <= last)
        assert bool(amplify(one, scale) < 1) == (scale <= last + 1)
    # 1 - e^-36.5 lies between 1 - 2^-53 and 1 - 2^-52, and nearer to the first.
    assert float(amplify(one.double())) == 1 - 2**-53


@pytest.mark.parametrize("label", [0, 1])
def test_in_float32_the_small_side_is_exact_and_no_slope_is_lost(label):
    """At L = 73, h of p > 0.73 rounds to 1. A batch of one row, and a column for each probability."""
    p = torch.tensor([[0.999, 0.95, 0.75, 0.5, 0.25, 0.05, 0.001]])
    y, found, slopes = torch.full_like(p, label), [], []
    for dtype in (torch.float32, torch.float64):
        own = p.to(dtype).requires_grad_()
        entries = soft_confusion(own, y)
        found.append(torch.stack(entries).detach().double())
        slopes.append(torch.autograd.grad((entries.fp - entries.fn).sum(), own)[0].double())
    assert (slopes[0] > 0).all()
    # Of exp(-73 |p - 1/2|): the exponent, at most 36.5, has two roundings; a few operations more follow.
    relative = (2 * 36.5 + 16) * unit()
    torch.testing.assert_close(found[0], found[1], rtol=relative, atol=0.0)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=2 * relative, atol=0.0)


@given(rows, st.floats(0.5, 200.0))
def test_counts_of_a_class_are_its_size_whatever_is_predicted(drawn, scale):
    p, y, weight = drawn
    entries = soft_confusion(p, y, scale, weight=weight)
    assert float(entries.tp + entries.fn) == close(float((weight * y).sum()), abs=1e-9)
    assert float(entries.fp + entries.tn) == close(float((weight * (1 - y)).sum()), abs=1e-9)
    assert all(float(entry) >= 0 for entry in entries)
    swapped = soft_confusion(1 - p, 1 - y, scale, weight=weight)
    for one, other in zip(entries, (swapped.tn, swapped.fp, swapped.fn, swapped.tp), strict=True):
        assert float(one) == close(float(other), abs=1e-9)


@given(rows)
def test_check_3_swapped_classes_and_the_harmonic_mean(drawn):
    p, y, _ = drawn
    entries, swapped = soft_confusion(p, y, 10.0), soft_confusion(1 - p, 1 - y, 10.0)
    for score in (accuracy, g_mean, balanced_accuracy):
        assert float(score(*entries)) == close(float(score(*swapped)), abs=1e-9)
        assert 0.0 <= float(score(*entries)) <= 1.0
    tp, fn, fp, _ = entries
    if y.any():
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        assert float(f_beta(*entries)) == close(float(2 * precision * recall / (precision + recall)), abs=1e-9)


@given(rows)
def test_a_weight_of_two_is_a_row_twice(drawn):
    p, y, _ = drawn
    double = soft_confusion(p, y, weight=torch.full_like(p, 2.0))
    for one, other in zip(double, soft_confusion(p.repeat(2), y.repeat(2)), strict=True):
        assert float(one) == close(float(other), abs=1e-9)


def test_check_4_all_at_one_half():
    entries = soft_confusion(torch.full((8,), 0.5, dtype=torch.float64), Y)
    assert [float(score(*entries)) for score in (accuracy, balanced_accuracy, g_mean)] == close([0.5] * 3)
    assert 1.0 - float(f_beta(*entries)) == close(1.0 - 3 / (3 + 8 / 2))


def test_check_6_towards_the_hard_metric():
    for score in (accuracy, f_beta, g_mean, balanced_accuracy):
        apart = [abs(float(score(*soft_confusion(P, Y, s)) - score(*hard_confusion(P, Y)))) for s in (73, 500, 5000)]
        assert apart[0] > apart[1] > apart[2]
        assert apart[2] < 1e-9
    half = soft_confusion(P, Y, 1e-9)
    assert torch.stack(half).tolist() == close([1.5, 1.5, 2.5, 2.5])
    assert float(hard_confusion(exactly(0.5), torch.tensor([1])).fn) == 1.0, "a tie is no positive"
    assert float(soft_confusion(exactly(0.5), torch.tensor([1]), 1e6).fn) == 0.5


def test_columns_are_matrices_of_their_own():
    p, y = torch.stack([P, 1 - P], 1), torch.stack([Y, Y], 1)
    weight = torch.rand(8, 2, dtype=torch.float64)
    both = soft_confusion(p, y, 10.0, weight=weight)
    for k in range(2):
        for one, other in zip(both, soft_confusion(p[:, k], y[:, k], 10.0, weight=weight[:, k]), strict=True):
            assert float(one[k]) == close(float(other))
    shared = soft_confusion(p, y, 10.0, weight=weight[:, 0])
    assert float(shared.tp[1]) == close(float(soft_confusion(p[:, 1], y[:, 1], 10.0, weight=weight[:, 0]).tp))


def test_a_class_that_is_absent_is_left_out_of_means():
    no_positives, no_negatives = (
        Confusion(*map(torch.tensor, e)) for e in ((0.0, 0.0, 1.0, 3.0), (1.0, 3.0, 0.0, 0.0))
    )
    for score in (g_mean, balanced_accuracy):
        assert float(score(*no_positives)) == close(0.75)
        assert float(score(*no_negatives)) == close(0.25)
    assert float(f_beta(*no_positives)) == 0.0
    nothing = [torch.zeros(2)] * 4
    for score in (accuracy, f_beta, balanced_accuracy):
        assert score(*nothing).tolist() == [0.0, 0.0]
    assert float(g_mean(*no_positives, smooth=1.0)) == close(3 / 5), "smoothing does not bring it back"
    assert float(accuracy(*no_positives, smooth=1.0)) == close(3 / 5)
    assert float(f_beta(*no_negatives, smooth=1.0)) == close(2 / 6)


def test_our_hard_metrics_are_scikit_learn_s():
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(3)
    for _ in range(20):
        p, y, w = torch.rand(30, dtype=torch.float64), torch.randint(2, (30,)), torch.rand(30, dtype=torch.float64)
        entries, given = hard_confusion(p, y, 0.4, weight=w), (y.numpy(), (p > 0.4).numpy())
        options = {"sample_weight": w.numpy()}
        assert float(accuracy(*entries)) == close(metrics.accuracy_score(*given, **options))
        assert float(balanced_accuracy(*entries)) == close(metrics.balanced_accuracy_score(*given, **options))
        assert float(f_beta(*entries, beta=0.5)) == close(metrics.fbeta_score(*given, beta=0.5, **options))
        assert torch.stack(entries).tolist() == close(
            metrics.confusion_matrix(*given, labels=[1, 0], **options).ravel().tolist()
        )


@pytest.mark.parametrize(
    ("p", "y", "options", "error", "message"),
    [
        (P, Y[:4], {}, ValueError, r"shape of what is counted, \[8\], got \[4\]"),
        (P, Y - 1, {}, ValueError, r"labels must be 0 or 1, got -1 at \[1\]"),
        (P, P, {}, ValueError, r"labels must be 0 or 1, got 0.62 at \[0\]"),
        (P * 2, Y, {}, ValueError, r"must lie in \[0, 1\], got 1.24 at \[0\]; are they logits"),
        (P / 0, Y, {}, ValueError, "8 of 8 probabilities are NaN or infinite, the first inf"),
        (P[:0], Y[:0], {}, ValueError, "an empty batch"),
        (P[None, None], Y[None, None], {}, ValueError, r"must be \[n\] or \[n, K\], got shape \[1, 1, 8\]"),
        (Y, Y, {}, TypeError, "a tensor of floats, got torch.int64"),
        ([0.5], Y, {}, TypeError, "a tensor of floats, got list"),
        (P, Y, {"amplify": 0.0}, ValueError, "scale must be a number above 0, got 0.0"),
        (P, Y, {"amplify": math.inf}, ValueError, "scale must be a number above 0"),
        (P, Y, {"weight": torch.ones(7)}, ValueError, r"weights must be \[8\], got shape \[7\]"),
        (P, Y, {"weight": -torch.ones(8)}, ValueError, r"finite and not negative, got -1.0 at \[0\]"),
        (P, Y, {"weight": torch.zeros(8)}, ValueError, "all weights are 0"),
    ],
)
def test_what_cannot_be_counted_is_named(p, y, options, error, message):
    with pytest.raises(error, match=message):
        soft_confusion(p, y, **options)


def test_half_precision_is_counted_in_single():
    p = torch.tensor([0.25, 0.75], dtype=torch.bfloat16)
    assert soft_confusion(p, torch.tensor([0, 1])).tp.dtype is torch.float32
    assert amplify(p).dtype is torch.float32
    with pytest.raises(ValueError, match="amplify: the amplifying scale must be a number above 0"):
        amplify(p, -1.0)
