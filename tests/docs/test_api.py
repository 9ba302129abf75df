"""docs/api.md is what the source says."""

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


def test_it_lists_what_can_be_imported(api):
    import entrokit.distributions
    import entrokit.rlvr

    for package in (entrokit.distributions, entrokit.rlvr):
        assert sorted(package.__all__) == sorted(api.names_of(package.__name__))


def test_every_name_has_a_line(api):
    for package in api.PACKAGES:
        for name, entry in api.names_of(package).items():
            assert entry.summary, f"{package}.{name}"
