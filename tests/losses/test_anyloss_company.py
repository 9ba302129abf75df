"""AnyLoss: the classifier among frames, strings, searches, torch's modes and rows on their own."""

import pickle
import warnings

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from entrokit.losses.anyloss.estimator import AnyLossClassifier

from .imbalanced import blobs, matthews

QUICK = {"max_iter": 5, "learning_rate": 0.1}
NETWORK = QUICK | {"hidden": 3, "batch_size": 40, "random_state": 0}


def decisions(model, X, y):
    return model.fit(X, y).decision_function(X)


def test_a_frame_and_strings_are_rows_and_labels():
    pandas = pytest.importorskip("pandas")
    X, y = blobs()
    frame, words = pandas.DataFrame(X, columns=["first", "second"]), pandas.Series(np.where(y == 1, "yes", "no"))
    model = AnyLossClassifier(**QUICK, tune_threshold=True).fit(frame, words)
    assert model.feature_names_in_.tolist() == ["first", "second"]
    assert model.classes_.tolist() == ["no", "yes"]
    plain = AnyLossClassifier(**QUICK, tune_threshold=True).fit(X, y)
    assert ((model.predict(frame) == "yes") == plain.predict(X)).all()
    with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
        model.predict(frame.rename(columns={"first": "third"}))


@pytest.mark.parametrize("options", [QUICK, NETWORK | {"batch_size": None}])
def test_the_positive_class_may_be_the_first(options):
    X, y = blobs()
    words = np.where(y == 1, "fraud", "ok")
    options = options | {"metric": "fbeta", "beta": 2.0, "tune_threshold": True}
    model = AnyLossClassifier(pos_label="fraud", **options).fit(X, words)
    plain = AnyLossClassifier(**options).fit(X, y)
    assert model.loss_curve_ == plain.loss_curve_
    assert ((model.predict(X) == "fraud") == plain.predict(X)).all()
    # As everywhere in scikit-learn, decisions are of the second class, and columns in order of classes.
    assert model.decision_function(X) == pytest.approx(-plain.decision_function(X))
    assert model.predict_proba(X) == pytest.approx(plain.predict_proba(X)[:, ::-1])
    other = AnyLossClassifier(pos_label="ok", **options).fit(X, words)
    assert pickle.dumps(other.coefs_) == pickle.dumps(AnyLossClassifier(**options).fit(X, 1 - y).coefs_)


def test_a_larger_class_that_is_positive_by_its_name_is_warned_of():
    X, y = blobs()
    words = np.where(y == 1, "fraud", "ok")
    with pytest.warns(UserWarning, match="for 'ok', the second class .* larger one; .*give pos_label='fraud'") as found:
        AnyLossClassifier(**QUICK).fit(X, words)
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AnyLossClassifier(**QUICK, pos_label="ok").fit(X, words)
        AnyLossClassifier(**QUICK).fit(X, np.where(y == 1, "yes", "no"))
        AnyLossClassifier(**QUICK).fit(X, 1 - y)
        for metric in ("accuracy", "balanced_accuracy", "gmean", matthews):
            AnyLossClassifier(metric, **QUICK).fit(X, words)


def test_a_positive_class_that_is_none():
    X, y = blobs()
    with pytest.raises(ValueError, match=r"pos_label 'fraud' is no class; there are \['bad', 'good'\]"):
        AnyLossClassifier(pos_label="fraud").fit(X, np.where(y == 1, "bad", "good"))
    with pytest.raises(ValueError, match="pos_label needs two classes, got 3"):
        AnyLossClassifier(pos_label=0).fit(X, np.arange(len(X)) % 3)


def test_what_it_does_not_take_is_named():
    X, y = blobs()
    model = AnyLossClassifier(**QUICK).fit(X, y)
    for given, labels, weight, error, message in (
        (sparse.csr_matrix(X), y, None, TypeError, "Sparse data was passed for X, but dense data is required"),
        (X, ["all"] * len(X), None, ValueError, r"needs two classes at least, got 1 class: \['all'\]"),
        (X, y, y, ValueError, r"needs two classes at least, got 1 class: \[1\]"),
        (X, y, 0 * y, ValueError, "weights must contain at least one non-zero"),
        (X, X[:, 0], None, ValueError, "Unknown label type: continuous"),
    ):
        with pytest.raises(error, match=message):
            model.fit(given, labels, weight)
    with pytest.raises(ValueError, match="X has 1 features, but AnyLossClassifier is expecting 2"):
        model.predict(X[:, :1])
    with pytest.raises(TypeError, match="learning_rate must be a number, got 'fast'"):
        clone(model).set_params(learning_rate="fast").fit(X, y)


def test_a_feature_that_does_not_vary_does_nothing():
    X, y = blobs()
    constant = np.column_stack([X, np.full(len(X), 7.0)])
    model = AnyLossClassifier(**QUICK).fit(constant, y)
    assert model.coefs_[0][2] == 0.0
    assert model.decision_function(constant) == pytest.approx(decisions(AnyLossClassifier(**QUICK), X, y))


def test_a_search_over_its_options():
    X, y = blobs()
    search = GridSearchCV(
        make_pipeline(MinMaxScaler(), AnyLossClassifier(**QUICK)),
        {"anylossclassifier__metric": ["f1", matthews], "anylossclassifier__amplify": [10.0, 73.0]},
        scoring="f1",
        cv=2,
        error_score="raise",
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert f1_score(y, search.predict(X)) > 0.4


@pytest.mark.parametrize("options", [QUICK, NETWORK], ids=["linear", "network"])
def test_the_same_seed_is_the_same_model(options):
    X, y = blobs()
    model = AnyLossClassifier(**options)
    first = decisions(model, X, y)
    assert (decisions(model, X, y) == first).all(), "fitted again"
    assert (decisions(clone(model), X, y) == first).all()
    assert (pickle.loads(pickle.dumps(model)).decision_function(X) == first).all()
    assert (decisions(clone(model), X[:, ::-1], y) != first).any()


@pytest.mark.parametrize("options", [QUICK, NETWORK], ids=["linear", "network"])
def test_torch_s_modes_do_not_reach_it(options):
    X, y = blobs()
    options = options | {"tune_threshold": True}
    expected = decisions(AnyLossClassifier(**options), X, y)
    with torch.inference_mode():
        assert (decisions(AnyLossClassifier(**options), X, y) == expected).all()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert (decisions(AnyLossClassifier(**options), X, y) == expected).all()
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float16)
        assert (decisions(AnyLossClassifier(**options), X, y) == expected).all()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def test_a_row_alone_is_on_the_side_of_a_tuned_threshold_where_it_was():
    """Products of one row round otherwise than of many, and the least logit once fell below the cut beneath it."""
    for seed in (5, 6, 7):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(40, 5)) * 10 ** rng.uniform(-3, 3, 5) + 10 ** rng.uniform(0, 4)
        y = (rng.random(40) < 0.9).astype(int)
        y[0] = 0
        model = AnyLossClassifier(max_iter=20, tune_threshold=True).fit(X, y)
        alone = np.concatenate([model.predict(row[None]) for row in X])
        assert (alone == model.predict(X)).all()


@pytest.mark.parametrize(("label", "metric"), [(1, "f1"), (0, "accuracy")])
def test_where_one_class_is_best_the_cut_is_clear_of_all_rows(label, metric):
    X, y = np.zeros((20, 1)), np.full(20, label)
    X[:, 0], y[0] = np.arange(20) % 2, 1 - label
    model = AnyLossClassifier(metric, **QUICK, tune_threshold=True).fit(X, y)
    decided = model.decision_function(X)
    assert (model.predict(X) == label).all()
    assert np.abs(decided).min() == pytest.approx(1e-6 * np.ptp(decided), rel=1e-3)
    # Of equal logits there is no range.
    same = AnyLossClassifier(metric, **QUICK, tune_threshold=True).fit(np.zeros((20, 1)), y)
    assert np.abs(same.decision_function(X[:1] * 0)) == pytest.approx([1e-6])


def test_ties_at_the_threshold_are_negative():
    model = AnyLossClassifier(**QUICK).fit(*blobs())
    model.coefs_, model.intercepts_ = [np.array([[1.0], [0.0]])], [np.zeros(1)]
    assert model.predict([[0.0, 3.0], [1e-300, 0.0], [-1e-300, 0.0]]).tolist() == [0, 1, 0]
    assert model.predict_proba([[0.0, 3.0]]).tolist() == [[0.5, 0.5]]
