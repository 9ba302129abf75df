"""Floor 4: a run on disk. See `layout` for what a run's folder holds."""

from .reader import Run, RunReadError, find_runs
from .writer import RunWriteError, RunWriter

__all__ = ["Run", "RunReadError", "RunWriteError", "RunWriter", "find_runs"]
