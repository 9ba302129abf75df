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
