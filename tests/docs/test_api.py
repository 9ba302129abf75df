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
    assert len(api.packages()) > 40
    for package in api.packages():
        for name, entry in api.names_of(package).items():
            assert entry.summary, f"{package}.{name}"


def test_a_method_more_changes_the_page_of_the_core_by_nothing(api):
    methods = [name for name in api.packages() if name.startswith("entrokit.rlvr.interventions.")]
    assert len(methods) > 20
    page = api.page()
    assert not any(f"`{name}`" in page for name in methods)
    assert all(f"## `{name}`" in api.of_methods() for name in methods)


def advertised():
    from entrokit.papers import CATALOGUE

    return sorted({(entry.slug, name) for entry in CATALOGUE.values() for name in entry.names})


def test_what_papers_advertise_is_public(api):
    assert len(advertised()) > 60
    packages = set(api.packages())
    for slug, name in advertised():
        package, _, attribute = name.rpartition(".")
        assert package in packages, f"{slug}: {package} has no __all__"
        assert attribute in importlib.import_module(package).__all__, f"{slug}: {name}"


def test_all_that_a_listed_package_offers_can_be_imported(api):
    for package in api.packages():
        if package in ("entrokit.engines.trl", "entrokit.engines.verl"):
            continue  # they need their engine
        module = importlib.import_module(package)
        assert [name for name in module.__all__ if not hasattr(module, name)] == []
        assert sorted(module.__all__) == sorted(api.names_of(package))
