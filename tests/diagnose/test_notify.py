"""Who is told of a verdict, what they are told, and that nothing of it can end a training."""

import json
import logging
import re
import sys
import threading

import pytest

from entrokit.diagnose import Finding, Remedy, notify
from entrokit.diagnose.notify import notice_of, notifier
from tests.hooks import listening, writing

FOUND = (
    Finding("collapse", "entropy was spent", ("it fell",), (Remedy("go slower", "dapo"),)),
    Finding("mismatch", "they differ", ()),
)
NOTICE = notice_of(FOUND, run="mine", step=12.0, before="healthy")


@pytest.fixture
def in_a_moment(monkeypatch):
    monkeypatch.setattr(notify, "TIMEOUT", 0.2)
    monkeypatch.setattr(notify, "_GRACE", 0.0)


def test_a_notice_says_all_that_is_needed():
    assert NOTICE == {
        "tool": "entrokit",
        "run": "mine",
        "step": 12.0,
        "verdict": "collapse",
        "before": "healthy",
        "cause": "entropy was spent",
        "evidence": ["it fell"],
        "remedies": ["dapo: go slower"],
        "also": ["mismatch"],
        "text": "mine at step 12: collapse: entropy was spent (before: healthy)",
    }


def test_a_url_gets_json():
    with listening() as (url, got):
        notifier(f"{url}/hook?key=1")(NOTICE)
    assert got == [("/hook?key=1", "application/json", NOTICE)]


def test_a_command_gets_json_whether_as_a_list_or_as_a_text(tmp_path):
    file = tmp_path / "told"
    notifier(writing(file))(NOTICE)
    script = tmp_path / "a script.py"
    script.write_text(f"import sys\nopen({str(file)!r}, 'a').write(sys.argv[1] + sys.stdin.read())\n")
    notifier(f"'{sys.executable}' '{script}' '$(id);|'")(NOTICE)
    first, _, second = file.read_text().partition("\n")
    assert json.loads(first) == NOTICE
    assert second.startswith("$(id);|")  # no shell has read it
    assert json.loads(second.removeprefix("$(id);|")) == NOTICE


def test_by_default_nobody_is_told():
    assert notifier(None) is None


@pytest.mark.parametrize("target", ["", "   ", [], [""], "ftp://host/x", "file:///etc/passwd", "https://", "http:///x"])
def test_what_is_neither_a_url_nor_a_command_is_refused(target):
    with pytest.raises(ValueError, match="notify"):
        notifier(target)


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_refuses_is_said_without_its_secret(status, caplog):
    with listening(status) as (url, got):
        notifier(f"{url}/SECRET")(NOTICE)
    assert len(got) == 1
    assert f"HTTPError {status}" in caplog.text
    assert "SECRET" not in caplog.text


def test_nobody_listens(caplog):
    with listening() as (url, _):
        pass
    notifier(f"{url}/SECRET")(NOTICE)
    assert "was not told: URLError" in caplog.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/nowhere/at/all", "SECRET"], "FileNotFoundError"),
        ([sys.executable, "-c", "raise SystemExit(3)", "SECRET"], "it left with 3"),
        ([sys.executable, "-c", "import time; time.sleep(600)", "SECRET"], "took more than|no answer"),
    ],
)
def test_a_command_that_fails_is_said(command, said, caplog, request):
    if "sleep" in command[-2]:
        request.getfixturevalue("in_a_moment")
    with caplog.at_level(logging.WARNING):
        notifier(command)(NOTICE)
    assert re.search(said, caplog.text)
    assert "SECRET" not in caplog.text


def test_a_server_that_never_ends_is_given_up(in_a_moment, caplog):
    over = threading.Event()

    def drip(handler):
        """An answer that would take for ever, though each of its bytes comes in time."""
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        while not over.wait(0.02):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    with listening(answer=drip) as (url, got):
        notifier(url)(NOTICE)
        over.set()
    assert len(got) == 1
    assert "no answer within 0.2 seconds" in caplog.text
