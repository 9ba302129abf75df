"""A small decoder without LayerNorm that learns to write a string twice, with and without the regulariser."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from entrokit.attention.entropy import EntropyRegularizer, head_entropy

from ._decoder import Arm, Decoder, descend

# Of the miniature, as its independent check has it.
STRING, LETTERS, STEPS, BATCH = 16, 12, 300, 32


def copying(seed: int, weight: float, learnable: bool = True) -> dict[str, float]:
    """A decoder without LayerNorm learns to write a random string again; accuracy there, and the smallest entropy."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        arm = Arm(norm=False, ffn="scaled", tempered=True)
        model = Decoder(arm, vocabulary=LETTERS, width=64, heads=4, layers=3, context=2 * STRING)
    regularizer = EntropyRegularizer(3, 4, 2 * STRING, weight=weight, learnable=learnable)
    strings = torch.Generator().manual_seed(seed)
    parameters = [*model.parameters(), *regularizer.parameters()]
    optimizer = torch.optim.Adam([p for p in parameters if p.requires_grad], lr=2e-3)
    for _ in range(STEPS):
        tokens = _twice(BATCH, strings)
        entropies: list[Tensor] | None = [] if weight else None
        logits = model(tokens, entropies)[:, STRING - 1 : -1]
        loss = cross_entropy(logits.flatten(0, 1), tokens[:, STRING:].flatten())
        descend(optimizer, loss if entropies is None else loss + regularizer(entropies), parameters)
    tokens = _twice(256, strings)
    seen: list[Tensor] = []
    with torch.no_grad():
        logits = model(tokens, seen)[:, STRING - 1 : -1]
    accuracy = float((logits.argmax(-1) == tokens[:, STRING:]).double().mean())
    return {"accuracy": accuracy, "smallest": float(torch.stack([head_entropy(own) for own in seen]).min())}


def _twice(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(LETTERS, (count, STRING), generator=generator).repeat(1, 2)
