"""`entrokit doctor` shows methods and papers of other packages that could not be taken."""

import pytest
from typer.testing import CliRunner

from entrokit.cli.app import app
from entrokit.cli.doctor import _PARTS
from entrokit.engines.versions import Installed
from entrokit.extras import EXTRAS
from entrokit.papers.registry import CATALOGUE
from entrokit.rlvr import INTERVENTIONS, PRESETS


@pytest.fixture
def a_broken_package(monkeypatch, tmp_path):
    """Installs a package whose method and paper cannot be imported."""
    folder = tmp_path / "badly_made-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: badly-made\nVersion: 1.0\n")
    points = "[entrokit.interventions]\nquiet = nowhere_to_be_found:Quiet\n[entrokit.papers]\nloud = nowhere_either\n"
    (folder / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    houses = (INTERVENTIONS, PRESETS, CATALOGUE)
    for house in houses:
        house.refresh()
    yield
    monkeypatch.undo()
    for house in houses:
        house.refresh()


@pytest.mark.usefixtures("a_broken_package")
def test_each_is_a_line_once_and_the_exit_code_says_so():
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    lines = [line for line in shown.stdout.splitlines() if line.startswith("plug-in ")]
    reason = "of badly-made: ModuleNotFoundError: No module named"
    assert lines == [
        f"plug-in quiet = nowhere_to_be_found:Quiet {reason} 'nowhere_to_be_found'",
        f"plug-in loud = nowhere_either {reason} 'nowhere_either'",
    ]


def test_without_any_there_is_no_word_of_them():
    assert "plug-in " not in CliRunner().invoke(app, ["doctor"]).stdout


@pytest.mark.parametrize(("trl", "code"), [(None, 0), ("1.16.0", 1)])
def test_a_package_of_another_version_matters_where_what_needs_it_is_there(monkeypatch, trl, code):
    """Tinker's environment brings an older transformers and no TRL: nothing of entrokit's is amiss there."""
    packages = [
        Installed("trl", trl, ">=1.16,<2", "trl"),
        Installed("transformers", "5.8.0", ">=5.10", "trl"),
    ]
    monkeypatch.setattr("entrokit.engines.versions.installed", lambda: packages)
    monkeypatch.setattr("entrokit.cli.doctor._vllm", lambda: [])
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == code
    lacking = next(line for line in shown.stdout.splitlines() if line.startswith("training with TRL: "))
    assert "transformers 5.8.0 (needs >=5.10)" in lacking


def test_every_extra_has_a_line():
    assert set(_PARTS) == set(EXTRAS)
    lines = CliRunner().invoke(app, ["doctor"]).stdout.splitlines()
    assert all(any(line.startswith(f"{what}: ") for line in lines) for what in _PARTS.values())
