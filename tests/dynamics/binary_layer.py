"""A layer of binary weights with the fields of the sheet."""

import torch

from entrokit.dynamics.franz_parisi import BinaryVariationalLinear

THETA = torch.tensor([[0.5, -1.0, 0.2], [0.1, 0.8, -0.6]], dtype=torch.float64)


def layer(beta=1.5, theta=THETA):
    made = BinaryVariationalLinear(theta.shape[1], theta.shape[0], beta).to(theta.dtype)
    made.theta.data.copy_(theta)
    return made
