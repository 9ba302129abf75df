"""The pocket policy's supervised phase: a task's demonstrations, token by token, prompts left out of the loss."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .pocket import PocketConfig

# Raise it when the model or what is below gives other weights: no file of before is then taken for what it makes.
_VERSION = 1
_LOOKED_AT = 64


def fingerprint(config: PocketConfig) -> str:
    """Of all that decides about the weights: settings, architecture, data (by the first demonstrations), version."""
    rng = random.Random(config.seed)
    own = config.demonstrations
    decides = asdict(config) | {
        "task": type(own).__name__,
        "alphabet": own.alphabet,
        "first": [own.sample(rng) for _ in range(_LOOKED_AT)],
        "version": _VERSION,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def warm_up(model: Any, tokenizer: Any, config: PocketConfig) -> Iterator[Tensor]:
    """Trains ``model`` in place, a step for every loss (a scalar) asked for; evaluation mode after the last."""
    rng = random.Random(config.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=config.learning_rate, total_steps=config.steps, pct_start=0.1
    )
    model.train()
    for _ in range(config.steps):
        inputs, labels = warm_up_batch(config, rng, tokenizer)
        loss = model(input_ids=inputs, attention_mask=(inputs != tokenizer.pad_token_id).long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        yield loss.detach()
    model.eval()


def warm_up_batch(config: PocketConfig, rng: random.Random, tokenizer: Any) -> tuple[Tensor, Tensor]:
    """Left-padded token ids ``[B, L]`` of prompt, attempt and eos, and labels that are -100 on prompt and padding."""
    texts = [config.demonstrations.sample(rng) for _ in range(config.batch)]
    rows = [tokenizer(p + s)["input_ids"] + [tokenizer.eos_token_id] for p, s in texts]
    length = max(map(len, rows))
    inputs = torch.full((len(rows), length), tokenizer.pad_token_id)
    labels = torch.full_like(inputs, -100)
    for i, (row, (prompt, _)) in enumerate(zip(rows, texts, strict=True)):
        inputs[i, length - len(row) :] = torch.tensor(row)
        labels[i, length - len(row) + len(prompt) :] = torch.tensor(row[len(prompt) :])
    return inputs, labels
