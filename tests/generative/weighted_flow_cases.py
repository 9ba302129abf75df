"""The sheet's discrete coupling: two points of the source, three of the target."""

import torch

X = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
Y = torch.tensor([[0.0, 1.0], [2.0, 0.0], [-1.0, -1.0]], dtype=torch.float64)


def every_pair():
    """All six pairs in the order of rows, ``[6, 2]`` each."""
    return X.repeat_interleave(len(Y), 0), Y.repeat(len(X), 1)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
