"""The architectures of Entropy-Guided Attention, small: with LayerNorm and GELU, without either, and repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from entrokit.attention.entropy import ScaledLinearFFN, TemperedAttention


@dataclass(frozen=True)
class Arm:
    """What a block has. ``ffn``: two matrices with GELU, two with nothing between them, or one scaled."""

    norm: bool
    ffn: Literal["gelu", "linear", "scaled"]
    tempered: bool = False
    weight: float = 0.0


class Block(nn.Module):
    """x + attention(norm(x)), then x + FFN(norm(x)), or the scaled FFN of x."""

    def __init__(self, arm: Arm, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) if arm.norm else nn.Identity() for _ in range(2))
        self.attention = TemperedAttention(width, heads, context)
        self.attention.softmax.requires_grad_(arm.tempered)
        self.scaled = arm.ffn == "scaled"
        between = nn.GELU() if arm.ffn == "gelu" else nn.Identity()
        self.ffn: nn.Module = (
            ScaledLinearFFN(width)
            if self.scaled
            else nn.Sequential(nn.Linear(width, 4 * width), between, nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor, entropies: list[Tensor] | None) -> Tensor:
        inside = self.norms[0](x)
        if entropies is not None:
            entropies.append(self.attention.entropy(inside))
        x = x + self.attention(inside)
        out: Tensor = self.ffn(x) if self.scaled else x + self.ffn(self.norms[1](x))
        return out


class Decoder(nn.Module):
    """Tokens ``[B, T]`` to logits ``[B, T, vocabulary]``; learnt positions."""

    def __init__(self, arm: Arm, *, vocabulary: int, width: int, heads: int, layers: int, context: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(arm, width, heads, context) for _ in range(layers))
        self.norm = nn.LayerNorm(width) if arm.norm else nn.Identity()
        self.leave = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor, entropies: list[Tensor] | None = None) -> Tensor:
        """Appends the entropies of every layer, ``[B, H, T]``, to a list that is given."""
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x, entropies)
        logits: Tensor = self.leave(self.norm(x))
        return logits

    def like_gpt2(self) -> None:
        """GPT-2's initial weights, wider by the root of its width over this one, so that products are as large."""
        width, layers = self.leave.in_features, len(self.blocks)
        scale = 0.02 * (768 / width) ** 0.5
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2 and not name.endswith("log_temperature"):
                residual = name.endswith(("leave.weight", "ffn.2.weight", "ffn.linear.weight")) and "blocks" in name
                nn.init.normal_(parameter, std=scale / (2 * layers) ** 0.5 if residual else scale)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter]) -> None:
    """A step along the gradient of ``loss``, cut to norm 1."""
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
