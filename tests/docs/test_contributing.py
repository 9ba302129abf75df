"""CONTRIBUTING.md, followed word by word in a package outside of this repository."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from entrokit.papers.results import load

from ..plugin import ROOT, package, python

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", TEXT, flags=re.S))
COMMANDS = [shlex.split(c) for c in re.search(r"```sh\n(pytest .*?)```", TEXT, flags=re.S)[1].splitlines()]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A folder with the files as they stand, and the metadata that an installation of its pyproject.toml leaves."""
    folder = tmp_path_factory.mktemp("theirs")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    return package(folder, project["name"], project["entry-points"])


def done(theirs, command):
    module = {"pytest": ["-m", "pytest", "-p", "no:cacheprovider"], "entrokit": ["-m", "entrokit"]}[command[0]]
    return python(theirs, "", *module, *command[1:], cwd=theirs)


def test_a_method_and_its_paper_are_two_files_a_test_and_two_lines():
    assert set(FILES) == {"quiet_certainty.py", "quiet_certainty_paper.py", "test_quiet_certainty.py", "pyproject.toml"}
    points = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]
    assert {group: len(own) for group, own in points.items()} == {"entrokit.interventions": 1, "entrokit.papers": 1}
    assert len(FILES["quiet_certainty.py"].splitlines()) < 70


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c[:2]))
def test_every_command_does_what_is_said(theirs, command):
    before = untouched()
    result = done(theirs, command)
    # Of a claim that fails `reproduce` tells by its exit code: two seeds may show anything.
    assert result.returncode in ((0, 1) if command[1] == "reproduce" else (0,)), result.stdout + result.stderr
    assert "quiet-certainty" in result.stdout or command[0] == "pytest"
    assert "Traceback" not in result.stderr
    assert untouched() == before, "nothing of the repository was touched"


def test_what_was_measured_is_there_as_data(theirs):
    if not (theirs / "results").exists():
        done(theirs, COMMANDS[-1])
    found = load(theirs / "results" / "quiet-certainty.json").experiments["tabular"]
    (finding,) = found.findings
    assert list(finding.raw) == ["grpo+quiet-certainty(threshold=1.0)", "grpo"]
    assert all(len(numbers) == 2 for numbers in finding.raw.values())
    assert found.command == "entrokit reproduce quiet-certainty --experiment tabular --seeds 2"


def test_both_files_stand_in_our_own_house_as_they_are(tmp_path):
    """Under the paths that it names, in a copy of the package: found, without a line elsewhere."""
    code = (
        "import entrokit.rlvr.interventions as i, entrokit.papers.rlvr as p, sys\n"
        "i.__path__.append(sys.argv[1]); p.__path__.append(sys.argv[2])\n"
        "from entrokit.rlvr import recipe; from entrokit.papers import CATALOGUE\n"
        "print(recipe('grpo+quiet-certainty'), CATALOGUE['quiet-certainty'].arxiv, len(CATALOGUE.own))\n"
    )
    (tmp_path / "i").mkdir()
    (tmp_path / "p").mkdir()
    (tmp_path / "i" / "quiet_certainty.py").write_text(FILES["quiet_certainty.py"])
    (tmp_path / "p" / "quiet_certainty.py").write_text(FILES["quiet_certainty_paper.py"])
    result = python(tmp_path, code, str(tmp_path / "i"), str(tmp_path / "p"))
    assert result.stdout.startswith("grpo+quiet-certainty 2501.00001"), result.stderr


def untouched():
    """Our files as they are: times and sizes of all that git follows."""
    try:
        names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )
    except (OSError, subprocess.CalledProcessError):
        names = [str(f.relative_to(ROOT)) for f in (ROOT / "src").rglob("*.py")]
    return {n: (s.st_mtime_ns, s.st_size) for n in names if n and (f := Path(ROOT, n)).exists() for s in [f.stat()]}


def test_what_it_names_is_there():
    for name in re.findall(r"`((?:src|tests|scripts|docs|papers|rlvr)/[\w/.]+\.(?:py|md))`", TEXT):
        if "quiet" not in name:
            assert (ROOT / name).exists() or (ROOT / "src" / "entrokit" / name).exists(), name
    floors = re.findall(r"^\| \d* ?\| (.+?) \|", TEXT, flags=re.M)
    named = {n for floor in floors for n in re.findall(r"`(\w+)/`", floor)}
    packages = {f.parent.name for f in (ROOT / "src" / "entrokit").glob("*/__init__.py")}
    assert named == packages
