"""A language model of characters that names its parts as Llama does, and the Python standard library for it to read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention, silu

VOCABULARY = 128


class Norm(nn.Module):
    """Root mean square norm, one weight a channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6))


class Attention(nn.Module):
    """Causal; query heads may share heads of keys and values."""

    def __init__(self, width: int, heads: int, kv_heads: int, bias: bool) -> None:
        super().__init__()
        self.head_dim = width // heads
        self.q_proj = nn.Linear(width, width, bias=bias)
        self.k_proj = nn.Linear(width, kv_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(width, kv_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        q, k, v = (
            p(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        repeats = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
        found = scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(found.transpose(1, 2).flatten(2)), None


class MLP(nn.Module):
    """down(silu(gate) · up)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, 2 * width, bias=False)
        self.up_proj = nn.Linear(width, 2 * width, bias=False)
        self.down_proj = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))
        return found


class Block(nn.Module):
    """Attention and MLP, each behind its norm and added to what came."""

    def __init__(self, width: int, heads: int, kv_heads: int, bias: bool) -> None:
        super().__init__()
        self.input_layernorm = Norm(width)
        self.self_attn = Attention(width, heads, kv_heads, bias)
        self.post_attention_layernorm = Norm(width)
        self.mlp = MLP(width)

    def forward(self, hidden_states: Tensor) -> Tensor:
        x = hidden_states + self.self_attn(self.input_layernorm(hidden_states))[0]
        found: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return found


class CharacterLM(nn.Module):
    """Logits ``[batch, positions, 128]`` of ids ``[batch, positions]``, at most ``context`` positions."""

    def __init__(
        self,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        kv_heads: int | None = None,
        context: int = 64,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(context, width)
        self.layers = nn.ModuleList(Block(width, heads, kv_heads or heads, bias) for _ in range(layers))
        self.norm = Norm(width)
        self.lm_head = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embed_tokens(input_ids) + self.positions.weight[: input_ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.lm_head(self.norm(x))
        return logits


def next_character_loss(model: nn.Module, ids: Tensor) -> Tensor:
    """Nats a character, mean over ids ``[batch, positions + 1]``."""
    return cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


@cache
def library_text(modules: Sequence[str]) -> Tensor:
    """ASCII codes of modules of the standard library, one after the other; what is not ASCII is left out."""
    folder = Path(os.__file__).parent
    text = "\n".join((folder / f"{module}.py").read_text(encoding="utf-8") for module in modules)
    return torch.tensor([ord(c) for c in text if ord(c) < VOCABULARY])


def windows(text: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """``[count, length]`` pieces of a text, from random places."""
    starts = torch.randint(len(text) - length, (count, 1), generator=generator)
    return text[starts + torch.arange(length)]
