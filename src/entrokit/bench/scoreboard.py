"""The scoreboard: every method under one protocol, with equal optimiser steps and equally many samples.

What has been measured is never measured again: a scoreboard that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from entrokit.diagnose import boundary_of, detection_threshold, training_course
from entrokit.runs import Run
from entrokit.runs.readers.entrokit_run import evaluations
from entrokit.runs.training_log import Notes
from entrokit.runs.whole import replace_file
from entrokit.training.settings import TrainSettings

from .benches import finished, planned_run
from .compare import Progress, train_all
from .contestants import contestants
from .tabular import TabularSettings, train_tabular

logger = logging.getLogger(__name__)

ATTEMPTS = 16
"""The k of the scoreboard's pass@k."""

SEEDS = {"tabular": 8, "pocket": 3}
"""The benches, with the number of seeds that each takes by default."""
LEVELS = {"tabular": 0.5, "pocket": 0.2}
"""Accuracy at which entropies are compared, by bench."""

TABULAR = TabularSettings(steps=20)
"""The tabular bench's settings: where it ends, methods still differ."""

POCKET = TrainSettings("grpo", "", steps=240, learning_rate=2e-4)
"""What all runs on the pocket policy share."""


@dataclass(frozen=True)
class Score:
    """What one recipe and seed came to.

    Attributes:
        accuracy, pass_at_k: at the end, on held-out prompts (tabular: exactly, over states).
        entropy_start, entropy_end: nats per token there. entropy_matched: of the training samples where their accuracy
            first reaches the bench's level; None if it never does.
        coverage_kept: share of the prompts solvable at the start that still are. Solvable is solved in any of 16
            attempts; tabular: at least 17 % right, which 16 attempts show with 95 % confidence.
        seconds: of an optimiser step with its share of the sampling, median.
        tokens: sampled per completion, mean.
    """

    recipe: str
    seed: int
    accuracy: float
    pass_at_k: float
    entropy_start: float
    entropy_end: float
    entropy_matched: float | None
    coverage_kept: float
    seconds: float
    tokens: float


@dataclass(frozen=True)
class Scoreboard:
    """Scores of one bench.

    Attributes:
        bench: `tabular` or `pocket`. protocol: its settings. seeds: in order. scores: in order of recipes and seeds.
    """

    bench: str
    protocol: dict[str, Any]
    seeds: tuple[int, ...]
    scores: tuple[Score, ...]

    @property
    def complete(self) -> bool:
        """Whether every contestant has a score for every seed."""
        return len(self.scores) == len(recipes_of(self.bench)) * len(self.seeds)

    def of(self, recipe: str) -> list[Score]:
        """The scores of a recipe, in order of seeds; fewer than there are seeds where it is not complete."""
        return [s for s in self.scores if s.recipe == recipe]

    def save(self, file: str | Path) -> None:
        """Writes it as JSON."""
        text = json.dumps(asdict(self), indent=1) + "\n"
        replace_file(Path(file), lambda partial: partial.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, file: str | Path) -> Scoreboard:
        """Reads what `save` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            plain = json.loads(Path(file).read_text(encoding="utf-8"))
            scores = tuple(Score(**s) for s in plain["scores"])
            return cls(plain["bench"], plain["protocol"], tuple(plain["seeds"]), scores)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no scoreboard: {error}") from error


def recipes_of(bench: str) -> list[str]:
    """The recipes that a bench can show, in order, each once."""
    shown = [c for c in contestants() if bench not in c.impossible_on]
    return list(dict.fromkeys(r for c in shown for r in c.recipes))


def tabular_scoreboard(
    seeds: Sequence[int], folder: str | Path, enough: Callable[[], bool], settings: TabularSettings = TABULAR
) -> Scoreboard:
    """The tabular bench's; each score is written into ``folder`` as it comes.

    Args:
        enough: asked before each run; once it says so, the rest is left out.

    Raises:
        ValueError: the folder holds scores of another protocol.
    """
    measured = Path(folder) / "tabular.jsonl"
    protocol = asdict(settings)
    known = _known(measured, protocol)
    for seed in seeds:
        for spec in recipes_of("tabular"):
            if (spec, seed) not in known and not enough():
                known[spec, seed] = tabular_score(spec, seed, settings)
                with measured.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(known[spec, seed])) + "\n")
    board = Scoreboard("tabular", protocol, tuple(seeds), _ordered(known, "tabular", seeds))
    board.save(Path(folder) / "tabular.json")
    return board


def _known(file: Path, protocol: dict[str, Any]) -> dict[tuple[str, int], Score]:
    """The scores that were measured so far: a line with the protocol, then a line each; begins the file if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # A last line without its end was cut off: the next score must not be appended to it.
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    first, *rest = lines or [json.dumps(protocol)]
    if first != json.dumps(protocol):
        raise ValueError(f"{file} holds scores of another protocol; choose another folder")
    text = "".join(line + "\n" for line in (first, *rest))
    replace_file(file, lambda partial: partial.write_text(text, encoding="utf-8"))
    scores = [Score(**json.loads(line)) for line in rest]
    return {(score.recipe, score.seed): score for score in scores}


def tabular_score(spec: str, seed: int, settings: TabularSettings) -> Score:
    """Trains one recipe on one seed's problem; all but the time is exact."""
    success: list[Any] = []
    began = time.perf_counter()
    course = train_tabular(spec, seed, settings, on_states=lambda p: success.append(p.numpy()))
    seconds = (time.perf_counter() - began) / settings.steps
    first, last, seen = success[0], success[-1], detection_threshold(ATTEMPTS, exact=True)
    solvable = first >= seen
    return Score(
        recipe=spec,
        seed=seed,
        accuracy=float(course.accuracy[-1]),
        pass_at_k=float((1.0 - (1.0 - last) ** ATTEMPTS).mean()),
        entropy_start=float(course.entropy[0]),
        entropy_end=float(course.entropy[-1]),
        entropy_matched=course.entropy_at(LEVELS["tabular"]),
        coverage_kept=float((last[solvable] >= seen).mean()) if solvable.any() else float("nan"),
        seconds=seconds,
        tokens=1.0,
    )


def pocket_scoreboard(
    seeds: Sequence[int],
    folder: str | Path,
    enough: Callable[[], bool],
    settings: TrainSettings = POCKET,
    jobs: int | None = None,
    on_progress: Progress | None = None,
) -> Scoreboard:
    """The pocket policy's, on countdown; runs lie in ``folder/pocket``, and one that was cut off is trained anew.

    Args:
        enough: as for `tabular_scoreboard`. jobs, on_progress: as for `compare`.

    Raises:
        ValueError: a run in the folder has other settings.
    """
    shared = replace(settings, out=str(Path(folder) / "pocket"))
    planned = {(spec, seed): planned_run(shared, spec, seed) for seed in seeds for spec in recipes_of("pocket")}
    missing = {}
    for own in planned.values():
        if Path(own.out).exists() and not finished(own):
            logger.warning("%s was cut off and is trained anew", own.out)
            shutil.rmtree(own.out)
        if not Path(own.out).exists():
            missing[Path(own.out).name] = own
    train_all(missing, jobs, on_progress, enough)
    known = {key: pocket_score(key[0], Run.load(s.out)) for key, s in planned.items() if Path(s.out).exists()}
    protocol = {k: v for k, v in asdict(settings).items() if k not in ("recipe", "out", "seed")}
    board = Scoreboard("pocket", protocol, tuple(seeds), _ordered(known, "pocket", seeds))
    board.save(Path(folder) / "pocket.json")
    return board


def pocket_score(spec: str, run: Run) -> Score:
    """What a finished run came to."""
    boundary = boundary_of(evaluations(run.folder, Notes()))
    if boundary is None:
        raise ValueError(f"{run.folder}: its first and last evaluation do not hold the same prompts")
    start, end = (run.series("eval_entropy")[1][i] for i in (0, -1))
    return Score(
        recipe=spec,
        seed=int(run.config["seed"]),
        accuracy=boundary.last.pass_at[1].value,
        pass_at_k=boundary.last.pass_at[ATTEMPTS].value,
        entropy_start=start,
        entropy_end=end,
        entropy_matched=training_course(run).entropy_at(LEVELS["pocket"]),
        coverage_kept=boundary.support.retention,
        seconds=float(np.median(run.series("step_time")[1])),
        tokens=float(np.mean(run.series("completions/mean_length")[1])),
    )


def _ordered(known: dict[tuple[str, int], Score], bench: str, seeds: Sequence[int]) -> tuple[Score, ...]:
    return tuple(known[spec, seed] for spec in recipes_of(bench) for seed in seeds if (spec, seed) in known)
