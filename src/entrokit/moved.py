"""Import paths of before 0.2: they work until 0.3, each with a `DeprecationWarning` that says where the name is now."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")


def moved_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for ``package`` that finds the names that left it.

    Args:
        homes: new module of every name.

    Raises:
        AttributeError: a name that never was there.
    """

    def find(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # Over this function: the import statement, or whoever read the attribute.
        warnings.warn(
            f"{package}.{name} is now {home}.{name}; the old path works until 0.3", DeprecationWarning, stacklevel=2
        )
        return getattr(import_module(home), name)

    return find


def moved_module(module: str, home: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a module whose whole content is in ``home`` now."""

    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        found = getattr(import_module(home), name)
        warnings.warn(f"{module} is now {home}; the old path works until 0.3", DeprecationWarning, stacklevel=2)
        return found

    return find


def by_name(names_of: Mapping[str, str]) -> dict[str, str]:
    """Turns ``{module: "Name another_name"}`` around: the module of every name."""
    return {name: module for module, names in names_of.items() for name in names.split()}


def renamed(old: str, new: str, value: T) -> T:
    """``value``, read under an old name: for a property that stays for one release."""
    warnings.warn(f"{old} is called {new} now; the old name works until 0.3", DeprecationWarning, stacklevel=3)
    return value
