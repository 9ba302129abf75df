"""Where the runs of docs/symptoms.md come from.

A run is a log after a public report (`tests/field/cases`), one of the pocket policy (`tests/diagnose/pocket`), or
planted by `tests/diagnose/failures.py` and written down as an engine would do it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.diagnose.failures import KINDS
from tests.diagnose.ordinary import Run

ROOT = Path(__file__).parents[1]
FIELD, POCKET = ROOT / "tests" / "field" / "cases", ROOT / "tests" / "diagnose" / "pocket"
NAMES = {
    "trl": {
        "reward": "reward",
        "entropy": "entropy",
        "kl": "kl",
        "grad_norm": "grad_norm",
        "loss": "loss",
        "clip_share": "clip_ratio/region_mean",
        "length": "completions/mean_length",
        "truncated": "completions/clipped_ratio",
        "zero_variance": "frac_reward_zero_std",
        "validation": "eval_reward",
        "sampler_logp_gap": "sampling/sampling_logp_difference/mean",
        "eval_loss": "eval_loss",
        "reward_dot_part__accuracy": "rewards/accuracy/mean",
        "reward_dot_part__format": "rewards/format/mean",
    },
    "verl": {
        "reward": "critic/score/mean",
        "entropy": "actor/entropy",
        "kl": "actor/kl_loss",
        "grad_norm": "actor/grad_norm",
        "loss": "actor/pg_loss",
        "clip_share": "actor/pg_clipfrac",
        "length": "response_length/mean",
        "truncated": "response_length/clip_ratio",
        "validation": "val-core/math/acc/mean@1",
    },
}


@dataclass(frozen=True)
class Field:
    """A log after a public report."""

    name: str

    def write(self, folder: Path) -> Path:
        return FIELD / self.name


@dataclass(frozen=True)
class Pocket:
    """A run of the pocket policy."""

    name: str

    def write(self, folder: Path) -> Path:
        return POCKET / self.name


@dataclass(frozen=True)
class Planted:
    """A made-up run with one thing gone wrong, as TRL's or verl's log."""

    kind: str
    engine: str
    seed: int = 1

    def write(self, folder: Path) -> Path:
        run = Run(1000 * sorted(KINDS).index(self.kind) + self.seed)
        KINDS[self.kind][1](run)
        rows: list[dict[str, float]] = [{"step": step + 1} for step in range(run.n)]
        for quantity, name in NAMES[self.engine].items():
            values = run.c.get(quantity, ())
            # Evaluations are fewer than steps.
            at = np.linspace(0, run.n - 1, len(values)).astype(int) if len(values) else ()
            for step, value in zip(at, values, strict=True):
                rows[step][name] = float(f"{value:.5g}")
        if run.kind == "supervised":
            for step, row in enumerate(rows):
                row["mean_token_accuracy"] = float(f"{np.exp(-row['loss'] / 2):.5g}")
                row["num_tokens"] = 4096.0 * (step + 1)
        folder.mkdir(parents=True, exist_ok=True)
        if self.engine == "trl":
            file = folder / "trainer_state.json"
            file.write_text(json.dumps({"global_step": run.n, "log_history": rows}), encoding="utf-8")
        else:
            file = folder / "metrics.jsonl"
            lines = (json.dumps({"step": row.pop("step"), "data": row}) + "\n" for row in rows)
            file.write_text("".join(lines), encoding="utf-8")
        return file
