"""`entrokit watch` as it follows a run: what it says when, and how it leaves."""

import json
import signal
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from entrokit.cli import watch as module
from entrokit.cli.app import app
from entrokit.cli.watch import Panel, bars, panel_of, pause, stamp_of
from entrokit.diagnose import diagnose
from tests.diagnose.cases import CASES, falling, line, table
from tests.hooks import listening, writing

from ..processes import PATIENCE, started

GOOD = [f"{i},{e},{r}" for i, (e, r) in enumerate(zip(line(0.6, 0.45, 30), line(0.2, 0.5, 30), strict=True))]
BAD = [f"{i + 30},{e},{0.5}" for i, e in enumerate(falling(0.4, 0.01, 40, speed=12.0))]


def write(file, rows, mode="w"):
    with file.open(mode) as out:
        if mode == "w":
            out.write("step,entropy,reward\n")
        out.write("".join(f"{r}\n" for r in rows))


@pytest.fixture
def follow(monkeypatch):
    """Follows a path while things happen to it: one thing in each pause, and Ctrl-C when there is no more."""

    def run(path, *happens, options=()):
        pauses, coming = [], iter(happens)

        def sleep(seconds):
            pauses.append(seconds)
            what = next(coming, None)
            if what is None:
                raise KeyboardInterrupt
            what()

        monkeypatch.setattr(module, "_sleep", sleep)
        answer = CliRunner().invoke(app, ["watch", str(path), *map(str, options)])
        assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
        return answer, pauses

    return run


def nothing():
    pass


def test_it_waits_for_a_path_that_is_not_there_and_says_each_change_once(tmp_path, follow):
    file = tmp_path / "train.csv"
    answer, pauses = follow(
        file,
        nothing,
        lambda: write(file, GOOD),
        nothing,
        lambda: write(file, BAD, "a"),
        nothing,
        options=["--every", 7],
    )
    assert answer.exit_code == 130
    out = answer.stdout
    assert out.count("is not there yet") == 1
    lines = [x.split(" ", 1)[1] for x in out.splitlines() if "step" in x]
    assert len(lines) == 2
    assert lines[0].startswith("step 29: healthy: nothing is wrong")
    assert lines[1].startswith("step 69: healthy → collapse: entropy was spent (entropy fell from")
    assert out.splitlines()[-1] == "Stopped; last verdict: collapse: entropy was spent"
    assert pauses == [7.0] * 6


def test_interrupted_before_there_is_anything(tmp_path, follow):
    answer, _ = follow(tmp_path / "train.csv")
    assert answer.exit_code == 130
    assert answer.stdout.splitlines()[-1] == "Stopped; no verdict yet"


def test_the_log_is_read_only_when_it_has_changed(tmp_path, follow, monkeypatch):
    read = []
    real = module.Reading.read
    monkeypatch.setattr(module.Reading, "read", lambda self, path: read.append(path) or real(self, path))
    file = tmp_path / "train.csv"
    write(file, GOOD)
    follow(file, nothing, nothing, lambda: write(file, BAD[:1], "a"), nothing)
    assert len(read) == 2


def test_truncation_rotation_and_removal_are_outlived(tmp_path, follow):
    file = tmp_path / "train.csv"
    write(file, GOOD + BAD)

    def rotate():
        file.rename(tmp_path / "train.csv.1")
        write(file, GOOD + BAD + BAD)  # longer than before: another file all the same

    answer, _ = follow(
        file,
        lambda: write(file, GOOD),  # emptied, and written anew
        rotate,
        file.unlink,
        nothing,
        lambda: write(file, GOOD),
    )
    out = answer.stdout
    assert answer.exit_code == 130
    assert out.count("begun anew") == 2
    assert out.count("is gone; waiting for it") == 1
    assert "collapse → healthy" in out
    assert "healthy → collapse" in out
    assert out.splitlines()[-1].startswith("Stopped; last verdict: healthy")


def test_the_last_verdict_stays_when_the_log_is_gone(tmp_path, follow):
    file = tmp_path / "train.csv"
    write(file, GOOD + BAD)
    answer, _ = follow(file, file.unlink, nothing)
    assert answer.stdout.splitlines()[-1].startswith("Stopped; last verdict: collapse")


def test_what_is_half_written_or_no_log_is_said_once_and_waited_for(tmp_path, follow):
    file = tmp_path / "train.csv"
    file.write_text("ste")
    answer, _ = follow(
        file,
        nothing,
        lambda: file.write_bytes(b"\x00\x1b]0;owned\x07\xff" * 40),
        lambda: file.write_text(""),
        lambda: write(file, GOOD),
    )
    assert answer.exit_code == 130
    assert "nothing to judge yet" in answer.stdout
    assert "\x1b" not in answer.stdout
    assert "healthy" in answer.stdout.splitlines()[-1]


def test_a_folder_is_followed_and_may_shrink(tmp_path, follow):
    (tmp_path / "run" / "checkpoint-1").mkdir(parents=True)
    weights = tmp_path / "run" / "checkpoint-1" / "weights.bin"
    weights.write_bytes(b"x" * 100_000)
    file = tmp_path / "run" / "metrics.csv"
    write(file, GOOD)
    answer, _ = follow(tmp_path / "run", lambda: write(file, BAD, "a"), weights.unlink)
    assert "healthy → collapse" in answer.stdout
    assert "begun anew" not in answer.stdout


@pytest.mark.parametrize(("patience", "code"), [(1, 11), (3, 11), (4, 130)])
def test_a_named_verdict_that_holds_for_so_many_looks_ends_it(tmp_path, follow, patience, code):
    file = tmp_path / "train.csv"
    write(file, GOOD)
    answer, pauses = follow(
        file,
        lambda: write(file, BAD, "a"),
        nothing,  # a run that has died writes no more: its verdict stands
        nothing,
        options=["--fail-on", "collapse", "--patience", patience],
    )
    assert answer.exit_code == code
    assert len(pauses) == (patience if code == 11 else 4)


def test_looks_are_counted_in_a_row(tmp_path, follow):
    file = tmp_path / "train.csv"
    write(file, GOOD + BAD)
    answer, _ = follow(
        file,
        lambda: write(file, GOOD),
        lambda: write(file, GOOD + BAD),
        lambda: write(file, GOOD),
        options=["--fail-on", "collapse", "--patience", 2],
    )
    assert answer.exit_code == 130


def test_verdicts_that_are_not_named_end_nothing(tmp_path, follow):
    file = tmp_path / "train.csv"
    write(file, GOOD + BAD)
    answer, _ = follow(file, nothing, nothing, nothing, options=["--fail-on", "mismatch"])
    assert answer.exit_code == 130


@pytest.mark.parametrize(
    ("rows", "options", "code"),
    [(GOOD, [], 0), (GOOD + BAD, [], 0), (GOOD + BAD, ["--fail-on", "any"], 11), (GOOD, ["--fail-on", "any"], 0)],
)
def test_once_is_one_look(tmp_path, follow, rows, options, code):
    file = tmp_path / "train.csv"
    write(file, rows)
    answer, pauses = follow(file, options=["--once", *options])
    assert (answer.exit_code, pauses) == (code, [])
    assert ("collapse" if rows != GOOD else "healthy") in answer.stdout


def test_once_with_nothing_to_judge_is_an_error(tmp_path, follow):
    answer, _ = follow(tmp_path / "train.csv", options=["--once"])
    assert answer.exit_code == 1
    assert "is not there yet" in answer.stdout


def test_changes_are_posted_and_a_good_beginning_is_not(tmp_path, follow):
    file = tmp_path / "train.csv"
    write(file, GOOD[:5])
    with listening() as (url, got):
        follow(
            file,
            lambda: write(file, GOOD),
            lambda: write(file, BAD, "a"),
            nothing,
            lambda: write(file, GOOD),
            options=["--notify", f"{url}/hook"],
        )
    sent = [notice for *_, notice in got]
    assert [(n["before"], n["verdict"]) for n in sent] == [("healthy", "collapse"), ("collapse", "healthy")]
    assert sent[0]["run"] == "train.csv"
    assert str(tmp_path) not in json.dumps(sent)
    assert sent[0]["step"] == 69


def test_a_command_is_told(tmp_path, follow):
    import shlex

    file, told = tmp_path / "train.csv", tmp_path / "told"
    write(file, GOOD + BAD)
    follow(file, options=["--once", "--notify", shlex.join(writing(told))])
    assert json.loads(told.read_text())["verdict"] == "collapse"


def test_nobody_who_listens_is_no_harm(tmp_path, follow):
    with listening() as (url, _):
        pass
    file = tmp_path / "train.csv"
    write(file, GOOD + BAD)
    answer, _ = follow(file, nothing, options=["--notify", url])
    assert answer.exit_code == 130


@pytest.mark.parametrize(
    "options",
    [["--notify", "ftp://x/y"], ["--notify", ""], ["--fail-on", "x"], ["--every", "0"], ["--patience", "0"]],
)
def test_options_that_cannot_be_meant_are_a_wrong_command(tmp_path, follow, options):
    answer, _ = follow(tmp_path / "train.csv", options=options)
    assert answer.exit_code == 2


def test_an_empty_path_is_said(follow):
    answer, _ = follow("")
    assert answer.exit_code == 2
    assert "the path is empty" in answer.stderr


@pytest.mark.parametrize(("took", "waits"), [(0.0, 10.0), (0.99, 10.0), (1.0, 10.0), (1.5, 15.0), (60.0, 600.0)])
def test_reading_takes_a_tenth_of_the_time_at_most(took, waits):
    assert pause(10.0, took) == pytest.approx(waits)


def test_stamps_tell_what_has_changed(tmp_path):
    file, link = tmp_path / "a", tmp_path / "again"
    assert stamp_of(file) is None
    file.write_text("x")
    first = stamp_of(file)
    assert stamp_of(file) == first
    file.write_text("xy")
    assert stamp_of(file) != first
    link.symlink_to(tmp_path)  # a circle
    whole = stamp_of(tmp_path)
    assert whole[0] == 2
    file.unlink()
    assert stamp_of(tmp_path) != whole


def test_bars():
    assert bars([]) == ""
    assert bars([1.0]) == "▁"
    assert bars([2.0, 2.0]) == "▁▁"
    assert bars([0.0, 1.0, 2.0]) == "▁▅█"
    assert len(bars(list(range(1000)))) == 32
    assert bars(list(range(1000)))[0] == "▁"
    assert bars(list(range(1000)))[-1] == "█"


def test_a_terminal_gets_a_panel_and_lines_that_stay(tmp_path):
    d = diagnose(table(tmp_path, **CASES["collapse"]))
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    with Panel(console, tmp_path / "run.csv", 10.0) as panel:
        panel.show(d, module.Look(True, True, "", 0.2))
        panel.say(module._verdict_line(d, "healthy"))
    assert "again in 10 s" in out.getvalue()
    assert "▁" in out.getvalue()
    text = StringIO()
    Console(file=text, width=80).print(panel_of(d, "head \x1b[2J"))
    lines = text.getvalue().splitlines()
    assert lines[0].startswith("head ·[2J")
    assert any(x.startswith("entropy ") and "0." in x for x in lines)
    assert any("step 99  collapse: entropy was spent" in x for x in lines)
    assert "\x1b" not in text.getvalue()


def test_ctrl_c_leaves_with_130_and_the_last_verdict(tmp_path):
    """The real one, at a process of its own that waits."""
    file = tmp_path / "train.csv"
    write(file, GOOD + BAD)
    wide = {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with started("watch", str(file), "--every", "600", cwd=tmp_path, **wide) as process:
        assert "collapse" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert rest.splitlines()[-1].startswith("Stopped; last verdict: collapse")
