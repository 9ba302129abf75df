"""Writes TensorBoard events of two experiments side by side: python -m tests.field.two_experiments FOLDER"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def write(folder: Path, columns: Mapping[str, Callable[[float], float]], n: int = 60) -> None:
    """Events of ``n`` steps, a function of the part of the run that is over for each tag."""
    writer = EventFileWriter(str(folder))
    for i in range(n):
        values = [Summary.Value(tag=tag, simple_value=course(i / (n - 1))) for tag, course in columns.items()]
        writer.add_event(Event(wall_time=1.7e9 + i, step=i + 1, summary=Summary(value=values)))
    writer.close()


if __name__ == "__main__":
    where = Path(sys.argv[1])
    write(
        where / "grpo-base",
        {"actor/entropy": lambda x: 0.45 * (0.02 / 0.45) ** x, "critic/score/mean": lambda x: 0.3 + 0.12 * x},
    )
    write(
        where / "grpo-clip-higher",
        {"actor/entropy": lambda x: 0.45 - 0.03 * x, "critic/score/mean": lambda x: 0.3 + 0.25 * x},
    )
