"""PLD: whether a teacher's ranking teaches more than its label, its probabilities or its correlations."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from entrokit.report import Chart, Series

from ..claims import judge_interval
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._distilled import (
    METHODS,
    Loss,
    Scores,
    Taught,
    Training,
    at_temperature,
    digits_world,
    distil,
    perceptron,
    random_network_world,
    teach,
)

TEMPERATURES = (0.5, 1.5, 2.0, 4.0)
TEACHING, LEARNING = Training(2e-3, 1500, 256), Training(3e-3, 600, 128)
DIGITS_TEACHING, DIGITS_LEARNING = Training(2e-3, 600, 128), Training(3e-3, 600, 64)
TAUGHT, LEARNT = 1000, 200

Found = Mapping[str, Sequence[Scores]]
"""By method, a seed each."""


def miniature(budget: Budget) -> Iterator[Shown]:
    losses = {**METHODS, **{f"PLD, τ = {tau:g}": at_temperature(tau) for tau in TEMPERATURES}}
    found: dict[str, list[Scores]] = {name: [] for name in losses}
    teachers = []
    for seed in budget.seeds:
        world = random_network_world(seed)
        teachers.append(teach(world, perceptron(20, 256, 20, seed), TEACHING, seed))
        for name, loss in losses.items():
            student = perceptron(20, 24, 20, seed + 1000)
            found[name].append(distil(world, teachers[-1], student, loss, LEARNING, seed))
    claim, same = (
        "PLD beats cross-entropy without a teacher by 0.05 and more.",
        "independent check of the same miniature",
    )
    yield _more(found, "accuracy", "CE", claim, 0.05, reference=f"{same}, 3 seeds: +.108, +.100, +.083")
    claim = "PLD orders classes as the teacher does, more than cross-entropy by 0.08."
    yield _more(found, "tau", "CE", claim, 0.08, reference=f"{same}, 3 seeds: +.127, +.121, +.134")
    yield from _peers(found)
    for other, paper in (("ListMLE", "77.30 against 74.11"), ("P-ListMLE", "77.30 against 76.60")):
        claim = f"The teacher's probabilities weigh places better than {other} does."
        yield _more(found, "accuracy", other, claim, reference=f"ImageNet, ResNet-50: {paper}")
    claim = "A teacher that is not softened teaches more than one at τ = 4."
    yield _more(found, "accuracy", "PLD, τ = 4", claim, reference="ImageNet, ResNet-50: 77.30 against 75.22")
    yield _nearer(found)
    yield _teacher(teachers, found)
    yield _chart("accuracy on held-out inputs", found, "accuracy", METHODS)
    yield _chart("Kendall's τ with the teacher", found, "tau", METHODS)
    yield _softened(found)


def digits(budget: Budget) -> Iterator[Shown]:
    found: dict[str, list[Scores]] = {name: [] for name in METHODS}
    teachers = []
    for seed in budget.seeds:
        world = digits_world(seed, TAUGHT, LEARNT)
        teachers.append(teach(world, perceptron(64, 256, 10, seed), DIGITS_TEACHING, seed))
        for name, loss in METHODS.items():
            student = perceptron(64, 16, 10, seed + 1000)
            found[name].append(distil(world, teachers[-1], student, loss, DIGITS_LEARNING, seed))
    yield _more(found, "accuracy", "CE", "PLD beats cross-entropy without a teacher.")
    yield from _peers(found)
    yield _teacher(teachers, found)
    yield _chart("accuracy on held-out digits", found, "accuracy", METHODS)


def _peers(found: Found) -> Iterator[Finding]:
    for other, paper in (
        ("KD", "ImageNet: PLD +1.04 on average; CIFAR-100, four pairs: +1.06, +0.83, +1.86, +1.55"),
        ("DIST", "ImageNet: PLD +0.42 on average; CIFAR-100, four pairs: +0.76, +0.62, +0.76, +1.18"),
        ("DKD", "CIFAR-100, four pairs: PLD +0.28, +2.48, +0.89, -1.35"),
    ):
        yield _more(found, "accuracy", other, f"PLD ends with a higher accuracy than {other}.", reference=paper)


def _of(found: Found, name: str, what: str) -> list[float]:
    return [getattr(one, what) for one in found[name]]


def _more(found: Found, what: str, other: str, claim: str, bound: float = 0.0, *, reference: str = "") -> Finding:
    own, against = _of(found, "PLD", what), _of(found, other, what)
    words = {"accuracy": "held-out accuracy", "tau": "Kendall's τ with the teacher"}[what]
    raw = {"PLD": own, other: against}
    return judge_interval(
        claim, f"{words} of PLD minus {other}", "", own, against, raw, above=True, bound=bound, reference=reference
    )


def _nearer(found: Found) -> Finding:
    own, against = _of(found, "KD", "divergence"), _of(found, "PLD", "divergence")
    return judge_interval(
        "KD ends nearer to the teacher's probabilities than PLD.",
        "KL(teacher ‖ student) on held-out inputs, KD minus PLD",
        "nats",
        own,
        against,
        {"KD": own, "PLD": against},
        above=False,
        reference="usually so in the paper's figures",
    )


def _teacher(teachers: Sequence[Taught], found: Found) -> Finding:
    accuracy, students = [one.accuracy for one in teachers], _of(found, "CE", "accuracy")
    weights, doubts = [one.label_weight for one in teachers], [one.entropy for one in teachers]
    finding = judge_interval(
        "There is something to learn from the teacher.",
        "held-out accuracy of the teacher minus that of the student without one",
        "",
        accuracy,
        students,
        {"teacher": accuracy, "CE": students, "mean weight of the label": weights, "mean entropy (nats)": doubts},
        above=True,
    )
    on_students = (
        f"; on the students' inputs it weighs the label {statistics.fmean(weights):.3f} on average, at an entropy of "
        f"{statistics.fmean(doubts):.3f} nats"
    )
    return replace(finding, measured=finding.measured + on_students)


def _chart(title: str, found: Found, what: str, names: Mapping[str, Loss]) -> Chart:
    return Chart(
        f"{title[0].upper()}{title[1:]}",
        "bars: standard errors over seeds",
        {"accuracy": "accuracy", "tau": "τ"}[what],
        tuple(_bar(name, [name], [_of(found, name, what)]) for name in names),
    )


def _softened(found: Found) -> Chart:
    at = {1.0: "PLD", **{tau: f"PLD, τ = {tau:g}" for tau in TEMPERATURES}}
    taus = sorted(at)
    own = _bar("PLD", taus, [_of(found, at[tau], "accuracy") for tau in taus], marks=False)
    return Chart("PLD by the teacher's temperature", "τ; bars: standard errors over seeds", "accuracy", (own,))


def _bar(name: str, x: Sequence[float | str], values: Sequence[Sequence[float]], *, marks: bool = True) -> Series:
    means = [statistics.fmean(own) for own in values]
    errors = [statistics.stdev(own) / len(own) ** 0.5 for own in values]
    low, high = ([m + sign * e for m, e in zip(means, errors, strict=True)] for sign in (-1, 1))
    return Series(name, x, means, marks=marks, low=low, high=high)


PAPER = Paper(
    slug="pld",
    title="PLD: A Choice-Theoretic List-Wise Knowledge Distillation",
    arxiv="2506.12542",
    year=2025,
    family="losses: distillation",
    claim="One loss of a teacher's ranking, weighted by its probabilities, replaces cross-entropy and a tuned "
    "distillation term.",
    names=(
        "entrokit.losses.pld.pld_loss",
        "entrokit.losses.pld.PLDLoss",
        "entrokit.losses.pld.teacher_optimal_permutation",
        "entrokit.losses.pld.linear_pld_loss",
        "entrokit.losses.pld.topk_pld_loss",
        "entrokit.losses.pld.kd_loss",
        "entrokit.losses.pld.dist_loss",
        "entrokit.losses.pld.dkd_loss",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.losses.pld import pld_loss, teacher_optimal_permutation\n"
        "teacher, label = torch.tensor([[2.0, 1.0, 0.5, -1.0]]), torch.tensor([1])\n"
        'print("to be learnt", teacher_optimal_permutation(teacher, label))\n'
        "print(pld_loss(teacher, teacher, label), pld_loss(-teacher, teacher, label))"
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=3.0,
            criterion="accuracy 0.05 and Kendall's τ 0.08 above cross-entropy, and accuracy above KD, DIST, DKD, both "
            "ListMLEs and τ = 4, each by a 95 % Student interval",
        ),
        "digits": Experiment(
            digits,
            seeds=8,
            minutes=2.0,
            criterion="on scikit-learn's digits, a student with 200 labels: accuracy above cross-entropy, KD, DIST and "
            "DKD, each by a 95 % Student interval",
            needs=("information",),
        ),
    },
)
