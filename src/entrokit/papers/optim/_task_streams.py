"""Streams of small tasks for learners of one task after another, and the learners that are put side by side."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from entrokit.optim.classp import CLASSP, EWC, accuracy_matrix, average_accuracy, diagonal_fisher

ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
CONTEXT, CHARACTERS, HELD_OUT = 8, 40_000, 8_000
# Of the standard library: what the prose, documentation of Python, is followed by.
_CODE = ("argparse", "ast", "inspect", "typing")


@dataclass(frozen=True)
class Task:
    """Inputs ``[N, ...]`` and labels ``[N]``, to learn from and to be judged on."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


@dataclass(frozen=True)
class Stream:
    """Tasks, the model that learns them, and for how long.

    Attributes:
        model: a fresh one. steps: of each task. batch: of each step.
        fisher: so many inputs of a task tell EWC which weights mattered.
    """

    tasks: tuple[Task, ...]
    model: Callable[[], nn.Module]
    steps: int
    batch: int
    fisher: int = 256


@dataclass(frozen=True)
class Learner:
    """An optimizer with its knobs, and the strength of EWC's springs, 0 without."""

    make: Callable[..., torch.optim.Optimizer]
    knobs: Mapping[str, float]
    strength: float = 0.0

    def __str__(self) -> str:
        knobs = [*self.knobs.items(), *([("λ", self.strength)] if self.strength else [])]
        return ", ".join(f"{name} {value:g}" for name, value in knobs)


@dataclass(frozen=True)
class Learnt:
    """R ``[T, T]``, b ``[T]``, and the numbers that were held for every weight beside itself and its gradient."""

    matrix: Tensor
    before: Tensor
    held: float


def grids() -> dict[str, list[Learner]]:
    """Every method with twelve settings to choose from."""

    def rates(low: float, high: float) -> list[float]:
        return [low * (high / low) ** (i / 11) for i in range(12)]

    return {
        "CLASSP": [
            Learner(CLASSP, {"lr": lr, "threshold": threshold, "eps": 1e-4})
            for lr in (0.0025, 0.01, 0.04, 0.16)
            for threshold in (0.0, 1e-6, 1e-4)
        ],
        "EWC": [
            Learner(torch.optim.SGD, {"lr": lr}, strength)
            for lr in (0.01, 0.03, 0.1)
            for strength in (1.0, 10.0, 100.0, 1000.0)
        ],
        "SGD": [Learner(torch.optim.SGD, {"lr": lr}) for lr in rates(0.003, 1.0)],
        "Adam": [Learner(torch.optim.Adam, {"lr": lr}) for lr in rates(1e-4, 0.03)],
        "Adagrad": [Learner(torch.optim.Adagrad, {"lr": lr}) for lr in rates(1e-3, 0.3)],
    }


def learn(stream: Stream, learner: Learner, seed: int) -> Learnt:
    """One model through the stream. Equal seeds have the same model and the same batches, whoever learns."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = stream.model()
    optimizer = learner.make(model.parameters(), **learner.knobs)
    ewc = EWC(model, learner.strength)
    generator = torch.Generator().manual_seed(seed)

    def train(task: Task) -> None:
        for _ in range(stream.steps):
            rows = torch.randint(len(task.x), (stream.batch,), generator=generator)
            loss = cross_entropy(model(task.x[rows]), task.y[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss + ewc.penalty() if ewc.tasks else loss)
            optimizer.step()
        # Too stiff springs throw weights to infinity, and there is nothing to hold then.
        if learner.strength and math.isfinite(float(loss.detach())):
            chosen = task.x[torch.randint(len(task.x), (stream.fisher,), generator=generator)]
            with torch.no_grad():
                drawn = torch.multinomial(model(chosen).softmax(-1), 1, generator=generator)[:, 0]
            ewc.consolidate(diagonal_fisher(model, chosen, drawn))

    with batches_known_by_heart():
        matrix, before = accuracy_matrix(stream.tasks, train, lambda task: accuracy(model, task))
    state = [v for own in optimizer.state.values() for v in own.values() if isinstance(v, Tensor) and v.dim()]
    springs = [v for parts in ewc.tasks for part in parts for v in part.values()]
    return Learnt(matrix, before, sum(v.numel() for v in state + springs) / sum(p.numel() for p in model.parameters()))


@contextmanager
def batches_known_by_heart() -> Iterator[None]:
    """Of such all gradients are below the threshold, and CLASSP warns of that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "CLASSP: no gradient")
        yield


@torch.no_grad()
def accuracy(model: nn.Module, task: Task) -> float:
    """Share of a task's held-out labels that have the largest logit."""
    return float((model(task.test_x).argmax(-1) == task.test_y).double().mean())


def tuned(stream: Callable[[int], Stream], grid: Sequence[Learner], seeds: Sequence[int]) -> Learner:
    """The setting of the highest average accuracy at the end, over seeds that nothing else is measured on."""
    streams = {seed: stream(seed) for seed in seeds}

    def score(learner: Learner) -> float:
        return sum(average_accuracy(learn(s, learner, seed).matrix) for seed, s in streams.items())

    return max(grid, key=score)


def split_digits(seed: int) -> Stream:
    """scikit-learn's digits, 8 by 8, as five tasks: which of two is it, the even or the odd one? One head for all."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("split digits need scikit-learn: pip install 'entrokit[information]'") from error
    data: Any = load_digits()
    x, y = torch.from_numpy(data.data).float() / 16.0, torch.from_numpy(data.target).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    kept, held = order[:1200], order[1200:]
    tasks = []
    for low in range(0, 10, 2):
        own, other = (part[(y[part] // 2) == low // 2] for part in (kept, held))
        tasks.append(Task(x[own], y[own] % 2, x[other], y[other] % 2))
    return Stream(
        tuple(tasks), lambda: nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2)), steps=150, batch=16
    )


class NextCharacter(nn.Module):
    """Logits ``[N, 96]`` of the character after ``[N, 8]`` others: an embedding and a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(ALPHABET), 12)
        self.hidden = nn.Linear(12 * CONTEXT, 96)
        self.head = nn.Linear(96, len(ALPHABET))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.head(torch.relu(self.hidden(self.embed(x).flatten(1))))
        return logits


def prose_then_code(seed: int) -> Stream:
    """Next characters of Python's documentation, then of its standard library: both come with Python, and differ
    between its versions."""
    texts = (prose(), code())
    return Stream(tuple(_characters(text, seed) for text in texts), NextCharacter, steps=400, batch=64)


def prose() -> str:
    """The language reference that `help()` reads from."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def code() -> str:
    """Source of modules of the standard library."""
    found = (spec.origin for name in _CODE if (spec := find_spec(name)) and spec.origin)
    return "\n".join(Path(file).read_text(encoding="utf-8") for file in found)


def _characters(text: str, seed: int) -> Task:
    number = {c: i for i, c in enumerate(ALPHABET)}
    ids = torch.tensor([number[c] for c in text if c in number])
    need = CHARACTERS + HELD_OUT + 2 * CONTEXT
    if len(ids) < need:
        raise ValueError(f"a text of {len(ids)} characters; {need} are needed")
    start = int(torch.randint(len(ids) - need + 1, (), generator=torch.Generator().manual_seed(seed)))
    windows = ids[start : start + need].unfold(0, CONTEXT + 1, 1)
    # Windows across the border between both parts are in neither.
    kept, held = windows[:CHARACTERS], windows[-HELD_OUT:]
    return Task(kept[:, :-1], kept[:, -1], held[:, :-1], held[:, -1])
