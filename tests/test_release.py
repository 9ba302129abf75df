"""What is released: what the checks of `scripts/release.py` see, and what its archives are made of in this checkout."""

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import entrokit

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCE = {"entrokit/__init__.py", "entrokit/py.typed", "entrokit/report/page.css"} | {
    f"entrokit/{folder}/trl.yaml" for folder in ("runs/names", "diagnose/levers")
}
PACKED = SOURCE | {"entrokit-1.0.dist-info/METADATA"}
WHOLE = {f"entrokit-1.0/src/{name}" for name in SOURCE} | {
    f"entrokit-1.0/{name}"
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "PKG-INFO", ".gitignore")
}


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def release():
    return loaded("release")


def test_whole_archives_have_nothing_amiss(release):
    assert release.amiss_in_wheel(PACKED, SOURCE, "1.0") == []
    assert release.amiss_in_sdist(WHOLE, SOURCE, "1.0") == []


@pytest.mark.parametrize(
    ("names", "source", "said"),
    [
        (PACKED, SOURCE | {"entrokit/policy.safetensors"}, ["the wheel lacks entrokit/policy.safetensors"]),
        (PACKED | {"tests/test_a.py"}, SOURCE, ["the wheel has tests/test_a.py, which git does not know"]),
        (
            PACKED - {"entrokit/py.typed"},
            SOURCE - {"entrokit/py.typed"},
            ["no file of the wheel is entrokit/py.typed"],
        ),
        (
            PACKED - {"entrokit/report/page.css"},
            SOURCE,
            ["the wheel lacks entrokit/report/page.css", "no file of the wheel is entrokit/*.css"],
        ),
    ],
    ids=["data", "tests", "types", "style"],
)
def test_what_a_wheel_lacks_or_has_too_much_is_named(release, names, source, said):
    assert release.amiss_in_wheel(names, source, "1.0") == said


@pytest.mark.parametrize(
    ("more", "less", "said"),
    [
        ({"entrokit-1.0/tests/test_a.py"}, set(), "the sdist has tests"),
        (set(), {"entrokit-1.0/CHANGELOG.md"}, "the sdist lacks CHANGELOG.md"),
        (set(), {"entrokit-1.0/src/entrokit/py.typed"}, "the sdist lacks src/entrokit/py.typed"),
        (
            {"entrokit-1.0/src/entrokit/notes.txt"},
            set(),
            "the sdist has src/entrokit/notes.txt, which git does not know",
        ),
    ],
    ids=["tests", "changelog", "types", "stray"],
)
def test_what_a_sdist_lacks_or_has_too_much_is_named(release, more, less, said):
    assert release.amiss_in_sdist((WHOLE | more) - less, SOURCE, "1.0") == [said]


def test_what_is_wrong_in_metadata_is_named(release):
    text = "Metadata-Version: 2.4\nName: entrokit\nVersion: 0.9\n\n[a](https://a.org) [b](#b) [c](docs/c.md)\n"
    assert release.amiss_in_metadata(text, "1.0") == [
        "the wheel is of version 0.9, not 1.0",
        "the wheel has no licence",
        "the README's link to docs/c.md leads nowhere on an index",
    ]


def on_an_index(text):
    """The README as the build makes it."""
    for step in SETTINGS["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(step["pattern"], step["replacement"], text)
    return text


def test_links_of_the_readme_lead_somewhere_on_an_index_and_in_the_checkout(release):
    text = on_an_index(README)
    assert release.amiss_in_description(README)
    assert release.amiss_in_description(text) == []
    own = re.findall(r"\]\(https://github.com/entrokit/entrokit/(?:blob|raw)/main/([^)#]+)", text)
    assert len(own) > 20
    assert [path for path in own if not (ROOT / path).exists()] == []
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures
    assert all(url.startswith("https://github.com/entrokit/entrokit/raw/main/docs/img/") for url in pictures)


def test_one_version():
    version = SETTINGS["project"]["version"]
    (newest, *_) = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.M)
    assert entrokit.__version__ == version == newest == cited


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a copy without git")
def test_what_git_knows_of_the_package_is_what_is_needed(release):
    tracked = release.checkout()
    assert all(any(release.fnmatch(name, pattern) for name in tracked) for pattern in release.NEEDED)
    ignored = subprocess.run(
        ["git", "ls-files", "--cached", "--ignored", "--exclude-standard", "src"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert ignored == "", "hatchling leaves out what .gitignore names"


def test_the_oldest_versions_are_asked_for_on_the_oldest_python(release, monkeypatch):
    project = {"requires-python": ">=3.11", "dependencies": ["numpy>=1.26", "typer>=0.15.4"]}
    monkeypatch.setattr(release.sys, "version_info", (3, 11, 7))
    assert release.lowest(project) == ["numpy==1.26", "typer==0.15.4"]
    monkeypatch.setattr(release.sys, "version_info", (3, 12, 1))
    assert release.lowest(project) == []


LOCK = """
[[packages]]
name = "numpy"
version = "2"
wheels = [{ url = "https://example.org/numpy.whl" }]
[[packages]]
name = "zss"
version = "1"
sdist = { url = "https://example.org/zss.tar.gz" }
"""


def test_a_lock_file_becomes_a_row():
    extras = loaded("resolve_extras")
    assert extras.read(LOCK) == extras.Resolved(2, ("zss",))
    found = {
        ("trl", "3.11"): extras.Resolved(3),
        ("trl", "3.12"): extras.read(LOCK),
        ("tasks", "3.11"): extras.Resolved(problem="No solution found"),
        ("tasks", "3.12"): extras.Resolved(1),
    }
    assert extras.table(found).splitlines() == [
        "| extra | 3.11 | 3.12 | built from source |",
        "|---|---:|---:|---|",
        "| trl | 3 | 2 | zss |",
        "| tasks | fails | 1 | – |",
    ]


def test_an_extra_that_does_not_resolve_is_told_with_its_reason(monkeypatch, capsys):
    extras = loaded("resolve_extras")
    answers = {"trl": extras.Resolved(3), "tasks": extras.Resolved(problem="cellpylib has no wheels")}
    monkeypatch.setattr(extras, "resolved", lambda extra, python, platform: answers[extra])
    assert extras.main(["--extra", "trl", "--python", "3.12"]) == 0
    assert extras.main(["--extra", "trl", "--extra", "tasks", "--python", "3.12"]) == 1
    assert capsys.readouterr().out.endswith("tasks on Python 3.12:\ncellpylib has no wheels\n")


def test_the_docs_show_every_extra_on_every_python():
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    extras = loaded("resolve_extras")
    assert f"| extra | {' | '.join(extras.promised())} | built from source |" in text
    rows = re.findall(r"^\| (\S+) \| [\d | ]+\|", text, flags=re.M)
    assert rows == [extras.BARE, *SETTINGS["project"]["optional-dependencies"]]


def test_pythons_are_promised_from_the_lowest_on():
    promised = loaded("resolve_extras").promised()
    assert promised == ["3.11", "3.12", "3.13"]
    assert SETTINGS["project"]["requires-python"] == f">={promised[0]}"
    assert SETTINGS["tool"]["ruff"]["target-version"] == f"py{promised[0].replace('.', '')}"
    assert SETTINGS["tool"]["mypy"]["python_version"] == promised[0]
