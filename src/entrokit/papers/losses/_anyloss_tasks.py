"""Twelve imbalanced tasks of two classes that come with scikit-learn, or that it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Task:
    """Features ``[n, F]``, and labels ``[n]`` of 0 and 1, the rarer class being 1."""

    X: NDArray[np.float64]
    y: NDArray[np.int64]


def _kind(loader: str, label: int) -> Callable[[int], Task]:
    """One class of a data set against its others; the same for every seed."""

    def load(seed: int) -> Task:
        from sklearn import datasets

        data: Any = getattr(datasets, loader)()
        return Task(np.asarray(data.data, dtype=np.float64), (data.target == label).astype(np.int64))

    return load


def _worst(share: float) -> Callable[[int], Task]:
    """Patients of diabetes whose disease went furthest within a year."""

    def load(seed: int) -> Task:
        from sklearn import datasets

        data: Any = datasets.load_diabetes()
        return Task(data.data, (data.target > np.quantile(data.target, 1.0 - share)).astype(np.int64))

    return load


def made(share: float, **options: Any) -> Callable[[int], Task]:
    """`make_classification`, drawn anew for every seed: 600 rows of 10 features unless told otherwise."""

    def draw(seed: int) -> Task:
        from sklearn.datasets import make_classification

        given = {"n_samples": 600, "n_features": 10, "n_informative": 5, "n_redundant": 2, "class_sep": 0.8}
        X, y = make_classification(**{**given, "flip_y": 0.02, **options}, weights=[1.0 - share], random_state=seed)
        return Task(X, y.astype(np.int64))

    return draw


TASKS: dict[str, Callable[[int], Task]] = {
    "cancer 37 %": _kind("load_breast_cancer", 0),
    "wine 27 %": _kind("load_wine", 2),
    "iris 33 %": _kind("load_iris", 1),
    "digit 8, 10 %": _kind("load_digits", 8),
    "diabetes 20 %": _worst(0.2),
    "diabetes 10 %": _worst(0.1),
    "made 3 %": made(0.03),
    "made 7 %": made(0.07),
    "made 15 %": made(0.15),
    "close 25 %": made(0.25, class_sep=0.5),
    "noisy 7 %": made(0.07, flip_y=0.1),
    "wide 10 %": made(0.1, n_samples=400, n_features=40),
}
