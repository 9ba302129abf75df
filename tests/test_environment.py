"""`scripts/environment.py` never lets gigabytes of CUDA packages onto a machine without a GPU."""

import importlib.util
import io
import json
import subprocess
import urllib.error
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "environment.py"


@pytest.fixture
def environment(monkeypatch):
    spec = importlib.util.spec_from_file_location("environment", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    return module


def pip_answers(monkeypatch, module, needs, code=0):
    report = json.dumps({"install": [{"metadata": {"requires_dist": needs}}]})
    monkeypatch.setattr(
        module.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, code, report, "no such version")
    )


def test_a_cpu_build_is_taken_as_it_is(environment, monkeypatch):
    pip_answers(monkeypatch, environment, ["filelock", "sympy>=1.13"])
    assert environment.torch_source(["pip"], "torch==2.13.0") == []


def test_a_cuda_build_is_replaced_by_the_cpu_index_where_it_answers(environment, monkeypatch):
    pip_answers(monkeypatch, environment, ["filelock", "nvidia-cublas==13; platform_system == 'Linux'"])
    monkeypatch.setattr(environment.urllib.request, "urlopen", lambda *a, **k: io.BytesIO(b""))
    assert environment.torch_source(["pip"], "torch==2.13.0") == ["--index-url", environment.CPU_INDEX]


def test_a_cuda_build_is_refused_where_it_does_not(environment, monkeypatch):
    def silent(*args, **kwargs):
        raise urllib.error.URLError("no route")

    pip_answers(monkeypatch, environment, ["cuda-toolkit[cublas]==13"])
    monkeypatch.setattr(environment.urllib.request, "urlopen", silent)
    with pytest.raises(SystemExit, match="CUDA build of several gigabytes, a CPU build is wanted"):
        environment.torch_source(["pip"], "torch==2.13.0")


def test_a_machine_with_a_gpu_takes_what_pip_takes(environment, monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert environment.torch_source(["pip"], "torch==2.13.0") == []


def test_an_unknown_version_is_named(environment, monkeypatch):
    pip_answers(monkeypatch, environment, [], code=1)
    with pytest.raises(SystemExit, match=r"pip cannot find torch==99"):
        environment.torch_source(["pip"], "torch==99")


def test_a_folder_of_something_else_is_not_cleared(environment, tmp_path):
    (tmp_path / "trl").mkdir()
    (tmp_path / "trl" / "setup.py").write_text("mine")
    with pytest.raises(SystemExit, match=r"trl holds something that is no virtual environment"):
        environment.made(tmp_path / "trl")
    assert (tmp_path / "trl" / "setup.py").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_named(environment, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"cannot make an environment in .*file/venv .*name another folder"):
        environment.made(tmp_path / "file" / "venv")


def test_an_environment_whose_pip_is_lacking_gets_it(environment, tmp_path):
    """Making it was stopped after Python was there."""
    environment.venv.create(tmp_path / "venv", with_pip=False)
    pip = environment.made(tmp_path / "venv")
    assert subprocess.run([*pip, "--version"], check=False).returncode == 0


@pytest.mark.parametrize(
    ("there", "record", "whole"),
    [("2.13.0", True, True), ("2.13.0+cpu", True, True), ("2.13.0", False, False), ("2.12.0", True, False)],
)
def test_torch_counts_as_installed_in_its_own_version_and_whole(environment, tmp_path, there, record, whole):
    info = tmp_path / "lib" / "python3.11" / "site-packages" / f"torch-{there}.dist-info"
    info.mkdir(parents=True)
    if record:
        (info / "RECORD").write_text("")
    assert environment.installed(tmp_path, "torch==2.13.0") == whole


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("  Downloading https://h/torch-2.13.0%2Bcpu-cp311-linux_x86.whl (190.3 MB)", "downloading torch (190.3 MB)"),
        ("Downloading triton-3.7-cp311-cp311-linux_x86_64.whl (1.2 GB)", "downloading triton (1.2 GB)"),
        ("Downloading rich-14.0-py3-none-any.whl (243 kB)", None),
        ("Downloading numpy-2.4-cp311-cp311-linux_x86_64.whl (9.9 MB)", None),
        ("Downloading rich-14.0-py3-none-any.whl.metadata (18 kB)", None),
        ("Collecting rich", None),
        ("Installing collected packages: mpmath, sympy, torch", "unpacking 3 packages"),
    ],
)  # fmt: skip
def test_of_pip_large_downloads_and_unpacking_are_told(environment, line, said):
    assert environment.told(line.strip()) == said


def test_an_installation_that_fails_ends_with_its_command(environment, capfd):
    with pytest.raises(SystemExit, match="failed: .*exit.*--progress-bar off"):
        environment.install([environment.sys.executable, "-c", "import sys; print('Collecting x'); sys.exit(3)"])
    assert capfd.readouterr().out == ""
