"""AnyLoss: the loss, its gradients, and batches that lack something."""

import copy
import math
import pickle
import warnings

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from entrokit.losses.anyloss import AnyLoss, f_beta, g_mean, soft_confusion

from ..rounding import unit
from .imbalanced import METRICS, P, Y, matthews

Z = torch.logit(P)
close = pytest.approx


def gradient(loss, z, y, **options):
    z = z.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(z, y, **options).sum(), z)[0]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", [-0.052390, 0.077225, 0.001987, -0.076118, 0.076118, 0.027561, 0.078068, -0.001987]),
        ("f1", [-0.083494, 0.057296, 0.001474, -0.121309, 0.056475, 0.020448, 0.057922, -0.003167]),
        ("gmean", [-0.066891, 0.064516, 0.001660, -0.097186, 0.063592, 0.023025, 0.065221, -0.002537]),
        ("balanced_accuracy", [-0.069853, 0.061780, 0.001590, -0.101491, 0.060895, 0.022049, 0.062455, -0.002649]),
    ],
)
def test_check_2_gradients(metric, expected):
    assert gradient(AnyLoss(metric, amplify=10.0), Z, Y).tolist() == close(expected, abs=1e-6)


def test_check_1_losses_by_logits_and_by_probabilities():
    for metric, expected in (("f1", 0.380253), ("gmean", 0.317959), ("balanced_accuracy", 0.317724)):
        assert float(AnyLoss(metric)(Z, Y)) == close(expected, abs=1e-6)
        assert float(AnyLoss(metric, from_logits=False)(P, Y)) == close(expected, abs=1e-6)
    assert float(AnyLoss("fbeta", beta=0.5)(Z, Y)) == close(0.420209, abs=1e-6)
    assert float(AnyLoss("fbeta", beta=2.0, amplify=10.0)(Z, Y)) == close(0.313551, abs=1e-6)


def test_closed_gradients_of_a_linear_model():
    """With respect to θ of z = Xθ. The official code has four times that of G-mean."""
    torch.manual_seed(5)
    X, theta = torch.randn(40, 3, dtype=torch.float64), torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    y = (torch.rand(40) < 0.3).double()
    L, b2, n, P_ = 10.0, 4.0, 40, y.sum()
    p = torch.sigmoid(X @ theta)
    h = torch.sigmoid(L * (p - 0.5))
    g = L * h * (1 - h) * p * (1 - p)
    tp, tn, S = (y * h).sum(), ((1 - y) * (1 - h)).sum(), b2 * P_ + h.sum()
    closed = {
        "accuracy": X.T @ (g - 2 * y * g) / n,
        "fbeta": -(1 + b2) * X.T @ (y * g * S - g * tp) / S**2,
        "balanced_accuracy": -(n * X.T @ (y * g) - P_ * X.T @ g) / (2 * P_ * (n - P_)),
        "gmean": -(X.T @ (y * g) * tn + tp * X.T @ (y * g - g)) / (2 * (P_ * (n - P_) * tp * tn).sqrt()),
    }
    for metric, expected in closed.items():
        own = theta.clone().requires_grad_()
        loss = AnyLoss(metric, amplify=L, beta=2.0 if metric == "fbeta" else 1.0)(X @ own, y)
        torch.testing.assert_close(torch.autograd.grad(loss, own)[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", [*METRICS, matthews], ids=lambda metric: getattr(metric, "__name__", metric))
@pytest.mark.parametrize("from_logits", [True, False])
def test_gradients_are_those_of_differences(metric, from_logits):
    torch.manual_seed(2)
    z, y = torch.randn(12, 2, dtype=torch.float64), torch.randint(2, (12, 2))
    y[:2] = torch.tensor([[0, 1], [1, 0]])
    weight = torch.rand(12, 2, dtype=torch.float64)
    smooth = 0.0 if callable(metric) else 0.1
    loss = AnyLoss(
        metric, amplify=4.0, from_logits=from_logits, smooth=smooth, bce_share=0.3, **METRICS.get(metric, {})
    )
    given = (z if from_logits else torch.sigmoid(z)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: loss(v, y, weight), (given,))


def test_float32_has_the_gradients_of_float64():
    """Confident mistakes of both kinds keep theirs; by 1 - h alone false positives lost them from z = 1 on."""
    z = torch.tensor([3.0, -3.0, 1.5, -1.5, 0.2, -0.2, 0.0])
    y = torch.tensor([0, 1, 0, 1, 1, 0, 1])
    for metric, options in METRICS.items():
        loss = AnyLoss(metric, **options)
        single, double = gradient(loss, z, y), gradient(loss, z.double(), y)
        assert (single != 0).all()
        # Of exp(-36.5 tanh(z/2)): tanh, and the product, are off by a few units; the rest is a few operations more.
        torch.testing.assert_close(single.double(), double, rtol=(6 * 36.5 + 64) * unit(), atol=0.0)
    assert float(gradient(AnyLoss("accuracy"), z[:1], y[:1])[0]) == close(7.3e-15, rel=0.01)


def test_the_counts_are_the_batch_s_own():
    """The official listing for networks divides by the rows of the training set."""
    entries = soft_confusion(P[:4], Y[:4])
    assert float(AnyLoss("accuracy")(Z[:4], Y[:4])) == close(1.0 - float(entries.tp + entries.tn) / 4)
    assert float(AnyLoss("gmean")(Z[:4], Y[:4])) == close(1.0 - float(entries.tp / 2 * entries.tn / 2) ** 0.5)


def test_it_learns_from_p_of_one_half():
    for metric, options in METRICS.items():
        z = torch.zeros(8, dtype=torch.float64)
        slopes = gradient(AnyLoss(metric, **options), z, Y)
        assert (slopes[Y == 1] < 0).all()
        assert (slopes[Y == 0] > 0).all()


class TestColumns:
    def test_classes_are_held_against_the_rest(self):
        z, classes = torch.randn(9, 3, dtype=torch.float64), torch.arange(9) % 3
        each = [AnyLoss("gmean")(z[:, k], classes == k) for k in range(3)]
        assert AnyLoss("gmean", reduction="none")(z, classes).tolist() == close([float(v) for v in each])
        assert float(AnyLoss("gmean")(z, classes)) == close(float(sum(each)) / 3)
        labels = torch.nn.functional.one_hot(classes, 3)
        assert float(AnyLoss("gmean")(z, labels)) == float(AnyLoss("gmean")(z, classes.int()))

    def test_one_column_is_none(self):
        expected = AnyLoss()(Z, Y)
        weight = torch.ones(8)
        for z, y, w in ((Z[:, None], Y, weight[:, None]), (Z, Y[:, None], weight), (Z[:, None], Y[:, None], None)):
            assert AnyLoss()(z, y, w) == expected
        assert AnyLoss(reduction="none")(Z[:, None], Y.bool()).shape == ()

    def test_a_weight_of_zero_leaves_a_label_out(self):
        z, y = torch.stack([Z, -Z], 1), torch.stack([Y, Y], 1)
        weight = torch.ones(8, 2)
        weight[3, 0] = 0.0
        found = AnyLoss(reduction="none", bce_share=0.5)(z, y, weight)
        kept = torch.arange(8) != 3
        assert float(found[0]) == close(float(AnyLoss(bce_share=0.5)(Z[kept], Y[kept])))
        assert float(found[1]) == close(float(AnyLoss(bce_share=0.5)(-Z, Y)))


def test_a_share_of_cross_entropy_weighs_classes_equally():
    each = binary_cross_entropy_with_logits(Z, Y.double(), reduction="none")
    balanced = (each[Y == 1].mean() + each[Y == 0].mean()) / 2
    own = AnyLoss("fbeta", beta=2.0)(Z, Y)
    for z, logits in ((Z, True), (P, False)):
        found = AnyLoss("fbeta", beta=2.0, bce_share=0.25, from_logits=logits)(z, Y)
        assert float(found) == close(float(0.75 * own + 0.25 * balanced))
    with pytest.warns(UserWarning, match="no positives"):
        alone = AnyLoss(bce_share=0.5)(Z[Y == 0], Y[Y == 0])
    assert float(alone) == close(float(0.5 + 0.5 * each[Y == 0].mean())), "the class that is there"


class TestAbsentClasses:
    @pytest.mark.parametrize("metric", [m for m in METRICS if m != "accuracy"])
    @pytest.mark.parametrize("label", [0, 1])
    def test_losses_and_gradients_stay_finite(self, metric, label):
        y = torch.full((8,), label)
        loss = AnyLoss(metric, **METRICS[metric])
        known = metric in ("f1", "fbeta") and label
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            value, slopes = loss(Z, y), gradient(loss, Z, y)
        assert len(said) == (0 if known else 2)
        entries = soft_confusion(P, y)
        if metric in ("f1", "fbeta") and not label:
            assert value == 1.0
            assert not slopes.any()
            assert "no positives, and" in str(said[0].message)
            return
        assert (slopes < 0).all() if label else (slopes > 0).all()
        recall = (entries.tp if label else entries.tn) / 8
        if not known:
            squared = metric == "gmean_squared"
            assert float(value) == close(1.0 - float(recall) ** (2 if squared else 1))
            assert f"has no {'negatives' if label else 'positives'}, and {metric} needs them" in str(said[0].message)

    def test_columns_are_named_and_the_warning_points_here(self):
        with pytest.warns(UserWarning, match=r"batch of 4 has no positives in columns \[2\], and f1") as said:
            AnyLoss()(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
        assert said[0].filename == __file__

    def test_accuracy_and_functions_need_no_warning(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert float(AnyLoss("accuracy")(Z, 0 * Y)) == close(float(soft_confusion(P, 0 * Y).fp) / 8)
            assert AnyLoss(matthews)(Z, 0 * Y) == 1.0

    def test_a_function_that_is_nan_is_named(self):
        with pytest.raises(ValueError, match=r"metric is nan at tp = 0, fn = 0, .*guard its denominators"):
            AnyLoss(lambda tp, fn, fp, tn: tp / (tp + fn))(Z, 0 * Y)
        with pytest.raises(ValueError, match=r"must give shape \[\], as tp has, got \[1\]"):
            AnyLoss(lambda tp, fn, fp, tn: tp[None])(Z, Y)
        with pytest.raises(TypeError, match="must give a tensor, got float"):
            AnyLoss(lambda tp, fn, fp, tn: 0.5)(Z, Y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [73.0, 5000.0])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_probabilities_of_all_zeros_or_ones_give_no_nan(dtype, scale, value):
    p = torch.full((8,), value, dtype=dtype)
    for metric, options in METRICS.items():
        loss = AnyLoss(metric, from_logits=False, amplify=scale, **options)
        assert torch.isfinite(loss(p, Y))
        assert torch.isfinite(gradient(loss, p, Y)).all()
        assert 0.0 <= float(loss(p, Y)) <= 1.0
        z = torch.full((8,), 2e4 * (2 * value - 1), dtype=dtype)
        assert torch.isfinite(gradient(AnyLoss(metric, amplify=scale, **options), z, Y)).all()


@pytest.mark.parametrize(
    ("z", "y", "message"),
    [
        (Z.clone().fill_(math.nan), Y, "8 of 8 logits are NaN or infinite, the first nan at .0.; the model has div"),
        (Z[:0], Y[:0], "an empty batch, logits of shape .0., has no confusion matrix"),
        (Z, Y[:5], r"targets must be \[8\] of 0 and 1, .*got shape \[5\] for inputs \[8\]"),
        (Z, Y + 1, r"labels must be 0 or 1, got 2 at \[0\]"),
        (Z, Y * 0.5, r"labels must be 0 or 1, got 0.5 at \[0\]"),
        (Z, torch.full((8,), math.nan), "labels must be 0 or 1, got nan"),
        (Z.view(4, 2), torch.tensor([0, 1, 2, 1]), r"classes must be 0 to 1, got 2 at \[2\]"),
        (Z.view(4, 2), torch.tensor([0, 1, -1, 1]), r"classes must be 0 to 1, got -1 at \[2\]"),
        (Z.view(4, 2), torch.tensor([0.0, 1.0, 0.0, 1.0]), r"integers from 0 to 1; got \[4\] of torch.float32"),
        (Z.view(4, 2), torch.tensor([0, 1, 1]), r"need targets of that shape, or \[4\] integers"),
        (Z.view(4, 2), Y.view(2, 4), r"got shape \[2, 4\] for inputs \[4, 2\]"),
        (Z.view(2, 2, 2), Y, r"logits must be \[n\] or \[n, K\]"),
    ],
)
def test_bad_batches_are_named(z, y, message):
    with pytest.raises(ValueError, match=message):
        AnyLoss()(z, y)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metric": "auc"}, ValueError, "no metric 'auc'; there are f1, fbeta, accuracy"),
        ({"metric": 3}, TypeError, "a name or a function of tp, fn, fp and tn, got 3"),
        ({"beta": 2.0}, ValueError, "beta belongs to metric='fbeta', and the metric is 'f1'"),
        ({"metric": "fbeta", "beta": 0.0}, ValueError, "beta must be a number above 0"),
        ({"amplify": math.nan}, ValueError, "amplify must be a number above 0, got nan"),
        ({"smooth": -1.0}, ValueError, "smooth must be a number of at least 0"),
        ({"metric": matthews, "smooth": 1.0}, ValueError, "put it into your function"),
        ({"bce_share": 1.0}, ValueError, r"bce_share must lie in \[0, 1\), got 1.0"),
        ({"reduction": "sum"}, ValueError, "reduction must be 'mean' or 'none', got 'sum'"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        AnyLoss(**options)


def test_the_scale_may_change_between_steps_and_a_bad_one_changes_nothing():
    loss = AnyLoss("gmean", amplify=10.0)
    assert float(loss(Z, Y)) == close(0.305399, abs=1e-6)
    with pytest.raises(ValueError, match="amplify must be a number above 0"):
        loss.amplify = -1.0
    assert loss.amplify == 10.0
    loss.amplify = 73.0
    assert float(loss(Z, Y)) == close(1.0 - float(g_mean(*soft_confusion(P, Y))))
    assert not list(loss.parameters())
    assert pickle.loads(pickle.dumps(copy.deepcopy(loss)))(Z, Y) == loss(Z, Y)
    assert "metric='gmean', amplify=73" in repr(loss)


def test_half_precision_gives_a_loss_in_single_and_a_gradient_in_half():
    z = Z.bfloat16().requires_grad_()
    loss = AnyLoss()(z, Y)
    assert loss.dtype is torch.float32
    assert float(loss.detach()) == close(
        float(1 - f_beta(*soft_confusion(torch.sigmoid(z.detach().double()), Y))), abs=1e-4
    )
    assert torch.autograd.grad(loss, z)[0].dtype is torch.bfloat16
