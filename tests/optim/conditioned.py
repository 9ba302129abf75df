"""The sheet's matrices, and models of them."""

import torch
from torch import nn

DIAGONAL = torch.diag(torch.tensor([2.0, 1.0, 0.5]))
TWO_ROWS = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=True)
        self.head.weight = self.embed.weight


class Experts(nn.Module):
    def __init__(self, *stacks):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.stack(stacks))


def three(dtype=torch.float32):
    """The sheet's three matrices, with biases."""
    model = nn.ModuleDict({"ones": nn.Linear(2, 4), "diagonal": nn.Linear(3, 3), "two": nn.Linear(3, 2)})
    for name, matrix in (("ones", torch.ones(4, 2)), ("diagonal", DIAGONAL), ("two", TWO_ROWS)):
        model[name].weight = nn.Parameter(matrix.clone())
    return model.to(dtype)
