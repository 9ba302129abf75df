"""Writes docs/api.md: the public names of every package, read from the source without importing it.

python scripts/api.py            # writes it
python scripts/api.py --check    # exit code 1 if it is not what the source says
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PAGE = ROOT / "docs" / "api.md"
NOT_PUBLIC = {"entrokit.cli"}
# Wings, and where methods lie: a file more is a method more, so these stand on the site alone and not in PAGE.
OF_METHODS = (
    "entrokit.attention",
    "entrokit.choice",
    "entrokit.compression",
    "entrokit.decoding",
    "entrokit.dynamics",
    "entrokit.generative",
    "entrokit.information",
    "entrokit.losses",
    "entrokit.optim",
    "entrokit.physics",
    "entrokit.rlvr.bases",
    "entrokit.rlvr.interventions",
    "entrokit.search",
)


def packages() -> list[str]:
    """Packages and modules with an ``__all__`` of names: packages everywhere, single modules where methods lie."""
    found = []
    for file in sorted((SOURCE / "entrokit").rglob("*.py")):
        whole = file.name == "__init__.py"
        parts = (file.parent if whole else file.with_suffix("")).relative_to(SOURCE).parts
        name = ".".join(parts)
        of_methods = name.startswith(tuple(f"{package}." for package in OF_METHODS))
        # A topic's package speaks for its modules.
        taken = any(
            name.startswith(f"{topic}.") for topic in found if topic.startswith(OF_METHODS) and topic not in OF_METHODS
        )
        if (whole or of_methods) and not taken and name not in NOT_PUBLIC and _exports(file):
            found.append(name)
    return found


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _exports(file: Path) -> bool:
    tree = _tree(file)
    return bool(_literal(tree, "__all__") or _literal(tree, "_WHERE"))


@dataclass(frozen=True)
class Entry:
    """One public name: what it is called with, and the first line of its docstring."""

    signature: str
    summary: str


def names_of(package: str) -> dict[str, Entry]:
    """The names of ``__all__``, in its order."""
    tree = _tree(_file_of(package))
    where = {
        alias.asname or alias.name: (node, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = _literal(tree, "_WHERE") or {}
    found = {}
    for name in _literal(tree, "__all__") or list(lazy):
        if name in where:
            node, original = where[name]
            found[name] = _entry(_module(package, node.module, node.level), original)
        else:
            found[name] = _entry(f"{package}.{lazy[name]}" if name in lazy else package, name)
    return found


def page() -> str:
    """The page of the core's names."""
    core = [name for name in packages() if not _of_methods(name)]
    return (
        "# API\n\nThe public names, generated from the source by `python scripts/api.py`. What a name takes, gives\n"
        "and raises stands in its docstring: `help(name)`. Anything else may change without notice.\n"
        + "".join(map(_section, core))
        + "\nNames of methods and wings follow where the site is built (`make docs`).\n"
        + "\n<!-- table: api-of-methods -->\n"
    )


def of_methods() -> str:
    """The names of methods and wings, for the site."""
    return "".join(map(_section, filter(_of_methods, packages())))


def _of_methods(name: str) -> bool:
    return name in OF_METHODS or name.startswith(tuple(f"{package}." for package in OF_METHODS))


def _section(package: str) -> str:
    summary = _summary(_tree(_file_of(package)))
    rows = (f"| `{entry.signature}` | {entry.summary} |\n" for _, entry in sorted(names_of(package).items()))
    return f"\n## `{package}`\n\n{summary}\n\n| name | |\n|---|---|\n{''.join(rows)}"


def _file_of(module: str) -> Path:
    path = SOURCE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _module(package: str, name: str | None, level: int) -> str:
    if level == 0:
        return name or ""
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, *([name] if name else [])])


def _entry(module: str, name: str) -> Entry:
    """A definition, followed through re-exports."""
    tree = _tree(_file_of(module))
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return Entry(_signature(node), _summary(node))
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _entry(_module(_package_of(module), node.module, node.level), alias.name)
    return Entry(name, "A constant.")


def _package_of(module: str) -> str:
    return module if _file_of(module).name == "__init__.py" else module.rpartition(".")[0]


def _signature(node: ast.ClassDef | ast.FunctionDef) -> str:
    if isinstance(node, ast.FunctionDef):
        return f"{node.name}({_names(node.args)})"
    made = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if made is not None:
        return f"{node.name}({_names(made.args, skip=1)})"
    if not any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        return node.name
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and "ClassVar" not in ast.unparse(n.annotation)]
    shown = [f"{ast.unparse(n.target)}{_default(n.value)}" for n in fields if "init=False" not in _default(n.value)]
    return f"{node.name}({', '.join(shown)})"


def _names(arguments: ast.arguments, skip: int = 0) -> str:
    placed = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(placed) - len(arguments.defaults)) + list(arguments.defaults)
    shown = [f"{a.arg}{_default(d)}" for a, d in zip(placed, defaults, strict=True)][skip:]
    if arguments.vararg:
        shown.append(f"*{arguments.vararg.arg}")
    elif arguments.kwonlyargs:
        shown.append("*")
    shown += [f"{a.arg}{_default(d)}" for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return ", ".join([*shown, *([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])])


def _default(value: ast.expr | None) -> str:
    return "" if value is None else f"={ast.unparse(value)}"


def _summary(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`").replace("|", "\\|")


def _literal(tree: ast.Module, name: str) -> list[str] | dict[str, str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                return None
    return None


def main() -> int:
    text = page()
    if "--check" in sys.argv:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
