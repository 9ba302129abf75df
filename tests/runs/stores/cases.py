"""What tests of stores share: the fixtures, how they are read, and what they hold."""

import math
import shutil
import sqlite3
from pathlib import Path

from entrokit.runs.reader import RunReadError
from entrokit.runs.training_log import Notes

DATA = Path(__file__).parent / "data"
NAMES = {"actor/entropy", "critic/score/mean", "up", "down", "train/global_step"}


def copied(name, folder):
    """A copy of a fixture that a test may damage."""
    source = DATA / name
    if source.is_dir():
        return Path(shutil.copytree(source, folder / name))
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(source, folder / name))


def database(name, file):
    """A database out of a fixture's SQL."""
    connection = sqlite3.connect(file)
    connection.executescript((DATA / name).read_text())
    connection.commit()
    connection.close()
    return file


def read(store, path):
    """Recordings with all their rows, and the notes."""
    notes = Notes()
    found = [(recording, list(recording.rows())) for recording in store.recordings(path, notes)]
    return found, notes.lines()


def points(rows, name):
    return [float(row.fields[name]) for row in rows if name in row.fields]


def check_the_two_runs(found, mean="critic/score/mean", down=-math.inf):
    """`data/make.py` logged these, whoever wrote them."""
    assert [recording.run for recording, _ in found] == ["grpo-0", "grpo-1"]
    for k, (recording, rows) in enumerate(found):
        assert [row.number for row in rows] == list(range(rows[0].number, rows[0].number + 7))
        entropy = points(rows, "actor/entropy")
        assert entropy[:4] == [0.5 + k, 0.45 + k, 0.4 + k, 0.35 + k]
        assert math.isnan(entropy[4])
        assert entropy[5:] == [0.25 + k]
        assert points(rows, mean) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
        assert points(rows, "up") == [math.inf] * 6
        assert points(rows, "down") == [down] * 6
        assert points(rows, "train/global_step") == [0, 10, 20, 30, 40, 50]
        assert points(rows, "val/score") == [0.5]
        assert next(recording.rows()).fields == rows[0].fields
        steps = [row.fields["_step"] if row.step is None else row.step for row in rows]
        assert steps == [0, 1, 2, 3, 4, 5, 20]


def read_or_refused(store, file):
    """What a damaged file gives: recordings and notes; or None and the reason, which names the file."""
    store.is_store(file)
    try:
        return read(store, file)
    except RunReadError as error:
        if file.name not in str(error):
            raise AssertionError(f"does not name {file.name}") from error
        return None, [str(error)]


def check_cuts(store, file, entropy, every=7, refused=False):
    """A file cut at every so manyth byte: whole points before the cut in order, and a word where something is lacking.

    With `refused` a cut may make it unreadable, which has to be said.
    """
    raw = file.read_bytes()
    for end in range(0, len(raw), every):
        file.write_bytes(raw[:end])
        found, notes = read_or_refused(store, file)
        if found is None:
            assert refused or end < 8, f"cut at byte {end}"
            continue
        got = [repr(value) for _, rows in found for value in points(rows, "actor/entropy")]
        assert got == [repr(value) for value in entropy][: len(got)], f"cut at byte {end}"
        assert notes or len(got) == len(entropy) or end in whole_ends(raw), f"cut at byte {end}"
    file.write_bytes(raw)


def whole_ends(raw):
    """Where a file of frames as `record_log` has them may end without a word: behind a whole record."""
    from .data.make import frames

    ends = [7]
    for record in frames(raw):
        ends.append(ends[-1] + 7 + len(record))
    return ends if raw[:1] == b":" else []
