"""What `pyproject.toml` asks for is what messages say, and messages say no more than is needed."""

import sys
import tomllib

import pytest
from packaging.requirements import Requirement

import entrokit
from entrokit import extras
from entrokit.extras import EXTRAS, MissingExtraError, extra_of, guard, lacking, missing, pip_install, require

from .processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def asked_for(extra):
    """The packages of an extra, with those of the extras that it refers to."""
    for text in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if requirement.name == "entrokit":
            for other in requirement.extras:
                yield from asked_for(other)
        else:
            yield requirement.name


def test_the_table_is_what_the_project_asks_for():
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"]) - {"all", "dev"}
    assert {extra: set(packages) for extra, packages in EXTRAS.items()} == {e: set(asked_for(e)) for e in EXTRAS}
    # verl wants an environment of its own.
    assert set(asked_for("all")) == {p for extra, packages in EXTRAS.items() if extra != "verl" for p in packages}


def test_the_core_reads_and_judges_logs():
    core = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert core == {"numpy", "pyarrow", "pyyaml", "typer", "rich", "packaging"}
    assert entrokit.__version__ == PROJECT["version"]


def test_a_package_s_own_extra_is_the_smallest():
    assert [extra_of(p) for p in ("torch", "trl", "scikit-learn", "numpy")] == ["torch", "trl", "information", None]


@pytest.mark.parametrize(
    ("packages", "install"),
    [
        (["torch"], "entrokit[torch]"),
        (["torch", "trl"], "entrokit[trl]"),
        (["torch", "plotly"], "entrokit[torch,report]"),
        (["plotly", "scipy"], "entrokit[report,information]"),
        (["numpy"], "entrokit"),
    ],
)
def test_the_command_installs_what_is_lacking_and_no_extra_twice(packages, install):
    quoted = f"'{install}'" if "[" in install else install
    assert str(missing("it", packages)) == f"it needs {', '.join(packages)}: pip install {quoted}"
    assert pip_install() == "pip install entrokit"


def test_lacking_packages_are_told_once_and_found_by_the_name_that_is_imported(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in ("torch", "reasoning_gym", "sklearn") else 1)
    assert lacking("tasks", "torch", "information") == ["torch", "reasoning-gym", "scikit-learn"]
    with pytest.raises(MissingExtraError, match=r"^this needs torch, reasoning-gym: pip install 'entrokit\[tasks\]'$"):
        require("this", "tasks")
    require("that", "report")


def test_a_module_made_by_hand_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", type(sys)("plotly"))
    assert lacking("report") == []


def test_one_guard_stands_however_often_it_is_called():
    before = list(sys.meta_path)
    guard()
    assert sys.meta_path == before
