"""Ghosts of softmax: how long a step of cross-entropy may be, and what happens beyond."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from entrokit.optim.radius import RadiusClip, normalized_step
from entrokit.report import Chart, Series

from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._radius_account import CRITERION, radius_and_account

CLASSES, DIMENSIONS, POINTS = 6, 20, 600
STEPS, SPIKE, FACTOR, RATE = 200, (50, 150), 1000.0, 0.01
RATIOS = (0.1, 0.3, 0.9, 2.0, 5.0, 10.0, 30.0, 100.0)
TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_ARMS = ("plain Adam", "RadiusClip, r ≤ 1")


def miniature(budget: Budget) -> Iterator[Shown]:
    runs = {arm: [spiked(s, clipped=arm != _ARMS[0]) for s in budget.seeds] for arm in _ARMS}
    yield _spike(runs)
    yield Chart(
        f"Learning rate × {FACTOR:g} from step {SPIKE[0]} to {SPIKE[1]}",
        "step",
        "log10 of the test loss, median",
        tuple(
            Series(arm, list(range(STEPS)), np.median(np.log10([r.losses for r in own]), 0).tolist())
            for arm, own in runs.items()
        ),
    )
    steps = [single(s) for s in budget.seeds]
    yield _single(steps)
    lost = np.array([s.accuracy for s in steps])
    yield Chart(
        "One gradient step of a trained network",
        "log10 of r",
        "test accuracy lost",
        (
            Series(
                "median, least and most of the seeds",
                np.log10(RATIOS).tolist(),
                np.median(lost, 0).tolist(),
                low=lost.min(0).tolist(),
                high=lost.max(0).tolist(),
            ),
        ),
        x_line=0.0,
    )
    yield _temperature([onsets(s) for s in budget.seeds])


@dataclass
class Spiked:
    """A run through the spike: test loss and accuracy after every step, and r of every step that was taken."""

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    r: list[float] = field(default_factory=list)


def blobs(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test points of six Gaussian classes with unit noise, centres drawn from a standard normal."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, DIMENSIONS, generator=g)
    y = torch.arange(2 * POINTS) % CLASSES
    x = centres[y] + torch.randn(2 * POINTS, DIMENSIONS, generator=g)
    return x[:POINTS], y[:POINTS], x[POINTS:], y[POINTS:]


def network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(DIMENSIONS, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def spiked(seed: int, *, clipped: bool, steps: int = STEPS) -> Spiked:
    """Adam on batches of 64, its rate multiplied while the spike lasts."""
    x, y, test, truth = blobs(seed)
    model, generator, run = network(seed), torch.Generator().manual_seed(seed), Spiked()
    optimizer = RadiusClip(torch.optim.Adam(model.parameters(), lr=RATE), model, 1.0 if clipped else math.inf)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * (FACTOR if SPIKE[0] <= step < SPIKE[1] else 1.0)
        rows = torch.randint(len(x), (64,), generator=generator)
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(x[rows]), y[rows]))
        optimizer.step()
        assert optimizer.last is not None
        run.r.append(optimizer.last.r * optimizer.last.scale)
        with torch.no_grad():
            logits = model(test)
        run.losses.append(float(nn.functional.cross_entropy(logits, truth)))
        run.accuracies.append(float((logits.argmax(1) == truth).double().mean()))
    return run


@dataclass(frozen=True)
class Single:
    """Accuracy lost by one gradient step of every r, and by what the training loss was multiplied."""

    accuracy: list[float]
    loss: list[float]


def single(seed: int) -> Single:
    """Steps of r along the training loss's gradient, from a network before the spike."""
    x, y, test, truth = blobs(seed)
    model = _before_the_spike(seed, x, y)
    start = {name: p.detach() for name, p in model.named_parameters()}
    loss = nn.functional.cross_entropy(model(x), y)
    gradient = _gradient(model, loss)
    full = normalized_step(model, x, gradient)
    own, found = _accuracy(model(test), truth), Single([], [])
    for r in RATIOS:
        moved = {name: p - r / full * gradient[name] for name, p in start.items()}
        after = nn.functional.cross_entropy(functional_call(model, moved, (x,)), y)
        found.loss.append(float(after.detach()) / float(loss.detach()))
        found.accuracy.append(own - _accuracy(functional_call(model, moved, (test,)), truth))
    return found


def onsets(seed: int) -> dict[str, list[float]]:
    """Where the loss on ``z / T`` first exceeds its start along its own gradient: ln τ and ln r, a temperature each."""
    x, y, _, _ = blobs(seed)
    model = _before_the_spike(seed, x, y)
    start = {name: p.detach() for name, p in model.named_parameters()}
    found: dict[str, list[float]] = {"ln τ": [], "ln r": []}
    for temperature in TEMPERATURES:
        loss = nn.functional.cross_entropy(model(x) / temperature, y)
        gradient = _gradient(model, loss)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradient.values()))
        r_of_unit = normalized_step(model, x, {name: g / norm for name, g in gradient.items()}) / temperature
        for exponent in np.arange(-3.0, 4.0, 0.02):
            tau = 10.0**exponent
            moved = {name: p - tau / norm * gradient[name] for name, p in start.items()}
            after = nn.functional.cross_entropy(functional_call(model, moved, (x,)) / temperature, y)
            if float(after.detach()) > float(loss.detach()):
                break
        found["ln τ"].append(math.log(tau))
        found["ln r"].append(math.log(tau * r_of_unit))
    return found


def _before_the_spike(seed: int, x: Tensor, y: Tensor) -> nn.Sequential:
    model, generator = network(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(SPIKE[0]):
        rows = torch.randint(len(x), (64,), generator=generator)
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(x[rows]), y[rows]))
        optimizer.step()
    return model


def _gradient(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def _accuracy(logits: Tensor, truth: Tensor) -> float:
    return float((logits.argmax(1) == truth).double().mean())


def _spike(runs: Mapping[str, list[Spiked]]) -> Finding:
    plain, clipped = (runs[arm] for arm in _ARMS)
    loss = {arm: [r.losses[-1] for r in own] for arm, own in runs.items()}
    gained = [r.accuracies[-1] - r.accuracies[SPIKE[0] - 1] for r in clipped]
    largest = {arm: [max(r.r) for r in own] for arm, own in runs.items()}
    passed = (
        min(loss[_ARMS[0]]) > 100
        and max(loss[_ARMS[1]]) < 0.5
        and min(gained) >= -0.03
        and max(largest[_ARMS[1]]) <= 1 + 1e-6
        and min(largest[_ARMS[0]]) > 1e4
    )
    return Finding(
        "Held to r ≤ 1, Adam survives a learning rate that is 1000 times too large.",
        "every seed: test loss at the end above 100 plain, below 0.5 clipped; clipped accuracy at most 0.03 below that "
        "before the spike; largest r above 10 000 plain, at most 1 clipped",
        f"test loss {np.median(loss[_ARMS[0]]):.0f} (least {min(loss[_ARMS[0]]):.0f}) against "
        f"{np.median(loss[_ARMS[1]]):.2f} (most {max(loss[_ARMS[1]]):.2f}); accuracy {min(gained):+.3f} at least; "
        f"largest r {min(largest[_ARMS[0]]):.0f} at least against {max(largest[_ARMS[1]]):.6f}",
        bool(passed),
        "independent check: test loss 4 000 to 7 000 against 0.10 to 0.23",
        {
            "test loss, plain": loss[_ARMS[0]],
            "test loss, clipped": loss[_ARMS[1]],
            "accuracy gained since before the spike, clipped": gained,
            "accuracy at the end, plain": [r.accuracies[-1] for r in plain],
            "accuracy at the end, clipped": [r.accuracies[-1] for r in clipped],
            "largest r, plain": largest[_ARMS[0]],
            "largest r, clipped": largest[_ARMS[1]],
        },
    )


def _single(steps: list[Single]) -> Finding:
    lost = np.array([s.accuracy for s in steps])
    below = lost[:, [r < 1 for r in RATIOS]].max(1)
    beyond = lost[:, [1 <= r <= 10 for r in RATIOS]].max(1)
    return Finding(
        "One gradient step loses no accuracy below r = 1, and collapse begins between 1 and 10.",
        "every seed: less than 0.01 of test accuracy lost at r = 0.1, 0.3 and 0.9; more than 0.05 at one of 2, 5, 10",
        f"lost below 1: {below.max():+.3f} at most; between 1 and 10: {beyond.min():+.3f} at least, median "
        f"{np.median(beyond):+.3f}",
        bool((below < 0.01).all() and (beyond > 0.05).all()),
        "paper: six small networks, none below 1; collapse between 1 and 10",
        {f"accuracy lost, r = {r:g}": lost[:, i].tolist() for i, r in enumerate(RATIOS)}
        | {f"loss ratio, r = {r:g}": [s.loss[i] for s in steps] for i, r in enumerate(RATIOS)},
    )


def _temperature(found: list[dict[str, list[float]]]) -> Finding:
    spread = {name: [float(np.std(own[name])) for own in found] for name in found[0]}
    ratio = [r / t for r, t in zip(spread["ln r"], spread["ln τ"], strict=True)]
    return Finding(
        "The step at which the loss inflates varies with the temperature, and in units of the radius hardly.",
        "temperatures 0.25 to 8, every seed: the standard deviation of ln r at the onset is below half of that of ln τ",
        f"{np.median(spread['ln r']):.2f} against {np.median(spread['ln τ']):.2f}, ratio {np.median(ratio):.2f} (most "
        f"{max(ratio):.2f})",
        max(ratio) < 0.5,
        "paper: 0.992 in τ, 0.164 in r",
        {"spread of ln τ": spread["ln τ"], "spread of ln r": spread["ln r"]},
    )


def account(budget: Budget) -> Iterator[Shown]:
    yield from radius_and_account(budget)


PAPER = Paper(
    slug="ghosts-of-softmax",
    title="Ghosts of Softmax: Complex Singularities That Limit Safe Step Sizes in Cross-Entropy",
    arxiv="2603.13552",
    year=2026,
    family="optim",
    claim="Complex zeros of the partition sum cap how long a step of cross-entropy may be; one Jacobian-vector product "
    "tells the cap.",
    symptoms=("NaN", "loss explodes"),
    names=(
        "entrokit.optim.radius.RadiusClip",
        "entrokit.optim.radius.logit_spread",
        "entrokit.optim.radius.taylor_radius",
        "entrokit.optim.radius.exact_radius",
        "entrokit.optim.radius.kl_step_bounds",
        "entrokit.optim.radius.radius_callback",
        "entrokit.engines.trl.RadiusOptions",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.optim.radius import exact_radius, taylor_radius\n"
        "logits, slopes = torch.tensor([2.0, 0.0, -1.0]), torch.tensor([1.0, -1.0, 0.5])\n"
        'print("longest step", exact_radius(logits, slopes))\n'
        'print("its bound", taylor_radius(slopes.max() - slopes.min()))'
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.5,
            criterion="in every seed Adam held to r ≤ 1 survives a rate 1000 times too large, plain Adam does not; one "
            "gradient step loses no accuracy below r = 1 and 0.05 between 1 and 10; in r the onset of loss inflation "
            "depends on the temperature less than half as much as in distance",
        ),
        "account": Experiment(account, seeds=3, minutes=5, criterion=CRITERION, needs=("trl",)),
    },
)
