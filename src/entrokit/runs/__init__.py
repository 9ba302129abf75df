"""Floor 4: a run on disk. `layout` says what an entrokit run's folder holds, `read_log` reads runs of any engine."""

from .read_log import read_log, read_logs
from .reader import Run, RunReadError, find_runs
from .series import Broken, Series
from .step_account import QUADRANTS, Part, StepAccount, correlation
from .training_log import Column, Completion, Notes, TrainingLog
from .writer import RunWriteError, RunWriter

__all__ = [
    "QUADRANTS",
    "Broken",
    "Column",
    "Completion",
    "Notes",
    "Part",
    "Run",
    "RunReadError",
    "RunWriteError",
    "RunWriter",
    "Series",
    "StepAccount",
    "TrainingLog",
    "correlation",
    "find_runs",
    "read_log",
    "read_logs",
]
