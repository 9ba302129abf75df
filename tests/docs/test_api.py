"""docs/api.md is what the source says."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def api():
    spec = importlib.util.spec_from_file_location("api", ROOT / "scripts" / "api.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["api"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(api):
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == api.page(), "run python scripts/api.py"


def test_every_name_has_a_line(api):
    for package in api.PACKAGES:
        for name, entry in api.names_of(package).items():
            assert entry.summary, f"{package}.{name}"


def advertised():
    from entrokit.papers import CATALOGUE

    return {(entry.slug, name) for entry in CATALOGUE.values() for name in entry.names}


def is_public(api, name):
    package, _, attribute = name.rpartition(".")
    return package in api.PACKAGES and attribute in importlib.import_module(package).__all__


def test_what_papers_advertise_is_public_and_on_the_page(api):
    assert advertised()
    assert {(slug, name) for slug, name in advertised() if not is_public(api, name)} == set()
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    sections = dict(part.split("`\n", 1) for part in page.split("\n## `")[1:])
    for slug, name in advertised():
        package, _, attribute = name.rpartition(".")
        shown = [line.split("`")[1].split("(")[0] for line in sections[package].splitlines() if line.startswith("| `")]
        assert attribute in shown, f"{slug}: {name}"


def test_all_that_a_listed_package_offers_can_be_imported(api):
    for package in api.PACKAGES:
        if package in ("entrokit.engines.trl", "entrokit.engines.verl"):
            continue  # they need their engine
        module = importlib.import_module(package)
        assert [name for name in module.__all__ if not hasattr(module, name)] == []
        assert sorted(module.__all__) == sorted(api.names_of(package))
