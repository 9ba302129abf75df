"""TensorBoard event files, read by TensorBoard itself."""

from __future__ import annotations

from pathlib import Path

from ..training_log import Notes, Series
from .metrics import SeriesBuilder


def is_event_file(file: Path) -> bool:
    return ".tfevents." in file.name


def event_series(folder: Path, notes: Notes) -> dict[str, Series]:
    """Series of the scalars in a folder's event files.

    Raises:
        ImportError: the extra ``tensorboard`` is not installed.
    """
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    except ImportError as error:
        raise ImportError(
            f"{folder} holds TensorBoard event files; reading them needs the extra: pip install 'entrokit[tensorboard]'"
        ) from error
    from tensorboard.util import tensor_util

    builder = SeriesBuilder()
    for file in sorted(f for f in folder.rglob("*") if is_event_file(f)):
        try:
            for event in EventFileLoader(str(file)).Load():
                for value in event.summary.value:
                    if value.HasField("tensor") and not value.tensor.string_val:
                        array = tensor_util.make_ndarray(value.tensor)
                        if array.size == 1:
                            builder.add(float(event.step), {value.tag: array.item()})
        except Exception as error:  # whatever a damaged file makes TensorBoard raise
            notes.add(f"an event file ends early: {type(error).__name__}", file.name)
    return builder.series()
