"""docs/api.md is what the source says."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from ..without import run_without

ROOT = Path(__file__).parents[2]


def loaded():
    """scripts/api.py as a module."""
    spec = importlib.util.spec_from_file_location("api", ROOT / "scripts" / "api.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["api"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def api():
    return loaded()


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
    page, rest = api.page(), api.of_methods()
    assert not any(f"`{name}`" in page for name in methods)
    assert all(f"## `{name}`" in rest for name in methods)


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


# Of each of them a page is derived without it; imported they can be where it is.
ENGINES = {f"entrokit.engines.{name}": name for name in ("trl", "verl", "tinker")}


def not_as_listed(api):
    """What the listed packages do not offer, or offer beside; those whose engine is not installed are passed over."""
    found = []
    for package in api.packages():
        engine = ENGINES.get(package)
        if engine is not None and not importlib.util.find_spec(engine):
            continue
        module = importlib.import_module(package)
        found += [f"{package}.{name}" for name in module.__all__ if not hasattr(module, name)]
        found += [f"{package}.{name}" for name in set(module.__all__) ^ set(api.names_of(package))]
    return found


def test_all_that_a_listed_package_offers_can_be_imported(api):
    assert set(ENGINES) < set(api.packages())
    assert not_as_listed(api) == []


def test_a_package_whose_engine_is_missing_is_passed_over(tmp_path):
    code = (
        "from tests.docs.test_api import loaded, not_as_listed; import sys; assert not_as_listed(loaded()) == [];"
        "assert 'entrokit.engines.prime_rl' in sys.modules;"
        "assert not {f'entrokit.engines.{name}' for name in ('trl', 'verl', 'tinker')} & set(sys.modules)"
    )
    done = run_without(["trl", "verl", "tinker"], ["-c", code], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
