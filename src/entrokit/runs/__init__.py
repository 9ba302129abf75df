"""Floor 4: a run on disk. `layout` says what an entrokit run's folder holds, `read_log` reads runs of any engine."""

from .read_log import read_log
from .reader import Run, RunReadError, find_runs
from .training_log import Completion, Notes, Series, TrainingLog
from .writer import RunWriteError, RunWriter

__all__ = [
    "Completion",
    "Notes",
    "Run",
    "RunReadError",
    "RunWriteError",
    "RunWriter",
    "Series",
    "TrainingLog",
    "find_runs",
    "read_log",
]
