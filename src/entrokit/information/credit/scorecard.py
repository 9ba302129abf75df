"""A scorecard: points for every bin, from a logistic regression on evidence, with features chosen to be fair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arrays import Floats
from .binning import bins_of, counts, quantile_edges
from .encoder import WoEEncoder
from .evidence import InformationValue, information_value
from .frontier import Z95, FrontPoint, pareto_front, select_features


@dataclass(frozen=True)
class Points:
    """A line of the scorecard: what a bin of a feature adds to the score."""

    feature: int
    label: str
    woe: float
    points: float


class FairScorecard(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Binned, scored and bounded in what it tells of protected attributes (arXiv 2509.09855).

    Args:
        encoder: a `WoEEncoder`, which is copied; its defaults if None.
        tau: bound on the summed information value of protected attributes, one or one each; None leaves all features
            in. probabilistic: whether each feature counts by its 95 % upper bound.
        max_features, mandatory: as for `select_features`.
        pdo, base_score, base_odds: the score rises by pdo as the odds good : bad double; it is base_score at base_odds.
        C: inverse strength of the regression's ridge; inf for none.

    Attributes:
        classes_: the second is bad. encoder_: fitted. chosen_: ``[F]`` bool. pareto_front_: where ``protected`` was
        given. points_table_: `Points` of the chosen features. score_evidence_: what the score itself says, in tenths,
        of the target (``"target"``) and of each protected attribute (by number): the bound does not bound it.
    """

    def __init__(
        self,
        encoder: WoEEncoder | None = None,
        *,
        tau: float | Sequence[float] | None = None,
        probabilistic: bool = True,
        max_features: int | None = None,
        mandatory: Sequence[int] = (),
        pdo: float = 20.0,
        base_score: float = 600.0,
        base_odds: float = 50.0,
        C: float = math.inf,
    ) -> None:
        self.encoder = encoder
        self.tau = tau
        self.probabilistic = probabilistic
        self.max_features = max_features
        self.mandatory = mandatory
        self.pdo = pdo
        self.base_score = base_score
        self.base_odds = base_odds
        self.C = C

    def fit(self, X: Any, y: Any, protected: Any = None) -> FairScorecard:
        """Bins, chooses, regresses.

        Args:
            X, y: as for `WoEEncoder`. protected: ``[n]`` or ``[n, A]``, attributes of two values each; none of them is
                a feature.

        Raises:
            ValueError: see `WoEEncoder` and `select_features`; tau without protected attributes.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
        self.encoder_ = clone(self.encoder) if self.encoder is not None else WoEEncoder()
        evidence = self.encoder_.fit(X, y).transform(X)
        self.classes_ = self.encoder_.classes_
        attributes = _attributes(protected, len(X))
        self.chosen_ = self._choose(X, attributes)
        target = np.searchsorted(self.classes_, y)
        prior = math.log(target.mean() / (1.0 - target.mean()))
        self.coef_, self.intercept_ = np.zeros(X.shape[1]), prior
        if self.chosen_.any():
            model = LogisticRegression(C=self.C, max_iter=1000).fit(evidence[:, self.chosen_], target)
            self.coef_[self.chosen_], self.intercept_ = model.coef_[0], float(model.intercept_[0])
        self.points_table_ = self._points()
        score = self.score_points(X)
        self.score_evidence_ = {"target": _of_score(score, target)}
        self.score_evidence_ |= {str(i): _of_score(score, a) for i, a in enumerate(attributes)}
        return self

    def decision_function(self, X: Any) -> Floats:
        """Log-odds of bad, ``[n]``."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        log_odds: Floats = self.encoder_.transform(X) @ self.coef_ + self.intercept_
        return log_odds

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities of both classes, ``[n, 2]``."""
        bad = 0.5 * (1.0 + np.tanh(0.5 * self.decision_function(X)))
        return np.column_stack([1.0 - bad, bad])

    def predict(self, X: Any) -> NDArray[np.generic]:
        """The likelier class, ``[n]``."""
        likelier = (self.decision_function(X) > 0).astype(int)
        found: NDArray[np.generic] = self.classes_[likelier]
        return found

    def score_points(self, X: Any) -> Floats:
        """The score ``[n]``: high for good accounts; the sum of `points_table_`'s points."""
        factor, offset = self._scale()
        return offset - factor * self.decision_function(X)

    def _scale(self) -> tuple[float, float]:
        factor = self.pdo / math.log(2.0)
        return factor, self.base_score - factor * math.log(self.base_odds)

    def _choose(self, X: Floats, attributes: list[NDArray[np.int64]]) -> NDArray[np.bool_]:
        self.pareto_front_: list[FrontPoint] = []
        self.iv_protected_ = np.empty((0, X.shape[1]))
        if not attributes:
            if self.tau is not None:
                raise ValueError("FairScorecard: tau bounds what is told of protected attributes; give fit(protected=)")
            return np.ones(X.shape[1], dtype=bool)
        found = [self.encoder_.evidence(X, a) for a in attributes]
        self.iv_protected_ = np.array([[e.iv for e in own] for own in found])
        se = np.array([[e.se for e in own] for own in found]) if self.probabilistic else None
        fixed: dict[str, Any] = {"max_features": self.max_features, "mandatory": self.mandatory, "z": Z95}
        iv = self.encoder_.iv_
        self.pareto_front_ = pareto_front(iv, self.iv_protected_, se_protected=se, **fixed)
        if self.tau is None:
            return np.ones(X.shape[1], dtype=bool)
        return select_features(iv, self.iv_protected_, self.tau, se_protected=se, **fixed).chosen

    def _points(self) -> list[Points]:
        factor, offset = self._scale()
        used = np.nonzero(self.chosen_)[0]
        return [
            Points(
                int(f),
                label,
                float(evidence),
                float(-factor * (self.coef_[f] * evidence + self.intercept_ / len(used)) + offset / len(used)),
            )
            for f in used
            for label, evidence in zip(
                self.encoder_.woe_tables_[f].labels, self.encoder_.woe_tables_[f].woe, strict=True
            )
        ]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_class = False
        return tags


def _attributes(protected: Any, n: int) -> list[NDArray[np.int64]]:
    if protected is None:
        return []
    given = np.asarray(protected)
    columns = given[:, None] if given.ndim == 1 else given
    if columns.ndim != 2 or len(columns) != n:
        raise ValueError(f"FairScorecard: protected must be [{n}] or [{n}, A], got {given.shape}")
    found = []
    for i, column in enumerate(columns.T):
        values, codes = np.unique(column, return_inverse=True)
        if len(values) != 2:
            raise ValueError(f"FairScorecard: protected attribute {i} must have two values, it has {len(values)}")
        found.append(codes.astype(np.int64))
    return found


def _of_score(score: Floats, y: NDArray[np.int64]) -> InformationValue:
    edges = quantile_edges(score, 10)
    good, bad = counts(bins_of(score, edges), y, len(edges) + 1)
    return information_value(good, bad, smoothing=0.5)
