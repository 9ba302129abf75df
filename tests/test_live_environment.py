"""`scripts/live.py`, whatever stopped it before: pip is a stand-in, folders and locks are real."""

import fcntl
import importlib
import json
import threading
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture
def live(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("live")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(module.sys, "platform", "linux")
    return module


class Pip:
    """Of pip, what matters here: it writes down where an editable install came from, and cannot uninstall a
    distribution without a record."""

    def __init__(self, where):
        self.where, self.calls = where, []

    def made(self, where):
        self.packages.mkdir(parents=True, exist_ok=True)
        return ["pip"]

    @property
    def packages(self):
        return self.where / "lib" / "python3.11" / "site-packages"

    def run(self, command):
        self.calls.append(command[1])
        if "--editable" in command:
            info = self.packages / "entrokit-0.2.0.dist-info"
            info.mkdir(exist_ok=True)
            url = Path(command[-1].partition("[")[0]).as_uri()
            (info / "direct_url.json").write_text(json.dumps({"url": url, "dir_info": {"editable": True}}))
            self.last = command
        if command[1] == "uninstall":
            for info in self.packages.glob("vllm-*.dist-info"):
                if not (info / "RECORD").exists():
                    raise SystemExit("uninstall-no-record-file")
                for file in info.iterdir():
                    file.unlink()
                info.rmdir()


@pytest.fixture
def pip(live, monkeypatch, tmp_path):
    stand_in = Pip(tmp_path / "cache" / "trl")
    monkeypatch.setattr(live, "made", stand_in.made)
    monkeypatch.setattr(live, "run", stand_in.run)
    monkeypatch.setattr(live, "cpu_source", lambda *_: [])
    monkeypatch.setattr(live, "checked", lambda *_: None)
    return stand_in


def names(pip):
    return [info.name for info in pip.packages.glob("vllm-*")]


def test_an_environment_is_made_once(live, pip):
    live.main("trl", str(pip.where))
    assert pip.calls == ["install", "install", "uninstall"]
    (name,) = names(pip)
    assert name.endswith("+cpu.dist-info")
    live.main("trl", str(pip.where))
    assert len(pip.calls) == 3


@pytest.mark.parametrize("name", ["other", "a folder, with ümlauts"])
def test_entrokit_in_it_is_that_of_the_checkout_that_asks(live, pip, monkeypatch, tmp_path, name):
    live.main("trl", str(pip.where))
    live.main("trl", str(pip.where))
    before = len(pip.calls)
    other = tmp_path / name
    other.mkdir()
    for file in ("pyproject.toml", "constraints-live-trl.txt"):
        (other / file).write_bytes((live.ROOT / file).read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(live, "ROOT", other)
        assert not live.of_this_checkout(pip.where)
        live.main("trl", str(pip.where))
        # Of the same versions: nothing but entrokit is installed anew, and once.
        assert pip.calls[before:] == ["install"]
        assert pip.last[1:] == ["install", "--quiet", "--no-deps", "--editable", str(other)]
        live.main("trl", str(pip.where))
        assert len(pip.calls) == before + 1
    live.main("trl", str(pip.where))
    assert pip.last[-1] == str(live.ROOT)
    assert live.of_this_checkout(pip.where)


def test_an_environment_without_entrokit_gets_it(live, pip):
    live.main("trl", str(pip.where))
    for file in pip.packages.glob("entrokit-*/*"):
        file.unlink()
    live.main("trl", str(pip.where))
    assert live.of_this_checkout(pip.where)


@pytest.mark.parametrize("there", [(), ("METADATA",), ("METADATA", "INSTALLER"), ("METADATA", "INSTALLER", "RECORD")])
def test_one_that_was_stopped_while_it_named_vllm_goes_on(live, pip, monkeypatch, there):
    def stopped(where, version):
        info = pip.packages / f"vllm-{version}+cpu.dist-info"
        info.mkdir()
        for name in there:
            (info / name).write_text("")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(live, "call_it_vllm", stopped)
        with pytest.raises(KeyboardInterrupt):
            live.main("trl", str(pip.where))
    live.main("trl", str(pip.where))
    (name,) = names(pip)
    assert "Name: vllm" in (pip.packages / name / "METADATA").read_text()


def test_one_whose_check_fails_is_not_taken_for_made(live, pip, monkeypatch):
    live.main("trl", str(pip.where))
    live.made_of(pip.where).write_text("of something older")
    monkeypatch.setattr(live, "checked", lambda *_: live.sys.exit("cannot be imported"))
    with pytest.raises(SystemExit, match="cannot be imported"):
        live.main("trl", str(pip.where))
    assert not live.made_of(pip.where).exists()


def test_two_at_once_make_it_once(live, pip, capsys):
    live.main("trl", str(pip.where))
    wanted = live.made_of(pip.where).read_text()
    live.made_of(pip.where).unlink()
    calls = len(pip.calls)
    with (pip.where.parent / "trl.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=live.main, args=("trl", str(pip.where)))
        second.start()
        second.join(0.2)
        assert second.is_alive()
        live.made_of(pip.where).write_text(wanted)
    second.join()
    assert len(pip.calls) == calls
    assert "waiting for another that makes" in capsys.readouterr().out


def test_what_is_made_needs_nothing_written(live, pip):
    live.main("trl", str(pip.where))
    (pip.where.parent / "trl.lock").unlink()
    live.main("trl", str(pip.where))
    assert not (pip.where.parent / "trl.lock").exists()


def test_a_folder_that_cannot_be_written_is_named(live, pip, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"cannot make an environment in .*file/live/trl .*make LIVE="):
        live.main("trl", str(tmp_path / "file" / "live" / "trl"))


def test_another_engine_and_another_machine_are_refused(live, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="no live environment 'sglang'; there are trl, verl, tinker"):
        live.main("sglang", str(tmp_path))
    monkeypatch.setattr(live.platform, "machine", lambda: "arm64")
    with pytest.raises(SystemExit, match="Linux on x86-64; this is linux on arm64"):
        live.main("trl", str(tmp_path))
