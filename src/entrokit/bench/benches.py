"""The two grounds on which every RLVR method is measured: seconds on a table, minutes on a language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

from entrokit.diagnose import Course, training_course
from entrokit.rlvr import recipe
from entrokit.runs import Run
from entrokit.runs.layout import CHECKPOINT, CONFIG
from entrokit.training.models import warm_pocket
from entrokit.training.settings import POCKET, TrainSettings

from .compare import Progress, folder_name, train_all
from .tabular import TabularSettings, train_tabular


class Bench(Protocol):
    """A ground with fixed problems. Equal seeds give equal problems, so recipes are compared in pairs.

    Attributes:
        name: of the bench. level: accuracy at which entropies are compared. seeds: in order.
    """

    @property
    def name(self) -> str: ...
    @property
    def level(self) -> float: ...
    @property
    def seeds(self) -> Sequence[int]: ...

    def courses(self, *specs: str) -> Mapping[str, list[Course]]:
        """How every recipe goes, one course a seed, under the recipe's string as given."""
        ...


@dataclass
class TabularBench:
    """The tabular bench (`train_tabular`); entropies are compared at accuracy 0.5."""

    name: ClassVar[str] = "tabular"
    level: ClassVar[float] = 0.5
    seeds: Sequence[int]
    settings: TabularSettings = field(default_factory=TabularSettings)
    _known: dict[str, list[Course]] = field(default_factory=dict, repr=False)

    def courses(self, *specs: str) -> dict[str, list[Course]]:
        for spec in specs:
            if spec not in self._known:
                self._known[spec] = [train_tabular(spec, seed, self.settings) for seed in self.seeds]
        return {spec: self._known[spec] for spec in specs}


@dataclass
class PocketBench:
    """The pocket policy on a task; entropies are compared at training accuracy ``level`` (running mean).

    Runs lie in ``settings.out``, one folder a recipe and seed, and are trained only where they are missing; a policy
    that has to be warmed up for them is so first, with ``on_warm_up(step, steps, loss)``.
    """

    name: ClassVar[str] = "pocket"
    seeds: Sequence[int]
    settings: TrainSettings
    level: float = 0.2
    jobs: int | None = None
    on_progress: Progress | None = None
    on_warm_up: Callable[[int, int, float], None] | None = None

    def courses(self, *specs: str) -> dict[str, list[Course]]:
        """As `Bench.courses`; raises as `runs`."""
        return {spec: [training_course(run) for run in own] for spec, own in self.runs(*specs).items()}

    def runs(self, *specs: str) -> dict[str, list[Run]]:
        """The runs of every recipe, one a seed, under the recipe's string as given; missing ones are trained.

        Raises:
            ValueError: a run that is already there is unfinished, or was made with other settings.
        """
        planned = {(spec, seed): planned_run(self.settings, spec, seed) for seed in self.seeds for spec in specs}
        missing = [s for s in planned.values() if not Path(s.out).exists()]
        for settings in (s for s in planned.values() if s not in missing):
            if not finished(settings):
                raise ValueError(f"{settings.out} holds an unfinished run; remove that folder to train it anew")
        if missing and self.settings.model == POCKET:
            warm_pocket(self.settings.task, self.on_warm_up)
        train_all({Path(s.out).name: s for s in missing}, self.jobs, self.on_progress)
        return {spec: [Run.load(planned[spec, seed].out) for seed in self.seeds] for spec in specs}


def planned_run(shared: TrainSettings, spec: str, seed: int) -> TrainSettings:
    """Settings of one recipe and seed, in a folder of its own inside ``shared.out``."""
    name = str(recipe(spec))
    return replace(shared, recipe=name, seed=seed, out=str(Path(shared.out) / f"{folder_name(name)}-seed{seed}"))


def finished(settings: TrainSettings) -> bool:
    """Whether the run that is there got to its last evaluation, or its last step where it has none.

    A folder without a config never began.

    Raises:
        ValueError: it was made with other settings.
    """
    if not (Path(settings.out) / CONFIG).exists():
        return False
    run = Run.load(settings.out)
    # None of them changes what is trained.
    listening = {"out", "rollouts_every", "account_every", "account_rows", "radius_every", "save_every"}
    if settings.radius_clip is None:
        listening.add("radius_rows")
    wanted = {name: value for name, value in asdict(settings.resolved()).items() if name not in listening}
    # A run from before a setting existed was made with its default.
    known = asdict(TrainSettings("grpo", "")) | run.config
    other = [f"{n}={known[n]!r} instead of {v!r}" for n, v in wanted.items() if known[n] != v]
    if other:
        raise ValueError(f"{settings.out} holds a run with {', '.join(other)}; choose another folder")
    if settings.evaluation_prompts:
        evaluated = run.series("eval_entropy")[0]
        return bool(evaluated) and evaluated[-1] >= settings.steps
    trained = run.series("entropy")[0]
    return (run.folder / CHECKPOINT).exists() and (trained[-1] if trained else 0) >= settings.steps
