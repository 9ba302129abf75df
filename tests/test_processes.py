"""The tests, and every process that they start, import entrokit from this checkout, whichever one is installed."""

import subprocess
import sys
from pathlib import Path

import entrokit

from .processes import ROOT, run

HERE = ROOT / "src" / "entrokit" / "__init__.py"
# Without `site`, installed packages (an editable entrokit of another checkout among them) are not there.
ALONE = ["-S", "-c"]


def test_this_process():
    assert Path(entrokit.__file__).resolve() == HERE


def test_processes_that_say_what_they_found(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    code = "import json, sys, entrokit, tests; json.dump([entrokit.__file__, tests.__file__], open(sys.argv[1], 'w'))"
    out = tmp_path / "out.json"
    assert [Path(file) for file in run([*ALONE, code, str(out)], out)] == [HERE, ROOT / "tests" / "__init__.py"]


def test_processes_that_a_test_starts_by_itself(tmp_path):
    code = "import entrokit; print(entrokit.__file__)"
    done = subprocess.run([sys.executable, *ALONE, code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert Path(done.stdout.strip()) == HERE
