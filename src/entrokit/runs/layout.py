"""What a run's folder holds.

    config.yaml                      what was asked for: recipe, task, model, seed, every setting, versions
    metrics.jsonl                    one JSON object a line: "step", "seconds" since the start, and named numbers; a
                                     number that is not finite is null, and "not_finite" says what it was: "nan", "inf"
    rollouts/step-000040.parquet     one row a completion (columns: `ROLLOUT_COLUMNS`); written whole, then renamed
    evaluations/step-000600.parquet  the same for held-out prompts, at the start and at the end
    entropy_account.jsonl            one account of an optimiser step a line (`diagnose.StepAccount`), where asked for
    checkpoint-600/                  the trainer's own, to go on from (`entrokit resume`), where asked for
    checkpoint/                      the policy: safetensors and tokenizer
    report.html                      one self-contained page

Reading never needs more than ``config.yaml`` and the complete lines of ``metrics.jsonl``, so a run that was
interrupted, or is still going, reads like any other.
"""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
ACCOUNT = "entropy_account.jsonl"
ROLLOUTS = "rollouts"
EVALUATIONS = "evaluations"
CHECKPOINT = "checkpoint"
REPORT = "report.html"

NOT_FINITE = "not_finite"

ROLLOUT_COLUMNS = {
    "group": "which prompt of the batch",
    "prompt": "text",
    "family": "what kind of prompt it is, null where the task does not say",
    "completion": "text, without special tokens",
    "reward": "number, null where no reward function could score it",
    "advantage": "mean over trained tokens",
    "truncated": "cut off by the length limit",
    "tokens": "list of the tokens' texts",
    "entropy": "list, nats, of the sampling policy at each token",
    "logp": "list, log-probability of each token under the sampling policy",
}


def rollouts_file(folder: Path, step: int, kind: str = ROLLOUTS) -> Path:
    return folder / kind / f"step-{step:06d}.parquet"


def step_of(file: Path) -> int:
    return int(file.stem.removeprefix("step-"))
