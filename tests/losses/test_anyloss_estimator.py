"""AnyLoss: the classifier, by scikit-learn's own checks and by ours; and what the entry compares it with."""

import importlib
import pickle
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, matthews_corrcoef
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from entrokit import extras
from entrokit.losses.anyloss import AnyLoss, tune_threshold
from entrokit.losses.anyloss.estimator import AnyLossClassifier
from entrokit.papers.losses import _anyloss_arms as arms
from entrokit.papers.losses import _anyloss_networks as networks
from entrokit.papers.losses._anyloss_tasks import TASKS, Task

from .imbalanced import blobs, matthews

close = pytest.approx


@parametrize_with_checks(
    [
        AnyLossClassifier("accuracy", max_iter=4, learning_rate=0.05),
        AnyLossClassifier(hidden=3, max_iter=8, learning_rate=0.1, amplify=20.0),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_it_is_the_plain_descent_of_the_loss():
    X, y = blobs()
    model = AnyLossClassifier("gmean", max_iter=30, learning_rate=0.05).fit(X, y)
    rows = torch.from_numpy((X - X.mean(0)) / X.std(0))
    rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
    theta, curve = torch.zeros(3, dtype=torch.float64, requires_grad=True), []
    for _ in range(30):
        loss = AnyLoss("gmean")(rows @ theta, torch.from_numpy(y))
        (slope,) = torch.autograd.grad(loss, theta)
        theta = (theta - 0.05 * slope).detach().requires_grad_()
        curve.append(float(loss.detach()))
    assert model.loss_curve_ == close(curve)
    assert model.n_iter_ == 30
    assert model.decision_function(X) == close((rows @ theta).detach().numpy())
    assert model.predict_proba(X)[:, 1] == close(torch.sigmoid(rows @ theta).detach().numpy())
    assert model.decision_function(X) == close(X @ model.coefs_[0][:, 0] + model.intercepts_[0][0])


def test_more_of_the_metric_than_the_larger_class_gives():
    X, y = blobs(rows=200, share=0.1)
    for metric, score, least in (
        ("f1", f1_score, 0.4),
        ("balanced_accuracy", balanced_accuracy_score, 0.7),
        (matthews, matthews_corrcoef, 0.3),
    ):
        for hidden in (None, 4):
            model = AnyLossClassifier(metric, hidden=hidden, max_iter=30, learning_rate=0.2, random_state=0)
            assert score(y, model.fit(X, y).predict(X)) > least
            assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_a_network_learns_what_no_line_separates_and_is_its_seed_s():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = (np.abs(X[:, 0]) > 1.2).astype(int)
    options = {"hidden": 6, "max_iter": 60, "learning_rate": 0.1, "batch_size": 150}
    first = AnyLossClassifier(random_state=0, **options).fit(X, y)
    assert f1_score(y, first.predict(X)) > 0.9 > f1_score(y, AnyLossClassifier(max_iter=60).fit(X, y).predict(X))
    options["max_iter"] = 3
    one, again, other = (AnyLossClassifier(random_state=s, **options).fit(X, y) for s in (0, 0, 1))
    assert (one.decision_function(X) == again.decision_function(X)).all()
    assert not (one.decision_function(X) == other.decision_function(X)).all()
    assert [c.shape for c in first.coefs_] == [(2, 6), (6, 1)]


def test_nobody_else_s_random_numbers_are_taken():
    X, y = blobs()
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    AnyLossClassifier(hidden=2, batch_size=20, max_iter=2, random_state=0).fit(X, y)
    assert torch.equal(state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


def test_every_batch_has_its_share_of_every_class():
    target = torch.from_numpy(blobs(rows=100, share=0.2)[1])
    model = AnyLossClassifier(batch_size=25)
    model.classes_ = np.array([0, 1])
    generator = torch.Generator().manual_seed(0)
    epochs = [list(model._batches(target, generator)) for _ in range(20)]
    for batches in epochs:
        assert torch.cat(batches).sort().values.tolist() == list(range(100))
        assert all(len(b) == 25 and 4 <= int(target[b].sum()) <= 6 for b in batches)
    assert len({tuple(batches[0].sort().values.tolist()) for batches in epochs}) == 20


@pytest.mark.parametrize("hidden", [None, 3])
def test_a_weight_is_so_many_rows(hidden):
    X, y = blobs(rows=60)
    weight = np.random.default_rng(1).integers(0, 4, size=60)
    options = {"metric": "f1", "hidden": hidden, "max_iter": 25, "learning_rate": 0.05, "random_state": 0}
    weighted = AnyLossClassifier(**options).fit(X, y, sample_weight=weight)
    repeated = AnyLossClassifier(**options).fit(X.repeat(weight, axis=0), y.repeat(weight))
    assert weighted.decision_function(X) == close(repeated.decision_function(X), rel=1e-7, abs=1e-9)
    scaled = AnyLossClassifier(**options).fit(X, y, sample_weight=weight * 1e150)
    assert scaled.decision_function(X) == close(weighted.decision_function(X), rel=1e-7, abs=1e-9)


def test_classes_are_held_against_the_rest():
    rng = np.random.default_rng(0)
    y = np.array(["a", "b", "c"])[np.arange(150) % 3]
    X = rng.normal(size=(150, 2)) + 3 * np.array([[0, 0], [1, 0], [0, 1]])[np.arange(150) % 3]
    model = AnyLossClassifier(max_iter=60, learning_rate=0.15).fit(X, y)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert f1_score(y, model.predict(X), average="macro") > 0.8
    assert model.decision_function(X).shape == (150, 3)
    alone = AnyLossClassifier(max_iter=60, learning_rate=0.05).fit(X, y == "b")
    assert model.decision_function(X)[:, 1] == close(alone.decision_function(X)), "the mean is over three"
    far = model.predict_proba(X * 1e5)
    assert far.sum(1) == close(np.ones(150))
    with pytest.raises(ValueError, match="tune_threshold needs two classes, got 3"):
        clone(model).set_params(tune_threshold=True).fit(X, y)


def test_labels_go_through_scikit_learn():
    X, Y = make_multilabel_classification(60, n_features=5, n_classes=3, random_state=0)
    model = OneVsRestClassifier(AnyLossClassifier("balanced_accuracy", max_iter=20)).fit(X, Y)
    assert model.predict(X).shape == Y.shape


def test_a_tuned_threshold_is_what_predictions_use():
    X, y = blobs(rows=80, share=0.1)
    plain = AnyLossClassifier("accuracy", max_iter=20).fit(X, y)
    tuned = clone(plain).set_params(tune_threshold=True).fit(X, y)
    found = tune_threshold(torch.from_numpy(plain.decision_function(X)), torch.from_numpy(y), "accuracy")
    assert tuned.threshold_ == close(float(torch.sigmoid(found.threshold)))
    assert plain.threshold_ == 0.5
    assert (tuned.predict_proba(X) == plain.predict_proba(X)).all()
    assert (tuned.predict(X) == (plain.predict_proba(X)[:, 1] > tuned.threshold_)).all()
    assert np.mean(tuned.predict(X) == y) == close(float(found.score))
    held_out = TunedThresholdClassifierCV(plain, scoring="f1", cv=2, thresholds=20).fit(X, y)
    assert f1_score(y, held_out.predict(X)) > 0.3


def test_a_fit_that_fails_changes_nothing():
    X, y = blobs()
    model = AnyLossClassifier(max_iter=5).fit(X, y)
    before = pickle.dumps(vars(model))
    with pytest.raises(ValueError, match=r"needs two classes at least, got 1 class: \[0\]"):
        model.fit(np.ones((4, 7)), np.zeros(4, dtype=int))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((4, 7), np.nan), np.arange(4) % 2)
    assert pickle.dumps(vars(model)) == before


def test_training_that_diverges_is_no_fit():
    class Steep(AnyLossClassifier):
        def objective(self):
            return lambda z, y, weight: 1e308 * (z + 1).square().sum()

    diverging = Steep(max_iter=5)
    with pytest.raises(ValueError, match=r"diverged; lower learning_rate \(now 0.005\)"):
        diverging.fit(*blobs())
    assert not hasattr(diverging, "coefs_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden must be a whole number of at least 1, got 0"),
        ({"max_iter": 2.5}, "max_iter must be a whole number of at least 1, got 2.5"),
        ({"batch_size": True}, "batch_size must be a whole number"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"metric": "auc"}, "no metric 'auc'"),
        ({"amplify": -1.0}, "amplify must be a number above 0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        AnyLossClassifier(**options).fit(*blobs())


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "sklearn" else name)
    with pytest.raises(ImportError, match=r"estimator needs scikit-learn: pip install 'entrokit\[information\]'"):
        importlib.reload(sys.modules["entrokit.losses.anyloss.estimator"])


class TestComparison:
    def test_models_side_by_side_are_models_alone(self, monkeypatch):
        monkeypatch.setattr(arms, "FOLDS", 2)
        X, y = blobs(rows=40)
        rows, labels = torch.from_numpy(X), torch.from_numpy(y)
        weights = (torch.rand(2, 40, 4, dtype=torch.float64) < 0.8).double()
        both = torch.stack([rows, rows * 2 + 1])
        found = arms.descend(both, weights, arms.any_losses(["f1", "gmean"], labels), 0.05, steps=20)
        for fold in range(2):
            for column in range(4):
                theta, kept = torch.zeros(2, dtype=torch.float64, requires_grad=True), weights[fold, :, column] > 0
                for _ in range(20):
                    loss = AnyLoss(("f1", "gmean")[column // 2])(both[fold, kept] @ theta, labels[kept])
                    theta = (theta - 0.05 * torch.autograd.grad(loss, theta)[0]).detach().requires_grad_()
                alone = both[fold] @ theta.detach()
                torch.testing.assert_close(found[fold, :, column], alone, rtol=1e-9, atol=1e-12)

    def test_cross_entropies_by_their_weights(self):
        z, y = torch.randn(9, 1, dtype=torch.float64), torch.arange(9) % 2
        weights = torch.rand(9, 1, dtype=torch.float64)
        plain = arms.cross_entropies(y)(z, weights)
        assert plain.tolist() == close(
            [log_loss(y, torch.sigmoid(z[:, 0]).numpy(), sample_weight=weights[:, 0].numpy())]
        )
        torch.testing.assert_close(arms.focal_losses(y, gamma=0.0)(z, weights), plain)
        q = torch.where(y == 1, torch.sigmoid(z[:, 0]), torch.sigmoid(-z[:, 0]))
        focal = -(weights[:, 0] * (1 - q) ** 2 * q.log()).sum() / weights.sum()
        assert arms.focal_losses(y)(z, weights).tolist() == close([float(focal)])

    def test_a_threshold_is_tuned_on_rows_that_its_models_did_not_see(self):
        y = np.arange(60) % 3 == 0
        test = arms.parts_of(y, 3, 0)[0]
        parts = arms._inner_parts(y, test, 0)
        assert sorted(np.concatenate([test, *parts])) == list(range(60))
        logits = torch.full((60, 1 + arms.INNER), 100.0, dtype=torch.float64)
        for k, part in enumerate(parts, 1):
            logits[part, k] = torch.from_numpy(2.0 * y[part] + 4.0)
        assert float(arms._tuned(logits, torch.from_numpy(y), parts, "f1")) == 5.0

    def test_every_arm_gives_every_score(self, monkeypatch):
        monkeypatch.setattr(arms, "STEPS", 5)
        monkeypatch.setattr(networks, "EPOCHS", 3)
        monkeypatch.setattr(networks, "STEPS", 3)
        task = Task(*blobs(rows=60, share=0.3))
        found = arms.linear_arms(task, 0)
        assert {m: tuple(own) for m, own in found.items()} == dict.fromkeys(arms.SCORES, arms.ARMS)
        assert all(0.0 <= v <= 1.0 for own in found.values() for v in own.values())
        assert set(networks.networks(task, 0)["f1"]) == {"BCE", "weighted BCE", "BCE, tuned", "AnyLoss"}
        assert set(networks.perceptron(task, 0)["gmean"]) == {"BCE", "AnyLoss"}

    @pytest.mark.parametrize("name", TASKS)
    def test_tasks_are_as_imbalanced_as_they_say(self, name):
        task = TASKS[name](0)
        share = float(name.rsplit(" ", 2)[1]) / 100
        assert set(np.unique(task.y)) == {0, 1}
        # Two in a hundred labels of made ones are drawn anew, of noisy ones ten.
        assert task.y.mean() == close(share, abs=0.05 if "noisy" in name else 0.015)
        if name.startswith(("made", "close", "noisy", "wide")):
            assert not np.array_equal(task.X, TASKS[name](1).X)
