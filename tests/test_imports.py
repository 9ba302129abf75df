"""Who imports whom: test modules are for pytest alone, and no two of our modules need one another."""

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


def imports_of(module, file, modules):
    """Modules of ours that one names in any import, also inside functions and for annotations alone."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield from (name for name in ([inner] if inner in modules else [base]) if name in modules)


def test_no_modules_import_one_another_in_a_circle():
    source = ROOT / "src"
    modules = {}
    for file in (source / "entrokit").rglob("*.py"):
        parts = file.relative_to(source).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    needs = {name: set(imports_of(name, file, modules)) - {name} for name, file in modules.items()}
    assert len(needs) > 200
    # What nothing that is left needs goes, until only circles are left.
    while True:
        free = {name for name, own in needs.items() if not own & needs.keys()}
        if not free:
            break
        needs = {name: own for name, own in needs.items() if name not in free}
    circles = {name: own & needs.keys() for name, own in needs.items()}
    assert circles == {}
