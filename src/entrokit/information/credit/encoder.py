"""Features as weights of evidence, in the manner of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import ClassifierTags, Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arrays import Floats
from .binning import bins_of, counts, merged, quantile_edges, stump_edges
from .evidence import InformationValue, information_value, woe


@dataclass(frozen=True)
class WoETable:
    """The bins of a feature.

    Attributes:
        edges: upper ends of all bins but the last, ``[B]``; a bin of missing values, if there is one, comes after.
        labels, good, bad, woe, se: per bin.
    """

    edges: Floats
    labels: tuple[str, ...]
    good: Floats
    bad: Floats
    woe: Floats
    se: Floats

    @property
    def has_missing(self) -> bool:
        """Whether values were missing where it was fitted."""
        return len(self.woe) == len(self.edges) + 2


class WoEEncoder(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Weight-of-evidence encoding of numeric features for a binary target (arXiv 2509.09855).

    Args:
        bin: "stumps" (thresholds of boosted trees of depth 1), "quantile", or a list of edges for each feature.
        n_bins: of quantiles. rounds, learning_rate: of the stumps.
        min_share, min_count: least share and number of the rows in a bin; smaller ones merge. Given edges are kept.
        monotonic: of each feature 1, -1 or 0: whether the rate of bad must rise or fall with it.
        smoothing: added to every cell of a feature with an empty one. se: as for `information_value`.

    Attributes:
        classes_: the second is bad. woe_tables_: a `WoETable` for each feature. iv_: ``[F]``, information values in
        nats. evidence_: an `InformationValue` for each feature. Bins chosen on the same rows inflate it: test on
        others, with `evidence`.
    """

    def __init__(
        self,
        bin: str | Sequence[ArrayLike] = "stumps",
        *,
        n_bins: int = 10,
        rounds: int = 60,
        learning_rate: float = 0.3,
        min_share: float = 0.05,
        min_count: int = 5,
        monotonic: Sequence[int] | None = None,
        smoothing: float = 0.5,
        se: str = "full",
    ) -> None:
        self.bin = bin
        self.n_bins = n_bins
        self.rounds = rounds
        self.learning_rate = learning_rate
        self.min_share = min_share
        self.min_count = min_count
        self.monotonic = monotonic
        self.smoothing = smoothing
        self.se = se

    def fit(self, X: Any, y: Any) -> WoEEncoder:
        """Chooses bins and counts in them.

        Args:
            X: ``[n, F]``, NaN for missing. y: ``[n]`` of two classes; the larger, or later, is bad.

        Raises:
            ValueError: other classes, or an option that does not fit.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
        check_classification_targets(y)
        self.classes_, target = np.unique(y, return_inverse=True)
        if len(self.classes_) != 2:
            raise ValueError(
                f"Only binary classification is supported: WoEEncoder needs two classes, got {len(self.classes_)}"
                f" class{'es' if len(self.classes_) != 1 else ''}"
            )
        edges = self._edges(X, target)
        self.woe_tables_ = [self._table(x, target, e) for x, e in zip(X.T, edges, strict=True)]
        self.evidence_ = self.evidence(X, y)
        self.iv_ = np.array([e.iv for e in self.evidence_])
        return self

    def transform(self, X: Any) -> Floats:
        """``[n, F]`` weights of evidence in nats.

        Raises:
            ValueError: a value is missing of a feature that had none missing where it was fitted.
        """
        bins, tables = self.bins(X), self.woe_tables_
        return np.column_stack([table.woe[b] for b, table in zip(bins.T, tables, strict=True)])

    def bins(self, X: Any) -> NDArray[np.int64]:
        """The bin of every value, ``[n, F]``; raises as `transform`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        unknown = [i for i, t in enumerate(self.woe_tables_) if np.isnan(X[:, i]).any() and not t.has_missing]
        if unknown:
            raise ValueError(
                f"WoEEncoder: values are missing of features {unknown}, which had none missing where it was fitted"
            )
        found = [bins_of(x, t.edges) for x, t in zip(X.T, self.woe_tables_, strict=True)]
        return np.column_stack(found)

    def evidence(self, X: Any, y: Any) -> list[InformationValue]:
        """Information value of each feature's bins for any two classes of other rows, or of another attribute."""
        bins = self.bins(X)
        classes, target = np.unique(np.asarray(y), return_inverse=True)
        if len(classes) != 2:
            raise ValueError(f"WoEEncoder.evidence: needs two classes, got {len(classes)}")
        if len(target) != len(bins):
            raise ValueError(f"WoEEncoder.evidence: {len(bins)} rows and {len(target)} targets")
        found = []
        for own, table in zip(bins.T, self.woe_tables_, strict=True):
            good, bad = counts(own, target, len(table.woe))
            occupied = good + bad > 0
            found.append(information_value(good[occupied], bad[occupied], self.se, smoothing=self.smoothing))
        return found

    def _edges(self, X: Floats, y: NDArray[np.int64]) -> list[Floats]:
        features = X.shape[1]
        if not isinstance(self.bin, str):
            if len(self.bin) != features:
                raise ValueError(f"WoEEncoder.bin: edges of {len(self.bin)} features for {features}")
            return [np.unique(np.asarray(e, dtype=np.float64)) for e in self.bin]
        if self.bin == "stumps":
            edges = stump_edges(X, y, self.rounds, self.learning_rate, self.min_share)
        elif self.bin == "quantile":
            edges = [quantile_edges(x, self.n_bins) for x in X.T]
        else:
            raise ValueError(f"WoEEncoder.bin: must be 'stumps', 'quantile' or edges, got {self.bin!r}")
        signs = [0] * features if self.monotonic is None else list(self.monotonic)
        if len(signs) != features or not set(signs) <= {-1, 0, 1}:
            raise ValueError(f"WoEEncoder.monotonic: must be -1, 0 or 1 for each of {features} features, got {signs}")
        return [
            merged(x, y, e, self.min_share, self.min_count, sign) for x, e, sign in zip(X.T, edges, signs, strict=True)
        ]

    def _table(self, x: Floats, y: NDArray[np.int64], edges: Floats) -> WoETable:
        good, bad = counts(bins_of(x, edges), y, len(edges) + 2)
        ends = ["-inf", *(f"{e:.6g}" for e in edges), "inf"]
        labels = [f"({a}, {b}]" for a, b in pairwise(ends)] + ["missing"]
        if not np.isnan(x).any():
            good, bad, labels = good[:-1], bad[:-1], labels[:-1]
        # A bin that nobody is in, of given edges or of a feature that is always missing, says nothing.
        occupied = good + bad > 0
        evidence, se = np.zeros(len(good)), np.full(len(good), np.inf)
        evidence[occupied], se[occupied] = woe(good[occupied], bad[occupied], self.smoothing)
        return WoETable(edges, tuple(labels), good, bad, evidence, se)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = True
        tags.classifier_tags = ClassifierTags(multi_class=False)
        return tags
