"""Worked examples of AnyLoss, and small imbalanced data."""

import numpy as np
import torch

Y = torch.tensor([1, 0, 0, 1, 0, 0, 0, 1])
P = torch.tensor([0.62, 0.48, 0.10, 0.47, 0.53, 0.30, 0.505, 0.90], dtype=torch.float64)
METRICS = {
    "accuracy": {},
    "f1": {},
    "fbeta": {"beta": 2.0},
    "gmean": {},
    "gmean_squared": {},
    "balanced_accuracy": {},
}


def matthews(tp, fn, fp, tn):
    """The correlation of Matthews, 0 where a row or a column of the matrix is empty."""
    square = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return torch.where(square > 0, (tp * tn - fp * fn) / torch.where(square > 0, square, 1.0).sqrt(), 0.0)


def blobs(rows=120, share=0.2, seed=0):
    """Two features of which the first tells; ``share`` of the rows are 1."""
    rng = np.random.default_rng(seed)
    y = (np.arange(rows) < share * rows).astype(int)
    X = rng.normal(size=(rows, 2)) + np.outer(y, [1.5, 0.0])
    return X, y
