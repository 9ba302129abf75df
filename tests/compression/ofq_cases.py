"""What several tests of OFQ share: the sheet's matrix, and small models."""

import torch
from torch import nn

W = torch.tensor([[0.31, -0.10, 0.05, -0.75, 0.42, 0.18], [-0.02, 0.90, -0.33, 0.11, -0.58, 0.26]], dtype=torch.float64)


class FusedAttention(nn.Module):
    """As vision transformers have it."""

    def __init__(self, dim=12, num_heads=3, qkv_bias=False):
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=qkv_bias), nn.Linear(dim, dim)

    def logits(self, x):
        q, k, _ = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return q @ k.mT / q.shape[-1] ** 0.5

    def forward(self, x):
        v = self.qkv(x).chunk(3, -1)[2].unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        return self.proj((self.logits(x).softmax(-1) @ v).transpose(1, 2).flatten(2))


def mlp(dtype=torch.float32):
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 3)).to(dtype)


def learn(model, optimizer, steps, width=6):
    """Steps towards random targets; what moves is all that matters."""
    like = next(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        x = torch.randn(8, width, dtype=like.dtype)
        (model(x) - torch.randn(8, 3, dtype=like.dtype)).square().mean().backward()
        optimizer.step()
