"""What trackers' exports look like: W&B's panels and summary, TensorBoard's CSV, long tables, columns of runs.

W&B, "Export as CSV" of a panel: ``"Step","<run> - <metric>","<run> - <metric>__MIN","<run> - <metric>__MAX"``; of a
grouped panel: ``"Group: <group> - <metric>"``. TensorBoard, "Download CSV": ``Wall time,Step,Value``, with run and tag
in the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..row import Row

_PANEL_X = re.compile(
    r"_?step|.*/?(?:global|training|trainer)_?step|relative time.*|_?runtime|wall ?time|_?timestamp|epoch|train/epoch",
    re.IGNORECASE,
)
_TAG = re.compile(r"(?:^|.*[\W_])run-(.*?)-tag-(.+?)(?:\s*\(\d+\))?\.(?:csv|json)", re.IGNORECASE)
_SPARK = re.compile(r"[▁▂▃▄▅▆▇█]{2,}")
_LONG_STEP = ("step", "global_step", "_step", "iteration", "iter")
_LONG_NAME = ("name", "metric", "key", "tag", "variable", "metric_name", "metrickey")
_LONG_VALUE = ("value", "val", "metric_value", "scalar")
_LONG = (_LONG_STEP, _LONG_NAME, _LONG_VALUE)
_RUNS = ("run_name", "run", "run name", "run_id", "run id", "runid", "experiment_name", "experiment", "exp_name", "exp")
_WEAK_RUNS = ("seed", "trial")


def columns_of_panel(names: Sequence[str]) -> dict[str, tuple[str, str]] | None:
    """Column to run and metric, of a W&B panel's export, without ``__MIN`` and ``__MAX``; None for any other table."""
    if len(names) < 2 or not _PANEL_X.fullmatch(names[0]) or not all(" - " in name for name in names[1:]):
        return None
    found: dict[str, tuple[str, str]] = {}
    for name in names[1:]:
        if name.endswith(("__MIN", "__MAX")):
            continue
        run, _, metric = name.rpartition(" - ")
        found[name] = (run.removeprefix("Group: ").strip(), metric.strip())
    return found or None


def long_columns(names: Sequence[str]) -> tuple[str, str, str] | None:
    """The columns of step, name and value of a long table; None for a table with a column a metric."""
    by_low = {name.lower(): name for name in names}
    step, name, value = (next((by_low[n] for n in wanted if n in by_low), None) for wanted in _LONG)
    return None if step is None or name is None or value is None else (step, name, value)


def pivoted(first: Row, second: Row) -> Row:
    """Two rows of one step and run as one, under the number of the first."""
    return replace(first, fields={**first.fields, **second.fields})


def run_column(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """The column that names the run of each row; None without one.

    A column of that name whose values hardly repeat (a seed a step) names no runs.
    """
    by_low = {name.lower(): (i, name) for i, name in enumerate(names)}
    for wanted in (*_RUNS, *_WEAK_RUNS):
        if wanted not in by_low:
            continue
        i, name = by_low[wanted]
        values = [row[i] for row in rows if i < len(row) and row[i]]
        if values and (len(values) < 4 or 2 * len(set(values)) <= len(values)):
            return name
    return None


def tensorboard_tag(file_name: str) -> tuple[str | None, str] | None:
    """Run and tag out of the name that TensorBoard gives a CSV: ``run-<run>-tag-<tag>.csv``; None for other names.

    The run ``.`` is no name. The tag is as it stands there: TensorBoard writes ``_`` for ``/`` and for much else.
    """
    found = _TAG.fullmatch(file_name)
    if not found:
        return None
    return (None if found[1] in ("", ".") else found[1]), found[2]


def is_wandb_summary(text: str) -> bool:
    """Whether a text is what W&B prints when a run ends: sparklines and last values, which hold no course."""
    if "Run history:" not in text and "Run summary:" not in text:
        return False
    return "wandb" in text and ("Run summary:" in text or _SPARK.search(text) is not None)
