"""What tests share lies in plain modules: a test module is for pytest alone to import."""

import ast

import pytest

from .processes import ROOT

FILES = sorted(file for folder in ("tests", "experiments") for file in (ROOT / folder).rglob("*.py"))


def from_test_modules(source):
    """What source code imports of modules named ``test_*``, whether or not they have a package."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # The module itself, or a module of a package: `from . import test_one`.
            modules = [node.module or "", *(alias.name for alias in node.names)]
        else:
            continue
        found += [name for name in modules if any(part.startswith("test_") for part in name.split("."))]
    return found


def test_nothing_is_imported_from_a_test_module():
    assert len(FILES) > 100
    found = {str(file.relative_to(ROOT)): from_test_modules(file.read_text(encoding="utf-8")) for file in FILES}
    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from .test_one import batch",
        "from tests.rlvr.test_one import batch as b",
        "from . import cases, test_one",
        "import tests.rlvr.test_one as t",
        "def late():\n    from ..test_one import batch",
    ],
)
def test_every_way_to_import_one_is_seen(source):
    assert len(from_test_modules(source)) == 1


def test_functions_and_helpers_are_not_taken_for_one():
    assert from_test_modules("from .cases import batch\nimport pytest\nfrom entrokit.rlvr import latest_run") == []
