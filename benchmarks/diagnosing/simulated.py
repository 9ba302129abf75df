"""Runs in the peers' environment: lets their own simulators write the logs that their own tests are made of.

    PEERS/bin/python simulated.py FOLDER STEPS SEED [SEED ...]

Prints one JSON line a log: `{"source", "kind", "seed", "path", "native"}`, where `native` is the folder that only the
simulator's own tool reads; STEPS are those of rlprobe's runs, rldoctor's have its 400. Needs rldoctor and rlprobe,
nothing of entrokit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# rlprobe's columns under the names that TRL's GRPOTrainer writes the same quantities with (TRL 1.7, as listed in
# rlprobe 0.1.0's own adapter, `rlprobe.integrations.trl`): what a log of that run would look like to the other tools.
TRL_NAMES = {
    "reward_mean": "reward",
    "kl_mean": "kl",
    "entropy_mean": "entropy",
    "clip_fraction": "clip_ratio/region_mean",
    "zero_variance_group_frac": "frac_reward_zero_std",
    "lr": "learning_rate",
    "completion_len_mean": "completions/mean_length",
    "completion_len_max": "completions/max_length",
    "truncation_rate": "completions/clipped_ratio",
    "step_time_s": "step_time",
}


def of_rldoctor(folder: Path, steps: int, seeds: list[int]) -> Iterator[dict[str, Any]]:
    from rl_doctor.simulate import SCENARIOS, simulate

    for kind in SCENARIOS:
        for seed in seeds:
            records, config = simulate(kind, seed=seed)
            path = write(folder / "rldoctor" / f"{kind}-{seed}.jsonl", [{"config": config}, *records])
            yield {"source": "rldoctor", "kind": kind, "seed": seed, "path": str(path), "native": None}


def of_rlprobe(folder: Path, steps: int, seeds: list[int]) -> Iterator[dict[str, Any]]:
    """Each log three times: as rlprobe stores it, as JSON lines of the same columns, and under TRL's names."""
    from rlprobe.storage import RunReader
    from rlprobe.testing.synth import PATHOLOGIES, generate_run

    for kind in ["healthy", *PATHOLOGIES]:
        for seed in seeds:
            name = f"{kind}-{seed}"
            native = folder / "rlprobe" / name
            generate_run(native, None if kind == "healthy" else kind, n_steps=steps, seed=seed)
            kept = ({k: v for k, v in r.model_dump().items() if v not in (None, {})} for r in RunReader(native).steps())
            rows = list(kept)
            as_written = write(folder / "rlprobe" / f"{name}.jsonl", rows)
            as_trl = write(folder / "rlprobe-as-trl" / f"{name}.jsonl", [under_trl_names(row) for row in rows])
            found = {"kind": kind, "seed": seed, "native": str(native)}
            yield {"source": "rlprobe", "path": str(as_written), **found}
            yield {"source": "rlprobe, TRL's names", "path": str(as_trl), **found}


def under_trl_names(row: dict[str, Any]) -> dict[str, Any]:
    parts = {f"rewards/{name}/mean": value for name, value in row.get("reward_components", {}).items()}
    plain = {k: v for k, v in row.items() if isinstance(v, (int, float))}
    return {TRL_NAMES.get(k, k): v for k, v in plain.items()} | parts


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def main() -> None:
    folder, steps, seeds = Path(sys.argv[1]), int(sys.argv[2]), [int(text) for text in sys.argv[3:]]
    for make in (of_rldoctor, of_rlprobe):
        for case in make(folder, steps, seeds):
            print(json.dumps(case), flush=True)


if __name__ == "__main__":
    main()
