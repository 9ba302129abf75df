"""The README's picture of a terminal shows what the command prints today, and fetches nothing."""

import re

from scripts import terminal_picture
from typer.testing import CliRunner

from entrokit.cli import diagnosis
from entrokit.cli.app import app

from ..plugin import ROOT

PICTURE = terminal_picture.PICTURE.read_text(encoding="utf-8")


def test_it_shows_what_the_command_prints_today(monkeypatch):
    # Whoever imported it first may have had a width in the environment, which a console keeps.
    monkeypatch.setattr(diagnosis.console, "_width", None)
    printed = CliRunner().invoke(
        app, ["diagnose", str(terminal_picture.LOG)], env={"COLUMNS": str(terminal_picture.COLUMNS)}
    )
    assert printed.exit_code == 0
    first, *shown = terminal_picture.text_of(PICTURE)
    assert first == f"$ {terminal_picture.COMMAND}"
    assert shown == [line.strip() for line in printed.stdout.splitlines()], "run python scripts/terminal_picture.py"
    assert shown[0].startswith("collapse: ")


def test_it_is_what_the_script_draws():
    assert terminal_picture.text_of(terminal_picture.drawn()) == terminal_picture.text_of(PICTURE)
    assert terminal_picture.main(["--check"]) == 0


def test_an_old_picture_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(terminal_picture, "PICTURE", tmp_path / "old.svg")
    (tmp_path / "old.svg").write_text(PICTURE.replace("(1%", "(2%"))
    assert PICTURE.count("(1%")
    assert terminal_picture.main(["--check"]) == 1


def test_it_fetches_nothing():
    assert "@font-face" not in PICTURE
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", PICTURE)
    assert "href" not in PICTURE


def test_the_readme_shows_it():
    assert "](docs/img/diagnose.svg)" in (ROOT / "README.md").read_text(encoding="utf-8")
