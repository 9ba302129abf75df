"""What the entry of PLD is measured on: students of one teacher, from the same weights and with the same batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from entrokit.distributions import entropy, kl_divergence
from entrokit.losses.pld import dist_loss, dkd_loss, kd_loss, pld_loss

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of student logits, teacher logits and labels."""

METHODS: Mapping[str, Loss] = {
    "CE": lambda student, teacher, target: cross_entropy(student, target),
    "KD": kd_loss,
    "DIST": dist_loss,
    "DKD": dkd_loss,
    "PLD": pld_loss,
    "ListMLE": lambda student, teacher, target: pld_loss(student, teacher, target, weights="uniform"),
    "P-ListMLE": lambda student, teacher, target: pld_loss(student, teacher, target, weights="plistmle"),
}


def at_temperature(tau: float) -> Loss:
    """PLD with a softened teacher."""
    return partial(pld_loss, temperature=tau)


@dataclass(frozen=True)
class World:
    """Inputs and labels: of the teacher, of the students, and held out."""

    teacher: tuple[Tensor, Tensor]
    students: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Training:
    """Adam's rate and steps, and rows a batch."""

    rate: float
    steps: int
    batch: int


@dataclass(frozen=True)
class Scores:
    """Of a student on held-out inputs.

    Attributes:
        accuracy: share of labels that are its likeliest class. tau: Kendall's, of its order of classes with the
            teacher's, mean over inputs. divergence: KL(teacher ‖ student), nats.
    """

    accuracy: float
    tau: float
    divergence: float


@dataclass(frozen=True)
class Taught:
    """What a teacher gives its students.

    Attributes:
        model: the teacher. accuracy: on held-out inputs. label_weight: its mean probability of the label on the
            students' inputs, α_1 of PLD. entropy: its mean entropy there, nats.
    """

    model: nn.Module
    accuracy: float
    label_weight: float
    entropy: float


def perceptron(inputs: int, hidden: int, classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def random_network_world(seed: int) -> World:
    """Gaussian inputs of 20 dimensions, labels drawn from the softmax of a random network over 20 classes."""
    g = torch.Generator().manual_seed(seed)
    first, second = torch.randn(20, 40, generator=g), torch.randn(40, 20, generator=g)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(count, 20, generator=g)
        logits = 1.5 * torch.tanh(1.5 * x @ first / 20**0.5) @ second
        return x, torch.multinomial(logits.softmax(1), 1, generator=g).squeeze(1)

    return World(draw(20_000), draw(600), draw(3_000))


def digits_world(seed: int, taught: int, learnt: int) -> World:
    """scikit-learn's digits in an order of the seed: disjoint ones for the teacher, its students, and held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(seed))
    x, y = torch.from_numpy(data.data).float()[order] / 16.0, torch.from_numpy(data.target)[order]
    first, second, rest = slice(taught), slice(taught, taught + learnt), slice(taught + learnt, None)
    return World((x[first], y[first]), (x[second], y[second]), (x[rest], y[rest]))


def teach(world: World, model: nn.Module, training: Training, seed: int) -> Taught:
    """Trains a teacher on its own examples by cross-entropy."""
    _train(model, METHODS["CE"], *world.teacher, None, training, seed)
    with torch.no_grad():
        logits, labels = model(world.students[0]), world.students[1]
        accuracy = _accuracy(model(world.held_out[0]), world.held_out[1])
        weight = logits.softmax(1).gather(1, labels[:, None]).mean()
        return Taught(model, accuracy, float(weight), float(entropy(logits, from_logits=True).mean()))


def distil(world: World, taught: Taught, student: nn.Module, loss: Loss, training: Training, seed: int) -> Scores:
    """Trains a student on its examples and the teacher's logits of them, and scores it."""
    with torch.no_grad():
        theirs, expected = taught.model(world.students[0]), taught.model(world.held_out[0])
    _train(student, loss, *world.students, theirs, training, seed)
    with torch.no_grad():
        logits = student(world.held_out[0])
    divergence = float(kl_divergence(expected, logits, from_logits=True).mean())
    return Scores(_accuracy(logits, world.held_out[1]), kendall(logits, expected), divergence)


def kendall(a: Tensor, b: Tensor) -> float:
    """Kendall's τ between orders of classes, mean over rows of ``[N, C]``; a tie counts 0."""
    pairs = torch.triu_indices(a.shape[1], a.shape[1], 1)
    signs = [(x[:, pairs[0]] - x[:, pairs[1]]).sign() for x in (a, b)]
    return float((signs[0] * signs[1]).mean(dtype=torch.float64))


def _train(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, theirs: Tensor | None, training: Training, seed: int
) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=training.rate)
    batches = torch.Generator().manual_seed(seed)
    for _ in range(training.steps):
        rows = torch.randint(len(x), (training.batch,), generator=batches)
        logits = model(x[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss(logits, logits.detach() if theirs is None else theirs[rows], y[rows]))
        optimizer.step()


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())
