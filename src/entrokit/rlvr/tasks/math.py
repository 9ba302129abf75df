"""Mathematical questions with known answers, judged by `math-verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .task import Task, completion_text

# A final answer stands at the end; what is longer than this is reasoning, and parsing it costs time without bound.
_READ_FROM_END = 2_000


def reward(completions: list[Any], answer: list[str], **kwargs: Any) -> list[float | None]:
    """TRL reward function: 1.0 where the completion's final answer equals ``answer``, else 0.0.

    Both are parsed as LaTeX or plain expressions. Only the last 2 000 characters of a completion are read. An
    ``answer`` that cannot be parsed itself is no ground for a verdict: ``None``.

    Raises:
        ImportError: the extra `tasks` is not installed.
    """
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise ImportError("math answers need the extra: pip install 'entrokit[tasks]'") from error

    scores: list[float | None] = []
    for completion, gold_text in zip(completions, answer, strict=True):
        gold = parse(gold_text if "$" in gold_text or "\\" in gold_text else f"${gold_text}$")
        if not gold:
            scores.append(None)
            continue
        scores.append(float(verify(gold, parse(completion_text(completion)[-_READ_FROM_END:]))))
    return scores


def math_task(file: str | Path, eval_share: float = 0.1, max_completion_length: int = 512) -> Task:
    """Questions and answers from a local JSONL, CSV or parquet file with columns ``prompt`` and ``answer``.

    Args:
        file: its ending says what it is. eval_share: share of the rows, from the end, kept for evaluation.

    Raises:
        FileNotFoundError, ValueError: no such file, an unknown ending, a missing column or too few rows.
    """
    from datasets import Value, load_dataset

    path = Path(file)
    kind = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}.get(path.suffix)
    if kind is None:
        raise ValueError(f"math task: cannot read {path}; expected a .jsonl, .json, .csv or .parquet file")
    if not path.exists():
        raise FileNotFoundError(f"math task: {path} does not exist")
    data = load_dataset(kind, data_files=str(path), split="train")
    missing = {"prompt", "answer"} - set(data.column_names)
    if missing:
        raise ValueError(f"math task: {path} lacks the columns {sorted(missing)}; it has {data.column_names}")
    held_out = max(1, int(len(data) * eval_share))
    if len(data) <= held_out:
        raise ValueError(f"math task: {path} has {len(data)} rows; at least 2 are needed")
    data = data.cast_column("answer", Value("string"))
    return Task(
        name=f"math:{path.name}",
        train=data.select(range(len(data) - held_out)),
        evaluation=data.select(range(len(data) - held_out, len(data))),
        reward=reward,
        max_completion_length=max_completion_length,
        answers=("boxed",),
    )
