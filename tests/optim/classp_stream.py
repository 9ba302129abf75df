"""The sheet's stream of gradients, and what CLASSP makes of it."""

import torch

from entrokit.optim.classp import CLASSP

W0 = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)


GRADIENTS = torch.tensor(
    [[0.9, -0.2, 0.0, 0.6], [-0.1, 0.8, 0.3, 0.4], [0.05, 0.05, -0.05, 0.05], [1.0, -1.0, 0.5, 0.0]],
    dtype=torch.float64,
)


def trained(gradients=GRADIENTS, start=W0, **knobs):
    """The parameter after every step, and the optimizer."""
    param = start.clone().requires_grad_()
    optimizer = CLASSP([param], **{"lr": 0.1, "eps": 1e-5, **knobs})
    path = []
    for gradient in gradients:
        param.grad = gradient.clone()
        optimizer.step()
        path.append(param.detach().clone())
    return path, optimizer


def history(optimizer):
    (found,) = optimizer.consolidation().values()
    return found
