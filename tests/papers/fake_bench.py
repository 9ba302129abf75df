"""A bench whose courses are written by hand, so that verdicts can be checked without training."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from entrokit.diagnose import Course
from entrokit.papers import Budget


def course(entropy_at_half, final=1.0, speed=1.0):
    """Accuracy rises along a line from 0 to ``final``; entropy passes the given value at accuracy 0.5."""
    accuracy = np.linspace(0.0, final, 21)
    return Course(np.arange(21) / speed, entropy_at_half + 0.5 - accuracy, accuracy)


@dataclass
class FakeBench:
    name: str = "tabular"
    level: float = 0.5
    seeds: tuple[int, ...] = (0, 1, 2)
    given: dict = field(default_factory=dict)

    def courses(self, *specs):
        return {s: self.given.get(s) or [course(1.0 + 0.01 * seed) for seed in self.seeds] for s in specs}


@dataclass(frozen=True)
class FakeRun:
    """A run whose every metric is the same number throughout."""

    value: float
    folder: Path = Path("nowhere")

    def series(self, name):
        return [0, 1], [self.value, self.value]


@dataclass
class FakePocket(FakeBench):
    """``given_runs``: values of every metric, one a seed, by recipe; 0.5 by default."""

    name: str = "pocket"
    given_runs: dict = field(default_factory=dict)

    def runs(self, *specs):
        return {s: [FakeRun(v) for v in self.given_runs.get(s, [0.5] * len(self.seeds))] for s in specs}


@dataclass(frozen=True)
class FakeBudget(Budget):
    """Gives the same bench whatever is asked for; ``opened`` tells what was."""

    seeds: tuple[int, ...] = (0, 1, 2)
    fake: FakeBench = field(default_factory=FakeBench)
    opened: list[str] = field(default_factory=list)

    def tabular(self):
        self.opened.append("tabular")
        return self.fake

    def pocket(self, task="countdown", **options):
        self.opened.append(task)
        return self.fake
