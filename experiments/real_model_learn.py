"""Does a real model learn, and does an intervention change how: `grpo` against two, on one task in words.

The criterion, written before the run: over the seeds `grpo` raises the held-out reward by at least 0.1 on average; and
an intervention is called better in entropy, or in pass@k, only where the interval of its differences to `grpo`, paired
by seed, leaves out 0. The last run is broken on purpose: `grpo` at thirty times the rate. `entrokit diagnose` is asked
about every run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from real_model_runs import kept, run, runs_of

from entrokit.diagnose import Thresholds, diagnose
from entrokit.report import write_page
from entrokit.runs import Run
from entrokit.runs.layout import CONFIG

RECIPES = ("grpo", "grpo+kl-cov(ratio=0.02)", "grpo+steer(min_weight=0.1, scale_quantile=0.9)")
SHAPE: Mapping[str, object] = {
    "task": "words:mention",
    "system": "Write one short sentence.",
    "lora": 8,
    "learning_rate": 3e-4,
    "prompts": 4,
    "completions": 8,
    "updates": 2,
    "steps": 16,
    "max_completion_length": 24,
    "evaluation_prompts": 8,
    "account_every": 8,
    "save_every": 8,
    "rollouts_every": 2,
}
BROKEN = 30
# A run has eight generation batches; by default nothing is said of fewer than ten.
THRESHOLDS = Thresholds(min_points=8)
# Of a run's metrics, what is kept of its course.
_COURSE = ("entropy", "reward", "grad_norm", "truncated", "completions/mean_length")


def learn(model: Path, seeds: int) -> None:
    for seed in range(seeds):
        for recipe in RECIPES:
            name = recipe.replace("grpo+", "").partition("(")[0]
            _trained(model, f"learn-{name}-seed{seed}", {"recipe": recipe, "seed": seed})
    _trained(model, "learn-broken", {"seed": 0, "learning_rate": BROKEN * float(str(SHAPE["learning_rate"]))})
    _page()


def _trained(model: Path, name: str, options: Mapping[str, object]) -> None:
    def made(folder: Path) -> object:
        run(model, folder, SHAPE | options)
        found = Run.load(folder)
        judged = diagnose(folder, THRESHOLDS).to_dict()
        return {
            "options": dict(SHAPE | options),
            "held out": {name: [row[name] for row in _evaluations(found)] for name in _evaluated(found)},
            "course": {name: list(map(list, found.series(name))) for name in _COURSE if found.series(name)[0]},
            "diagnosis": {key: judged[key] for key in ("verdict", "cause", "onset", "evidence")},
        }

    kept(name, made, leave_runs=True)


def _page() -> None:
    """The report of the runs that are still on this machine."""
    whole = sorted(path for path in runs_of("learn").parent.glob("learn-*-seed*/run") if (path / CONFIG).exists())
    if whole:
        runs = sorted(map(Run.load, whole), key=lambda run: RECIPES.index(run.name))
        runs_of("learn").mkdir(exist_ok=True)
        print(f"report: {write_page(runs, runs_of('learn'))}")


def _evaluations(found: Run) -> list[Mapping[str, float]]:
    return [row for row in found.metrics if "eval_entropy" in row]


def _evaluated(found: Run) -> list[str]:
    return [n for n in _evaluations(found)[0] if n in ("eval_entropy", "eval_reward") or n.startswith("eval_pass@")]
