"""AnyLoss: what is no tensor, or holds what cannot be counted."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from entrokit.losses.anyloss import (
    AnyLoss,
    accuracy,
    amplify,
    balanced_accuracy,
    f_beta,
    g_mean,
    hard_confusion,
    soft_confusion,
    tune_threshold,
)

from .imbalanced import P, Y

W = torch.ones(8, dtype=torch.float64)
CALLS = {
    "amplify": (amplify, P),
    "soft_confusion": (lambda p, y, w: soft_confusion(p, y, weight=w), P, Y, W),
    "hard_confusion": (lambda p, y, w: hard_confusion(p, y, weight=w), P, Y, W),
    "tune_threshold": (lambda p, y, w: tune_threshold(p, y, weight=w), P, Y, W),
    "logits": (AnyLoss(), P, Y, W),
    "probabilities": (AnyLoss(from_logits=False, bce_share=0.5), P, Y, W),
    "classes": (AnyLoss(), torch.stack([P, -P], 1), Y, W),
}
PLACES = [(name, place) for name, (_, *given) in CALLS.items() for place in range(len(given))]
OTHERS = {
    "numpy": (lambda one: one.numpy(), "ndarray; torch.as_tensor makes one of it"),
    "list": (lambda one: one.tolist(), "list; torch.tensor makes one of it"),
    "model output": (lambda one: SimpleNamespace(logits=one), "SimpleNamespace; pass its .logits"),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_what_is_no_tensor_is_named_with_what_to_pass(name, place, other):
    function, *given = CALLS[name]
    function(*given)
    made, advice = OTHERS[other]
    given[place] = made(given[place])
    with pytest.raises(TypeError, match=rf"^\w+: \w+ must be a tensor.*, got {advice}"):
        function(*given)


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_what_has_no_values_and_what_is_complex(name, place):
    function, *given = CALLS[name]
    taken = given[place]
    given[place] = taken.to("meta")
    with pytest.raises(ValueError, match="is on the meta device and has no values"):
        function(*given)
    given[place] = taken.to(torch.complex64)
    with pytest.raises(TypeError, match="got torch.complex64"):
        function(*given)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_narrow_integers_are_classes_of_many_columns(dtype):
    z, classes = torch.linspace(-1.0, 1.0, 900).view(3, 300), torch.tensor([1, 100, 255])
    assert AnyLoss("accuracy")(z, classes.to(dtype)) == AnyLoss("accuracy")(z, classes)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.float16, torch.bfloat16, torch.float64])
def test_labels_of_every_dtype_are_the_same(dtype):
    for function, *given in (CALLS["logits"], CALLS["soft_confusion"], CALLS["hard_confusion"]):
        expected, found = function(*given), function(given[0], given[1].to(dtype), given[2].half())
        assert torch.equal(torch.as_tensor(expected), torch.as_tensor(found))


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (P, torch.where(Y > 0, -100, 0), r"got -100 at \[0\]; what is to be left out needs one too, and a weight of 0"),
        (torch.stack([P, P], 1), torch.tensor([0, 1, -100, 0, 1, 0, 1, 0]), r"got -100 at \[2\]; a row that is to be"),
        (P.log(), Y.float() * math.nan, "labels must be 0 or 1, got nan"),
        ((P - 2).sqrt(), Y, "8 of 8 logits are NaN or infinite"),
        ((P * 0).log(), Y, r"the first -inf at \[0\]; .*what is masked needs a finite number, and a weight of 0"),
    ],
)
def test_what_is_masked_has_to_be_a_number_all_the_same(inputs, targets, message):
    weight = torch.zeros(8)
    weight[-1] = 1.0
    with pytest.raises(ValueError, match=message):
        AnyLoss()(inputs, targets, weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AnyLoss(amplify=None), "amplify must be a number, got None"),
        (lambda: AnyLoss("fbeta", beta="2"), "beta must be a number, got '2'"),
        (lambda: AnyLoss(smooth=[0.1]), r"smooth must be a number, got \[0.1\]"),
        (lambda: AnyLoss(bce_share="half"), "bce_share must be a number, got 'half'"),
        (lambda: soft_confusion(P, Y, "73"), "amplifying scale must be a number, got '73'"),
        (lambda: accuracy(1.0, 2.0, 3.0, 4.0), "counts must be a tensor, got float; torch.tensor makes one"),
        (lambda: g_mean(*np.ones((4, 2))), "counts must be a tensor, got ndarray"),
    ],
)
def test_what_is_no_number_is_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("score", "options", "message"),
    [
        (f_beta, {"beta": math.nan}, "beta must be a number above 0, got nan"),
        (f_beta, {"beta": -1.0}, "beta must be a number above 0, got -1.0"),
        (accuracy, {"smooth": -10.0}, "smooth must be a number of at least 0, got -10.0"),
        (g_mean, {"smooth": math.nan}, "smooth must be a number of at least 0, got nan"),
        (balanced_accuracy, {"smooth": math.inf}, "smooth must be a number of at least 0, got inf"),
    ],
)
def test_scores_refuse_what_makes_them_nan(score, options, message):
    with pytest.raises(ValueError, match=message):
        score(*torch.arange(1.0, 5.0), **options)


def test_whole_numbers_are_counts():
    whole = torch.tensor([3, 1, 2, 10])
    for score in (accuracy, f_beta, g_mean, balanced_accuracy):
        assert float(score(*whole)) == pytest.approx(float(score(*whole.double())))


def test_a_score_of_half_precision_reads_single():
    """A sum of 4096 counts has a unit of 2 in float16; of logits of every dtype it is taken in float32."""
    z = torch.linspace(-2.0, 2.0, 4096).half()
    y = torch.arange(4096) % 3 == 0
    for dtype in (torch.float16, torch.bfloat16):
        given = z.to(dtype)
        assert AnyLoss()(given, y) == AnyLoss()(given.float(), y)
        assert hard_confusion(given, y, 0.0).tp.dtype == torch.float32


def test_autocast_changes_nothing():
    for logits in (True, False):
        loss = AnyLoss(from_logits=logits, bce_share=0.5)
        expected = loss(P.float(), Y)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(loss(P.float(), Y), expected)


def test_a_column_without_weight_is_named_and_weights_get_no_gradient():
    p, y, weight = torch.stack([P, P], 1), torch.stack([Y, Y], 1), torch.ones(8, 2)
    weight[:, 1] = 0.0
    with pytest.raises(ValueError, match=r"all weights are 0 in columns \[1\]"):
        soft_confusion(p, y, weight=weight)
    own = torch.ones(8, requires_grad=True)
    assert not soft_confusion(P, Y, weight=own).tp.requires_grad
    assert not AnyLoss()(P, Y, own).requires_grad


def test_logits_near_0_do_not_cancel():
    """Sigmoid(z) - 1/2 of float32 is off by 3e-8, which a large scale makes 4e-5 of h."""
    z, y = torch.tensor([1e-4, 3e-4]), torch.tensor([1, 1])
    loss = AnyLoss("accuracy", amplify=5000.0)
    assert float(loss(z, y)) == pytest.approx(float(loss(z.double(), y)), abs=1e-6)


def test_a_metric_of_labels_and_predictions_is_refused_before_it_is_asked():
    def f1_score(y_true, y_pred, *, pos_label=1):
        return 0.0

    for call in (lambda m: AnyLoss(m), lambda m: tune_threshold(P, Y, m)):
        with pytest.raises(TypeError, match=r"the metric f1_score\(y_true, y_pred, .* four counts, tp, fn, fp and tn"):
            call(f1_score)
        with pytest.raises(TypeError, match=r"the metric <lambda>\(tp, fn\) must take four counts"):
            call(lambda tp, fn: tp)
    assert AnyLoss(partial(f_beta, beta=2.0))(P, Y) == AnyLoss("fbeta", beta=2.0)(P, Y)


def test_probabilities_of_two_classes_need_one_column():
    both = torch.stack([1 - P, P], 1)
    with pytest.raises(ValueError, match=r"scores, \[8, 2\], got \[8\]; .*the positive one, proba\[:, 1\]"):
        tune_threshold(both, Y)
    assert tune_threshold(both[:, 1], Y) == tune_threshold(P, Y)
