"""TensorBoard event files, written by TensorBoard and torch."""

import math

import pytest

from entrokit.extras import lacking
from entrokit.runs.stores import tensorboard

from .cases import points, read

needs_tensorboard = pytest.mark.skipif(bool(lacking("tensorboard")), reason="needs the extra 'tensorboard'")


def written(folder, columns, n=6, began=1.7e9, first=1):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = EventFileWriter(str(folder), filename_suffix=f".{first}")
    for i in range(n):
        for tag, f in columns.items():
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=f(i))])
            writer.add_event(Event(wall_time=began + i, step=first + i, summary=summary))
    writer.close()
    return next(folder.glob(f"*.{first}"))


def test_it_is_told_by_names(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert not tensorboard.is_store(tmp_path)
    file = tmp_path / "a" / "b" / "events.out.tfevents.1.host"
    file.write_bytes(b"")
    for path in (tmp_path, file.parent, file):
        assert tensorboard.is_store(path)
    (tmp_path / "c.tfevents.1").mkdir()
    assert not tensorboard.is_store(tmp_path / "c.tfevents.1")
    assert not tensorboard.is_store(tmp_path / "none")


@needs_tensorboard
def test_experiments_side_by_side(tmp_path):
    written(tmp_path / "clip-higher", {"actor/entropy": lambda i: math.nan if i == 4 else 0.5, "r": float}, began=2e9)
    written(tmp_path / "base", {"actor/entropy": lambda i: math.inf})
    found, notes = read(tensorboard, tmp_path)
    assert [(r.run, r.source) for r, _ in found] == [
        ("base", "TensorBoard's event files"), ("clip-higher", "TensorBoard's event files"),
    ]  # fmt: skip
    rows = found[1][1]
    assert [row.step for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [math.isnan(v) for v in points(rows, "actor/entropy")] == [False] * 4 + [True, False]
    assert points(rows, "r") == [0, 1, 2, 3, 4, 5]
    assert points(found[0][1], "actor/entropy") == [math.inf] * 6
    assert notes == []
    ((alone, _),), _ = read(tensorboard, tmp_path / "base")
    assert alone.run is None
    assert alone.began is not None


@needs_tensorboard
def test_files_of_a_folder_are_one_run_in_order_of_time(tmp_path):
    written(tmp_path, {"a": float}, n=4, began=100.0)
    written(tmp_path, {"a": float}, n=4, began=200.0, first=3)
    written(tmp_path, {"eval": float}, n=4, began=100.1, first=2)
    ((_, rows),), _ = read(tensorboard, tmp_path)
    steps = [row.step for row in rows if "a" in row.fields]
    assert steps == [1, 2, 3, 4, 3, 4, 5, 6]


@needs_tensorboard
def test_folders_that_torch_makes_of_one_run(tmp_path):
    torch_writer = pytest.importorskip("torch.utils.tensorboard", reason="needs torch")
    with torch_writer.SummaryWriter(str(tmp_path / "one")) as writer:
        for i in range(3):
            writer.add_scalar("actor/entropy", 0.5, i)
            writer.add_scalars("reward/part", {"format": 0.1 * i, "answer": 0.2 * i}, i)
        writer.add_text("args", '{"lr": 1e-6}')
        writer.add_hparams({"lr": 0.1}, {"hparam/score": 0.5})
    written(tmp_path / "one" / "two", {"actor/entropy": lambda i: 0.25})
    found, notes = read(tensorboard, tmp_path)
    assert sorted(str(r.run) for r, _ in found) == ["one", "one/two"]
    ((recording, rows),) = [(r, rows) for r, rows in found if r.run == "one"]
    assert points(rows, "reward/part/format") == pytest.approx([0, 0.1, 0.2])
    assert points(rows, "reward/part/answer") == pytest.approx([0, 0.2, 0.4])
    assert points(rows, "hparam/score") == [0.5]
    assert recording.config == {"lr": 1e-6}
    assert notes == []


@needs_tensorboard
def test_tensors_that_are_one_number(tmp_path):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    tensors = {"one": make_tensor_proto(0.5), "text": make_tensor_proto("hi"), "two": make_tensor_proto([1.0, 2.0])}
    tensors["huge"] = make_tensor_proto([1.0])
    tensors["huge"].tensor_shape.dim[0].size = 10**12
    writer = EventFileWriter(str(tmp_path))
    values = [Summary.Value(tag=tag, tensor=tensor) for tag, tensor in tensors.items()]
    writer.add_event(Event(wall_time=1.0, step=3, summary=Summary(value=values)))
    writer.close()
    ((_, rows),), _ = read(tensorboard, tmp_path)
    assert [(row.step, row.fields) for row in rows] == [(3.0, {"one": 0.5})]


@needs_tensorboard
def test_a_file_cut_or_damaged_at_every_7th_byte(tmp_path):
    file = written(tmp_path, {"a": float}, n=12)
    raw = file.read_bytes()
    whole = [float(i) for i in range(12)]
    ends = [0]
    while ends[-1] < len(raw):
        ends.append(ends[-1] + int.from_bytes(raw[ends[-1] : ends[-1] + 8], "little") + 16)
    for end in range(0, len(raw), 7):
        file.write_bytes(raw[:end])
        ((_, rows),), notes = read(tensorboard, file)
        got = points(rows, "a")
        assert got == whole[: len(got)]
        assert bool(notes) == (end not in ends)
        file.write_bytes(raw[:end] + b"\xff" + raw[end + 1 :])
        ((_, rows),), notes = read(tensorboard, file)
        assert notes or points(rows, "a") == whole
    file.write_bytes(b"")
    assert read(tensorboard, file)[0][0][1] == []


@needs_tensorboard
def test_loops_of_links(tmp_path):
    written(tmp_path / "a", {"x": float})
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "x.tfevents.1").symlink_to(tmp_path / "x.tfevents.1")
    assert len(read(tensorboard, tmp_path)[0]) == 1
