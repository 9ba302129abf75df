"""What the entry of OFQ is measured on: a vision transformer of 10 000 weights on scikit-learn's digits.

As the paper trains: from the weights of a float model, which stays as the teacher (cross-entropy to labels and to its
softmax at temperature 1, added); AdamW, cosine to a last learning rate, then more steps at that rate, with annealing or
without; first layer and head at 8 bits by LSQ; activations of the blocks in as many bits as weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from entrokit.compression.ofq import (
    ActivationQuantizer,
    ConfidenceGuidedAnnealing,
    OscillationMonitor,
    QKReparamAttention,
    code_entropy_bits,
    quantize_model,
    quantized_weights,
)

TRAIN, BATCH, TOKENS = 1200, 60, 16
DIM, HEADS, DEPTH, HIDDEN = 24, 3, 2, 48
FLOAT_EPOCHS, EPOCHS, LAST_EPOCHS, WARM_UP = 40, 16, 6, 1
LEARNING_RATE, LAST_RATE, DECAY = 2e-3, 4e-5, 0.05
BOUNDARY_RANGE = 0.005
ENDS = ["embed", "head"]


class Attention(nn.Module):
    """Of queries and keys without biases; activations quantised if asked for."""

    def __init__(self, bits: int | None) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM, bias=False), nn.Linear(DIM, DIM)
        self.input, self.q, self.k, self.output = (_activations(bits, TOKENS, DIM) for _ in range(4))
        self.v = nn.Identity() if bits is None else ActivationQuantizer(bits, DIM, DIM, dim=-1)
        self.attention = nn.Identity() if bits is None else ActivationQuantizer(bits, TOKENS, signed=False)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(self.input(x)).chunk(3, -1)
        q, k, v = (t.view(B, N, HEADS, -1).transpose(1, 2) for t in (self.q(q), self.k(k), self.v(v)))
        attention = self.attention((q @ k.mT / math.sqrt(C // HEADS)).softmax(-1))
        return self.proj(self.output((attention @ v).transpose(1, 2).reshape(B, N, C)))  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self, bits: int | None) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.attn: nn.Module = Attention(bits)
        self.fc1, self.fc2 = nn.Linear(DIM, HIDDEN), nn.Linear(HIDDEN, DIM)
        self.into1, self.into2 = _activations(bits, TOKENS, DIM), _activations(bits, TOKENS, HIDDEN, signed=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        hidden = nn.functional.gelu(self.fc1(self.into1(self.norm2(x))))
        return x + self.fc2(self.into2(hidden))  # type: ignore[no-any-return]


class DigitsViT(nn.Module):
    """Digits ``[B, 8, 8]`` to logits ``[B, 10]``, by patches of 2 × 2."""

    def __init__(self, bits: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Linear(4, DIM)
        self.positions = nn.Parameter(0.02 * torch.randn(TOKENS, DIM))
        self.blocks = nn.Sequential(*(Block(bits) for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, 10)

    def forward(self, x: Tensor) -> Tensor:
        patches = x.view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, TOKENS, 4)
        x = self.embed(patches) + self.positions
        return self.head(self.norm(self.blocks(x)).mean(1))  # type: ignore[no-any-return]


def _activations(bits: int | None, steps: int, features: int, *, signed: bool = True) -> nn.Module:
    return nn.Identity() if bits is None else ActivationQuantizer(bits, steps, features, signed=signed)


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits in [0, 1], in an order of the seed; the first 1200 are learnt, 597 held out."""

    x: Tensor
    y: Tensor

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.split(torch.randperm(TRAIN, generator=generator), BATCH):
            yield self.x[rows], self.y[rows]

    @torch.no_grad()
    def accuracy(self, model: nn.Module) -> float:
        model.eval()
        right = model(self.x[TRAIN:]).argmax(1) == self.y[TRAIN:]
        model.train()
        return float(right.double().mean())


def digits(seed: int) -> Digits:
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(seed))
    return Digits(torch.from_numpy(data.images).float()[order] / 16.0, torch.from_numpy(data.target)[order])


def float_model(data: Digits, seed: int) -> DigitsViT:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = DigitsViT()
    _train(model, None, data, seed, FLOAT_EPOCHS)
    return model


def student(teacher: DigitsViT, bits: int, method: str) -> DigitsViT:
    """The teacher in low bits, not yet trained on: ``ste``, ``lsq``, ``statsq``, or ``qkr``, StatsQ and QKR."""
    model = DigitsViT(bits)
    model.load_state_dict(teacher.state_dict(), strict=False)
    if method == "qkr":
        for block in model.blocks:
            assert isinstance(block, Block)
            block.attn = QKReparamAttention.from_attention(block.attn, bits, activation_bits=bits, tokens=TOKENS)
    quantize_model(model, bits, method="statsq" if method == "qkr" else method, skip=ENDS)
    quantize_model(model, 8, method="lsq", layers=ENDS)
    return model


@dataclass(frozen=True)
class Trained:
    """Of one student: accuracy on held-out digits; shares of weights that oscillate at the end of the cosine, and at
    the end of the last phase; entropy of codes, in bits, mean over weights; and the share that oscillates after every
    epoch of the last phase."""

    accuracy: float
    before: float
    after: float
    entropy: float
    course: tuple[float, ...]


def learn(teacher: DigitsViT, data: Digits, seed: int, bits: int, method: str) -> dict[str, Trained]:
    """Trains a student; with StatsQ the last phase is run twice from the same state, once of them annealed (``+cga``).

    The monitors watch the blocks' weights alone.
    """
    model = student(teacher, bits, method)
    monitor = OscillationMonitor(model.blocks)
    optimizer = _train(model, teacher, data, seed, EPOCHS, monitor)
    state = copy.deepcopy((model.state_dict(), optimizer.state_dict(), monitor.state_dict()))
    before = monitor.share()
    found = {}
    for name in (method, f"{method}+cga") if method in ("statsq", "qkr") else (method,):
        model.load_state_dict(state[0])
        optimizer.load_state_dict(copy.deepcopy(state[1]))
        monitor.load_state_dict(state[2])
        annealed = name.endswith("+cga")
        with (
            ConfidenceGuidedAnnealing(model, optimizer, BOUNDARY_RANGE, layers="blocks.*")
            if annealed
            else nullcontext()
        ):
            course = _last(model, teacher, optimizer, data, seed, monitor)
        entropy = [code_entropy_bits(w.codes(), bits) for w in quantized_weights(model.blocks).values()]
        found[name] = Trained(data.accuracy(model), before, monitor.share(), sum(entropy) / len(entropy), tuple(course))
    return found


def _train(
    model: DigitsViT,
    teacher: DigitsViT | None,
    data: Digits,
    seed: int,
    epochs: int,
    monitor: OscillationMonitor | None = None,
) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    generator, steps = torch.Generator().manual_seed(seed), epochs * TRAIN // BATCH
    warm = WARM_UP * TRAIN // BATCH
    step = 0
    for _ in range(epochs):
        for x, y in data.batches(generator):
            half = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
            rate = LAST_RATE + (LEARNING_RATE - LAST_RATE) * half
            optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / warm)
            _step(model, teacher, optimizer, x, y)
            if monitor is not None:
                monitor.update()
            step += 1
    return optimizer


def _last(
    model: DigitsViT,
    teacher: DigitsViT,
    optimizer: torch.optim.Optimizer,
    data: Digits,
    seed: int,
    monitor: OscillationMonitor,
) -> list[float]:
    generator, course = torch.Generator().manual_seed(10_000 + seed), []
    optimizer.param_groups[0]["lr"] = LAST_RATE
    for _ in range(LAST_EPOCHS):
        for x, y in data.batches(generator):
            _step(model, teacher, optimizer, x, y)
            monitor.update()
        course.append(monitor.share())
    return course


def _step(model: DigitsViT, teacher: DigitsViT | None, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    logits = model(x)
    loss = cross_entropy(logits, y)
    if teacher is not None:
        with torch.no_grad():
            soft = teacher(x).softmax(1)
        loss = loss + cross_entropy(logits, soft)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
