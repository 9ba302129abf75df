"""A linear model or a small network trained by `AnyLoss`, in the manner of scikit-learn (arXiv 2405.14745)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from .checks import number
from .loss import AnyLoss
from .scores import Score, score_by_name
from .threshold import tune_threshold

__all__ = ["AnyLossClassifier"]

Floats = NDArray[np.float64]
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]


class AnyLossClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier trained to maximise a metric of the confusion matrix (arXiv 2405.14745).

    Features are standardised inside. Without a hidden layer it starts from zeros and descends by plain gradient steps,
    as the paper's perceptron does. With one (tanh, where the paper has a sigmoid) the output layer starts from zeros,
    so that every row starts at p = 1/2, where the loss has a gradient, and the steps are Adam's. The paper's network
    also normalises batches; here it does not, since batch statistics would not heed sample weights. All is in float64.

    Probabilities trained in this way are not calibrated: most stay near 1/2.

    Args:
        metric: see `AnyLoss`. Of more than two classes each is held against the rest, and the mean is maximised.
        pos_label: the positive one of two classes, as scikit-learn's scorers have it; by default the second in sorted
            order, of which a fit warns where it is a text of the larger class and the metric depends on it.
        beta, amplify, smooth, bce_share: see `AnyLoss`. hidden: units of the hidden layer, or None.
        learning_rate: above 0. max_iter: epochs. batch_size: rows of a step, drawn so that every batch holds about its
            share of every class; None for all rows, which the loss prefers.
        tune_threshold: whether the threshold is tuned on the training rows afterwards, where it is a little too good;
            `sklearn.model_selection.TunedThresholdClassifierCV` around this classifier holds rows out. Two classes.
        random_state: of the hidden layer's start and of batches.

    Attributes:
        classes_, n_features_in_, feature_names_in_: as scikit-learn has them. coefs_, intercepts_: a layer each, for
        features as they were given. threshold_: of the second class's probabilities, above which it is predicted.
        n_iter_: epochs. loss_curve_: the mean loss of each.
    """

    def __init__(
        self,
        metric: str | Score = "f1",
        *,
        pos_label: Any = None,
        beta: float = 1.0,
        amplify: float = 73.0,
        smooth: float = 0.0,
        bce_share: float = 0.0,
        hidden: int | None = None,
        learning_rate: float = 0.005,
        max_iter: int = 1000,
        batch_size: int | None = None,
        tune_threshold: bool = False,
        random_state: Any = None,
    ) -> None:
        self.metric = metric
        self.pos_label = pos_label
        self.beta = beta
        self.amplify = amplify
        self.smooth = smooth
        self.bce_share = bce_share
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.tune_threshold = tune_threshold
        self.random_state = random_state

    def objective(self) -> Objective:
        """The loss of logits ``[n]`` or ``[n, K]``, targets and weights ``[n]``; a subclass may have another."""
        return AnyLoss(self.metric, beta=self.beta, amplify=self.amplify, smooth=self.smooth, bce_share=self.bce_share)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> AnyLossClassifier:
        """Trains.

        Args:
            X: ``[n, F]``. y: ``[n]`` of two classes or more. sample_weight: ``[n]``, not negative; a row of weight 2
                is two rows, and one of weight 0 none.

        Raises:
            ValueError: one class only, NaN, an option out of its range, a ``pos_label`` that is no class or of more
                than two, or training that diverged. The estimator then is as it was before.
        """
        before = dict(self.__dict__)
        try:
            with torch.inference_mode(False):
                self._fit(X, y, sample_weight)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        self._check_options()
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        counted = weight > 0
        X, y, weight = X[counted], y[counted], weight[counted]
        self.classes_, target = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"AnyLossClassifier needs two classes at least, got {len(self.classes_)} class: "
                f"{self.classes_.tolist()}"
            )
        if self.tune_threshold and len(self.classes_) > 2:
            raise ValueError(f"tune_threshold needs two classes, got {len(self.classes_)}")
        first = self._first_is_positive(np.bincount(target, weight))
        # Weights count in relation to one another; of huge or tiny ones sums would lose their digits.
        scaler = StandardScaler().fit(X, sample_weight=weight / weight.max())
        rows = torch.from_numpy(scaler.transform(X))
        positive = torch.from_numpy(1 - target if first else target)
        curve = self._train(rows, positive, torch.from_numpy(weight / weight.max()))
        if first:
            # Decisions are of the second class, as scikit-learn has them, whichever is positive.
            self.coefs_[-1], self.intercepts_[-1] = -self.coefs_[-1], -self.intercepts_[-1]
        # The standardisation goes into the first layer.
        self.coefs_[0] = self.coefs_[0] / scaler.scale_[:, None]
        self.intercepts_[0] = self.intercepts_[0] - scaler.mean_ @ self.coefs_[0]
        self.loss_curve_, self.n_iter_ = curve, len(curve)
        self._cut = 0.0
        if self.tune_threshold:
            labels, weights = torch.from_numpy(target), torch.from_numpy(weight)
            # Of logits as predictions compute them: others differ by rounding, and rows may cross the threshold.
            logits = self._forward(X)[:, 0]
            score = score_by_name(self.metric, self.beta, 0.0, "AnyLossClassifier")
            own: Score = (lambda tp, fn, fp, tn: score(tn, fp, fn, tp)) if first else score
            found = tune_threshold(torch.from_numpy(logits), labels, own, weight=weights)
            self._cut = _clear_of(logits, float(found.threshold))
        self.threshold_ = float(_sigmoid(np.array(self._cut)))

    def decision_function(self, X: Any) -> Floats:
        """``[n]`` logits, less that of the threshold, so that what is above 0 is positive; of K classes ``[n, K]``."""
        logits = self._logits(X)
        return logits if len(self.classes_) > 2 else logits[:, 0] - self._cut

    def predict_proba(self, X: Any) -> Floats:
        """``[n, K]``, rows summing to 1; of more than two classes, the classes' probabilities in proportion.

        They do not know of the threshold, and are not calibrated.
        """
        logits = self._logits(X)
        if len(self.classes_) == 2:
            return np.column_stack([_sigmoid(-logits[:, 0]), _sigmoid(logits[:, 0])])
        # In logarithms, so that a row that is unlikely to be any of the classes has a sum other than 0.
        log_p = -np.logaddexp(0.0, -logits)
        p = np.exp(log_p - log_p.max(1, keepdims=True))
        shares: Floats = p / p.sum(1, keepdims=True)
        return shares

    def predict(self, X: Any) -> NDArray[np.generic]:
        """``[n]``: the second class where the decision is above 0, or the class of the largest."""
        decision = self.decision_function(X)
        chosen = (decision > 0).astype(int) if decision.ndim == 1 else decision.argmax(1)
        found: NDArray[np.generic] = self.classes_[chosen]
        return found

    def _logits(self, X: Any) -> Floats:
        check_is_fitted(self)
        return self._forward(validate_data(self, X, dtype=np.float64, reset=False))

    def _forward(self, found: Floats) -> Floats:
        for coef, intercept in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
            found = np.tanh(found @ coef + intercept)
        found = found @ self.coefs_[-1] + self.intercepts_[-1]
        return found

    def _first_is_positive(self, counts: NDArray[Any]) -> bool:
        """Whether the first class is, of two; ``counts``: the weight of each class."""
        classes = self.classes_.tolist()
        if self.pos_label is None:
            # Numbers and truth values say which is meant.
            text = self.classes_.dtype.kind not in "biuf"
            if text and len(classes) == 2 and counts[1] > counts[0] and not self._is_symmetric():
                warnings.warn(
                    f"AnyLossClassifier: the metric is maximised for {classes[1]!r}, the second class in sorted order "
                    f"and the larger one; for {classes[0]!r} give pos_label={classes[0]!r}, else name {classes[1]!r}",
                    stacklevel=4,
                )
            return False
        if len(classes) > 2:
            raise ValueError(f"AnyLossClassifier: pos_label needs two classes, got {len(classes)}")
        if self.pos_label not in classes:
            raise ValueError(f"AnyLossClassifier: pos_label {self.pos_label!r} is no class; there are {classes}")
        return bool(self.pos_label == classes[0])

    def _is_symmetric(self) -> bool:
        """Whether the metric is the same whichever of two classes is positive."""
        score = score_by_name(self.metric, self.beta, self.smooth, "AnyLossClassifier")
        tp, fn, fp, tn = torch.tensor([3.0, 1.0, 2.0, 10.0], dtype=torch.float64)
        return bool(torch.isclose(score(tp, fn, fp, tn), score(tn, fp, fn, tp)))

    def _check_options(self) -> None:
        whole = {"max_iter": self.max_iter}
        whole |= {n: v for n, v in (("hidden", self.hidden), ("batch_size", self.batch_size)) if v is not None}
        for name, value in whole.items():
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise ValueError(f"AnyLossClassifier: {name} must be a whole number of at least 1, got {value!r}")
        if not 0.0 < number(self.learning_rate, "AnyLossClassifier: learning_rate") < np.inf:
            raise ValueError(f"AnyLossClassifier: learning_rate must be above 0, got {self.learning_rate}")

    def _train(self, X: Tensor, target: Tensor, weight: Tensor) -> list[float]:
        """Sets coefs_ and intercepts_ for standardised rows; returns the mean loss of every epoch."""
        objective = self.objective()
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        generator = torch.Generator("cpu").manual_seed(seed)
        outputs = len(self.classes_) if len(self.classes_) > 2 else 1
        widths = [X.shape[1], *([self.hidden] if self.hidden else []), outputs]
        coefs = [X.new_zeros(a, b) for a, b in pairwise(widths)]
        if self.hidden:
            coefs[0] = (
                torch.randn(coefs[0].shape, generator=generator, dtype=X.dtype, device="cpu") * (2.0 / widths[0]) ** 0.5
            )
        intercepts = [X.new_zeros(b) for b in widths[1:]]
        parameters = [p.requires_grad_() for p in (*coefs, *intercepts)]
        kind = torch.optim.Adam if self.hidden else torch.optim.SGD
        optimizer = kind(parameters, lr=self.learning_rate)

        def logits_of(rows: Tensor) -> Tensor:
            for coef, intercept in zip(coefs[:-1], intercepts[:-1], strict=True):
                rows = torch.tanh(rows @ coef + intercept)
            found = rows @ coefs[-1] + intercepts[-1]
            return found[:, 0] if outputs == 1 else found

        curve = []
        with torch.enable_grad():
            for _ in range(self.max_iter):
                losses = []
                for batch in self._batches(target, generator):
                    loss = objective(logits_of(X[batch]), target[batch], weight[batch])
                    optimizer.zero_grad()
                    torch.autograd.backward(loss)
                    optimizer.step()
                    losses.append(float(loss.detach()))
                curve.append(float(np.mean(losses)))
            logits = logits_of(X).detach()
        if not bool(torch.isfinite(logits).all()):
            raise ValueError(f"AnyLossClassifier: training diverged; lower learning_rate (now {self.learning_rate})")
        self.coefs_ = [p.detach().numpy() for p in coefs]
        self.intercepts_ = [p.detach().numpy() for p in intercepts]
        return curve

    def _batches(self, target: Tensor, generator: torch.Generator) -> Iterator[Tensor | slice]:
        rows = len(target)
        if self.batch_size is None or self.batch_size >= rows:
            yield slice(None)
            return
        # Each class is spread evenly over the epoch, in an order and from a start of its own.
        place = torch.empty(rows, dtype=torch.float64, device="cpu")
        for label in range(len(self.classes_)):
            own = (target == label).nonzero()[:, 0]
            order = torch.randperm(len(own), generator=generator, device="cpu")
            start = torch.rand((), generator=generator, dtype=torch.float64, device="cpu")
            place[own[order]] = (torch.arange(len(own), device="cpu") + start) / len(own)
        yield from torch.tensor_split(place.argsort(), -(-rows // self.batch_size))


def _clear_of(logits: Floats, cut: float) -> float:
    """The cut; where all are on one side of it, at a distance that rounding of a single row does not cross."""
    apart = 1e-6 * (float(np.ptp(logits)) or 1.0)
    if (logits > cut).all():
        return float(logits.min()) - apart
    return float(logits.max()) + apart if (logits <= cut).all() else cut


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
