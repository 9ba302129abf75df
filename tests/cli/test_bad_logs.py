"""Bad input through ``entrokit diagnose``: the right result or a clear word, never a traceback."""

import os
from pathlib import Path

import pytest

from ..runs.cases import write
from .command import called

HEAD = "step,reward,entropy\n"
ROWS = [f"{s},{s / 97:.4f},{1.5 - s / 60:.4f}\n" for s in range(1, 31)]
CSV = HEAD + "".join(ROWS)
LINE = "step:{} - actor/entropy:{} - critic/score/mean:0.25 - actor/pg_loss:0.5"
WANDB = Path(__file__).parents[1] / "runs" / "stores" / "data"


def diagnose(path, *options):
    """Exit code, and all that was printed."""
    done = called("diagnose", path, *options, check=False, columns=400)
    return done.returncode, done.stdout + done.stderr


def refused(path, *words):
    code, said = diagnose(path)
    assert code == 1, said
    assert said.startswith("error: ")
    for word in words:
        assert word in " ".join(said.split())


def judged(path, *words):
    code, said = diagnose(path, "--json")
    assert code == 0, said
    assert '"verdict"' in said
    for word in words:
        assert word in said
    return said


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "The file is empty."),
        (b"\n\n \n", "empty"),
        (b"\x7fELF" + bytes(range(256)) * 20, "a program"),
        (b"\x1f\x8b\x08" + os.urandom(5000), "a gzip archive (unpack it first)"),
        (bytes(range(256)) * 40, "binary"),
        (b"\x80\x04\x95\x10\x00\x00\x00", "a pickle (it is not opened"),
        (b"nothing but words\n" * 500, "no run was found in it. Readable are the logs"),
    ],
)
def test_what_holds_no_run_is_named(tmp_path, content, word):
    for name in ("run.log", "run.csv"):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, word)


def test_a_store_that_is_no_store_is_named(tmp_path):
    (tmp_path / "run.wandb").write_bytes(b":W&B" + os.urandom(300))
    refused(tmp_path / "run.wandb", "run.wandb")
    (tmp_path / "events.out.tfevents.1").write_bytes(os.urandom(300))
    refused(tmp_path / "events.out.tfevents.1", "events.out.tfevents.1")


@pytest.mark.parametrize(("share", "points"), [(0.5, 2), (0.95, 5)])
def test_a_wandb_file_that_was_cut_is_read_up_to_there(tmp_path, share, points):
    pytest.importorskip("wandb", reason="needs the extra 'wandb'")
    data = next(WANDB.rglob("run-aaaa0000.wandb")).read_bytes()
    (tmp_path / "run-1.wandb").write_bytes(data[: int(share * len(data))])
    said = judged(tmp_path / "run-1.wandb", f"{points} points of entropy", "ends in the middle of a record")
    assert "calculate_entropy" not in said


def test_a_last_line_written_half_is_left_out(tmp_path):
    judged(write(tmp_path / "a.csv", CSV + "31,0.4"), "30")
    rows = "".join(f'{{"step": {s}, "entropy": {1.5 - s / 60}, "reward": 0.5}}\n' for s in range(1, 31))
    judged(write(tmp_path / "a.jsonl", rows + '{"step": 31, "entr'), "cut off while it was written")
    lines = "".join(LINE.format(s, 1.5 - s / 60) + "\n" for s in range(1, 31))
    judged(write(tmp_path / "a.log", lines + "step:31 - actor/entropy:0.9 - critic/sco"))


def test_encodings_may_be_mixed(tmp_path):
    (tmp_path / "a.csv").write_bytes(
        b"\xef\xbb\xbf" + (HEAD + "".join(ROWS[:15])).encode() + b"# caf\xe9\n" + "".join(ROWS[15:]).encode()
    )
    judged(tmp_path / "a.csv", "cp1252")
    (tmp_path / "b.csv").write_bytes(CSV.encode("utf-16"))
    judged(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_bytes(CSV.encode() + b"\x00" * 512)
    judged(tmp_path / "c.csv", "NUL bytes were left out")


def test_twenty_thousand_columns(tmp_path):
    names = ",".join(f"layer_{i}/norm" for i in range(20_000))
    cells = ",0.125" * 20_000
    text = f"step,reward,entropy,{names}\n" + "".join(row.rstrip("\n") + cells + "\n" for row in ROWS)
    judged(write(tmp_path / "wide.csv", text))


def test_steps_that_go_back_and_steps_written_twice(tmp_path):
    judged(write(tmp_path / "a.csv", CSV + "".join(ROWS[20:]) + "".join(ROWS[5:25])))
    judged(write(tmp_path / "b.csv", HEAD + "".join(row + row for row in ROWS)))
    code, said = diagnose(
        write(tmp_path / "c.csv", CSV + "".join(f"{s},{s / 50},{0.5 - s / 60}\n" for s in range(1, 13))), "--all"
    )
    assert code == 0
    assert "run 2, steps 1 to 12" in said
    assert "run 1, steps 1 to 30" in said


def test_a_folder_of_a_thousand_runs(tmp_path):
    for i in range(1000):
        (tmp_path / f"r{i:04}").mkdir()
        write(tmp_path / f"r{i:04}" / "t.csv", CSV)
    refused(tmp_path, "1000 folders below it look like runs; name one of them: r0000, r0001")


def test_links_in_circles(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.log").symlink_to(tmp_path / "self.log")
    refused(tmp_path, "no run was found in it")
    refused(tmp_path / "self.log", "does not exist")
    write(tmp_path / "t.csv", CSV)
    judged(tmp_path)
    judged(tmp_path / "loop" / "loop")


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is a pipe or a device")
