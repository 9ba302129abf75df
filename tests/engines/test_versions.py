"""Versions are checked where they are used, and `entrokit doctor` shows them."""

import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entrokit.cli.app import app
from entrokit.engines import versions
from entrokit.engines.plugins import plug_ins
from entrokit.engines.versions import installed, require


def other_version(monkeypatch, package, version):
    known = metadata.version

    def answer(name):
        if name != package:
            return known(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(versions.metadata, "version", answer)


def test_what_is_installed_here_fits():
    found = {p.package: p for p in installed()}
    assert found["torch"].fits
    assert found["torch"].extra == "torch"
    assert found["numpy"].extra == ""
    assert found["trl"].extra == "trl"
    assert "pytest" not in found
    require("torch", "numpy")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.2.0", r"entrokit needs trl<2,>=1.16, 1.2.0 is installed: pip install 'entrokit\[trl\]' 'trl<2,>=1.16'"),
        ("2.0.0", r"entrokit needs trl<2,>=1.16, 2.0.0 is installed"),
        (None, r"entrokit needs trl<2,>=1.16, it is not installed"),
    ],
)
def test_another_version_is_refused_by_name(monkeypatch, version, message):
    other_version(monkeypatch, "trl", version)
    with pytest.raises(ImportError, match=message):
        require("trl")
    require("transformers")


def test_sources_that_are_not_installed_check_nothing(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(versions.metadata, "requires", nothing)
    assert installed() == []
    require("trl")


def test_the_doctor_shows_versions_and_what_works(monkeypatch):
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 0
    assert "entrokit itself: works" in shown.stdout
    assert "statistics of torch.float32: logits by " in shown.stdout
    other_version(monkeypatch, "trl", "0.9")
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "training with TRL: lacks trl 0.9 (needs <2,>=1.16): pip install 'entrokit[trl]'" in shown.stdout


def fake_plug_in(monkeypatch, tmp_path, code):
    """Installs a package with an entry point that verl would load, and makes verl look installed."""
    (tmp_path / "badly_made.py").write_text(code)
    folder = tmp_path / "badly_made-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: badly-made\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[verl.plugins]\nbadly-made = badly_made\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "badly_made", raising=False)
    other_version(monkeypatch, "verl", "0.9.1")


def shown_of(name):
    return next(p for p in plug_ins() if p.name == name)


def test_a_plug_in_of_verl_that_fails_is_shown(monkeypatch, tmp_path):
    fake_plug_in(monkeypatch, tmp_path, "import nowhere_to_be_found")
    assert shown_of("badly-made").problem == "ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    shown = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"})
    assert "verl plug-in badly-made (badly_made): ModuleNotFoundError" in shown.stdout.replace("\n", " ")
    assert shown.exit_code == 1


def test_a_plug_in_that_verl_was_told_not_to_load_is_shown(monkeypatch, tmp_path):
    fake_plug_in(monkeypatch, tmp_path, "works = True")
    assert shown_of("badly-made").problem is None
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "another")
    assert shown_of("badly-made").problem.startswith("switched off by VERL_USE_EXTERNAL_PLUGINS=another; unset it")


@pytest.mark.parametrize("file", ["fsdp2", "deepspeed_zero2"])
def test_the_launch_configs_of_the_docs_are_accelerates(file):
    """Unknown keys are an error there."""
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(Path(__file__).parents[2] / "docs" / "configs" / f"{file}.yaml"))
    assert config.num_processes == 8
    assert config.mixed_precision == "bf16"
