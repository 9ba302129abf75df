"""TensorBoard event files, read by TensorBoard itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from entrokit.extras import require

from ..series import Series
from ..training_log import Notes
from .metrics import SeriesBuilder


def is_event_file(file: Path) -> bool:
    return ".tfevents." in file.name


def event_series(files: Sequence[Path], notes: Notes) -> dict[str, Series]:
    """Series of the scalars in the event files of one run.

    Raises:
        MissingExtraError: the extra ``tensorboard`` is not installed.
    """
    require(f"{files[0]} is a TensorBoard event file; reading it", "tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util

    builder = SeriesBuilder()
    if len({file.parent for file in files}) > 1:
        notes.add("event files of several folders were put together: name one of them", files[0].parent)
    for file in sorted(files):
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
