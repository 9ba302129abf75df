"""How entries are found: by shelf and file, or in other people's packages; and what is said of those that are not."""

from dataclasses import dataclass, replace
from types import ModuleType, SimpleNamespace

import pytest

from entrokit.discovery import DuplicateError
from entrokit.papers import CATALOGUE, Experiment, paper, registry

ENTRY = """
from entrokit.papers import Experiment, Paper
PAPER = Paper("{slug}", "T", "2501.00001", 2025, "tests", "claims.", (), (), {{"own": Experiment(print, 2, 1, "c")}})
"""


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A shelf of one's own, in place of ours: write modules into it."""
    name = f"shelf_{tmp_path.name}"  # modules stay imported
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_shelves", lambda: iter([name]))
    return folder


def test_entries_are_found_in_order_of_slug_and_helpers_are_passed_over(shelf):
    (shelf / "z_first.py").write_text(ENTRY.format(slug="a-first"))
    (shelf / "last.py").write_text(ENTRY.format(slug="z-last"))
    (shelf / "_helper.py").write_text("raise OSError('nobody asked')")
    found = registry._own()
    assert list(found) == ["a-first", "z-last"]
    assert found["a-first"].where == f"{shelf.name}.z_first"


def test_two_entries_of_one_slug_name_both_files(shelf):
    (shelf / "one.py").write_text(ENTRY.format(slug="twin"))
    (shelf / "other.py").write_text(ENTRY.format(slug="twin"))
    where = rf"the name 'twin' stands in {shelf.name}\.one and in {shelf.name}\.other"
    with pytest.raises(DuplicateError, match=where):
        registry._own()


@pytest.mark.parametrize("text", ["", "PAPER = 'steer'"], ids=["none", "text"])
def test_a_module_without_an_entry_is_named(shelf, text):
    (shelf / "bare.py").write_text(text)
    with pytest.raises(TypeError, match=rf"{shelf.name}\.bare: ends in no PAPER; .* begins with an underscore"):
        registry._own()


@dataclass(frozen=True)
class Point:
    """An entry point of the package `theirs`; ``given`` is what it points at, or raises."""

    name: str
    given: object

    value = "theirs:PAPER"
    dist = SimpleNamespace(name="theirs")

    def load(self):
        if isinstance(self.given, BaseException):
            raise self.given
        return self.given


@pytest.fixture
def plug(monkeypatch):
    """Installs packages with these entry points of papers; they are gone after the test."""

    def install(**given):
        points = [Point(name.replace("_", "-"), thing) for name, thing in given.items()]
        monkeypatch.setattr(
            "entrokit.discovery.entry_points", lambda group: points if group == "entrokit.papers" else []
        )
        CATALOGUE.refresh()

    yield install
    monkeypatch.undo()
    CATALOGUE.refresh()


def test_broken_entry_points_are_named_and_harm_nothing(plug):
    ours = list(CATALOGUE.own)
    theirs = replace(paper("steer"), slug="theirs")
    plug(
        absent=ModuleNotFoundError("No module named 'theirs'"),
        exits=SystemExit(3),
        nothing=3,
        bare=ModuleType("bare"),
        taken=replace(paper("steer"), title="Another"),
        theirs=theirs,
    )
    assert list(CATALOGUE) == [*ours, "theirs"]
    assert paper("theirs") is theirs
    told = {b.name: str(b) for b in CATALOGUE.broken}
    assert set(told) == {"absent", "exits", "nothing", "bare", "taken"}
    assert told["absent"].endswith("of theirs: ModuleNotFoundError: No module named 'theirs'")
    assert told["exits"].endswith("SystemExit: 3")
    assert "3 is neither a Paper nor a module" in told["nothing"]
    assert "bare: ends in no PAPER" in told["bare"]
    steers = "entrokit.papers.rlvr.steer"
    assert f"the name 'steer' of {steers} is taken by {steers}" in told["taken"]


def test_a_module_of_an_installed_package_will_do(plug):
    module = ModuleType("their_entry")
    module.PAPER = replace(paper("steer"), slug="theirs", experiments={"own": Experiment(plug, 2, 1.0, "holds")})
    plug(theirs=module)
    assert paper("theirs") is module.PAPER
    assert CATALOGUE.where("theirs") == plug.__module__
    assert CATALOGUE.broken == ()


def test_without_them_nothing_is_left(plug):
    assert "theirs" not in CATALOGUE
    plug()
    assert list(CATALOGUE) == CATALOGUE.own


def test_a_plug_in_that_is_broken_is_told_by_its_name(plug):
    plug(my_paper=ModuleNotFoundError("No module named 'theirs'"))
    for name in ("my-paper", "my_paper"):
        with pytest.raises(
            ValueError, match=f"the paper '{name}' is a plug-in that could not be loaded: my-paper = "
        ) as e:
            paper(name)
        assert str(e.value).endswith("of theirs: ModuleNotFoundError: No module named 'theirs'")
    with pytest.raises(ValueError, match="no paper 'my-papers' in the catalogue"):
        paper("my-papers")
