"""Runs of the pocket policy that go wrong for a reason that we know, to hold `diagnose` against.

Each plants one cause in an otherwise ordinary run and says which verdict is right; `HEALTHY` plants none. Which verdict
a cause deserves was written down, and the thresholds of the rules frozen, before the seeds were run that are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from entrokit.diagnose import diagnose
from entrokit.rlvr.tasks import Task, load_task
from entrokit.training.session import Outcome, train, training_prompts
from entrokit.training.settings import TrainSettings

from .compare import folder_name

# Generation batches after which a family's verifier answers no more.
_BREAKS_AFTER = 30
_BROKEN = "target 10 to 24"


@dataclass(frozen=True)
class Planted:
    """A cause, how it is planted, and the verdict that is right.

    Attributes:
        name: of the cause. verdict: as `diagnose` names it.
        changes: settings that plant it. task: what it does to the task. recipes: of the runs, seed by seed.
    """

    name: str
    verdict: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    task: Callable[[Task], Task] | None = None
    recipes: tuple[str, ...] = ("grpo",)

    def train(self, seed: int, out: str | Path) -> Outcome:
        """Trains one run of 75 generation batches, with an account of every tenth step."""
        base = TrainSettings(
            self.recipes[seed % len(self.recipes)], str(out), steps=300, seed=seed, rollouts_every=5, account_every=10
        )
        settings = replace(base, **self.changes)
        task = load_task(settings.task, train_size=training_prompts(settings), seed=settings.seed)
        return train(settings, task=task if self.task is None else self.task(task))


def constant_reward(task: Task) -> Task:
    """Every completion is worth the same."""

    def reward(completions: list[Any], **columns: Any) -> list[float]:
        return [0.5] * len(completions)

    return replace(task, reward=reward)


def two_prompts(task: Task) -> Task:
    """The training set holds the same two prompts again and again."""
    return replace(task, train=task.train.select([i % 2 for i in range(len(task.train))]))


def broken_family(task: Task) -> Task:
    """The verifier of one family of prompts gives nothing any more, from the 31st generation batch on."""
    calls = 0

    def reward(completions: list[Any], family: list[str], **columns: Any) -> list[float]:
        nonlocal calls
        calls += 1
        scores = task.reward(completions=completions, family=family, **columns)
        if calls <= _BREAKS_AFTER:
            return [float(s or 0.0) for s in scores]
        return [0.0 if f == _BROKEN else float(s or 0.0) for s, f in zip(scores, family, strict=True)]

    return replace(task, reward=reward)


ORDINARY = ("grpo", "dapo", "grpo+kl-cov(ratio=0.1)", "grpo+steer(min_weight=0.1, scale_quantile=0.9)")
"""What healthy runs are trained with."""

HEALTHY = Planted("healthy", "healthy", recipes=ORDINARY)

PLANTED: tuple[Planted, ...] = (
    Planted("learning rate too high", "collapse", {"learning_rate": 3e-3}),
    # At an ordinary learning rate the upper clip hardly ever acts here; at this one it is what holds the policy.
    Planted(
        "clip-higher too wide",
        "collapse",
        {"recipe": "dapo(clip_high=10.0)", "updates": 16, "learning_rate": 1e-3, "steps": 1200},
    ),
    Planted("entropy bonus too large", "explosion", {"recipe": "grpo+entropy-bonus(coef=0.3)"}),
    Planted("constant reward", "no-signal", task=constant_reward),
    Planted("duplicated prompts", "premature-convergence", task=two_prompts),
    Planted("sampling from a nucleus", "mismatch", {"top_p": 0.8}),
    Planted("limit too short", "truncation", {"task": "sums:1-4", "max_completion_length": 20}),
    Planted("one family broken", "local-failure", task=broken_family),
)


@dataclass(frozen=True)
class Confusion:
    """How often each cause got each verdict.

    Attributes:
        counts: by cause and verdict. right: the verdict that each cause deserves.
    """

    counts: Mapping[str, Mapping[str, int]]
    right: Mapping[str, str]

    @property
    def share_right(self) -> float:
        """Of the runs with a planted cause."""
        planted = {name: row for name, row in self.counts.items() if self.right[name] != "healthy"}
        return sum(row.get(self.right[n], 0) for n, row in planted.items()) / sum(map(_total, planted.values()))

    @property
    def false_alarms(self) -> float:
        """Share of the healthy runs that got another verdict; 0 without any."""
        healthy = [row for name, row in self.counts.items() if self.right[name] == "healthy"]
        return sum(_total(row) - row.get("healthy", 0) for row in healthy) / max(1, sum(map(_total, healthy)))


def confusion(folder: str | Path, seeds: Sequence[int], healthy_seeds: Sequence[int]) -> Confusion:
    """Trains what is missing in ``folder``, one run's folder a cause and seed, and diagnoses all of it."""
    counts: dict[str, dict[str, int]] = {}
    for cause in (*PLANTED, HEALTHY):
        row = counts.setdefault(cause.name, {})
        for seed in healthy_seeds if cause is HEALTHY else seeds:
            out = Path(folder) / f"{folder_name(cause.name)}-seed{seed}"
            if not out.exists():
                cause.train(seed, out)
            verdict = diagnose(out).verdict
            row[verdict] = row.get(verdict, 0) + 1
    return Confusion(counts, {cause.name: cause.verdict for cause in (*PLANTED, HEALTHY)})


def _total(row: Mapping[str, int]) -> int:
    return sum(row.values())
