"""Logs without files: courses under entrokit's own names."""

from pathlib import Path

import numpy as np

from entrokit.runs import Series, TrainingLog


def log_of(courses, *, steps=None, config=None, kind="rl"):
    """A `TrainingLog` of courses ``{name: [N]}``; a shorter course is spread evenly over the run, as evaluations are.

    Names are entrokit's; ``a__b`` stands for ``a/b`` and ``a_dot_b`` for ``a.b``.
    """
    longest = max((len(v) for v in courses.values()), default=0)
    every = np.arange(longest, dtype=float) if steps is None else np.asarray(steps, dtype=float)
    series = {}
    for name, values in courses.items():
        own = np.asarray(values, dtype=float)
        at = every if len(own) == longest else every[np.linspace(0, longest - 1, len(own)).astype(int)]
        key = name.replace("__", "/").replace("_dot_", ".")
        series[key] = Series.of_arrays(at, own, key, "made up")
    return TrainingLog(Path("run"), "made up", series, config or {}, kind=kind)
