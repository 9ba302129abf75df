"""Finds what packages hold, ours and other people's, so that no list of it need be kept.

Ours are the modules of a package. Other people's are entry points of an installed distribution; one that is broken is
left out, kept in `Discovered.broken` with the reason, and harms nothing else.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class DuplicateError(ValueError):
    """Two things of one name: which, and where both are."""


@dataclass(frozen=True)
class Broken:
    """An entry point that could not be taken.

    Attributes:
        name: of the entry point. value: what it points at. package: the distribution that declares it. reason: why not.
    """

    name: str
    value: str
    package: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value} of {self.package}: {self.reason}"


@dataclass(frozen=True)
class Found(Generic[T]):
    """One thing, and the module that holds it."""

    value: T
    where: str


class Discovered(Mapping[str, T]):
    """What a house holds by name, looked for on first use.

    Args:
        own: gives ours, by name. group: of the entry points, if others may add to it.
        accept: makes of what an entry point points at the things that it stands for, by name; raises where it is none.
    """

    def __init__(
        self,
        own: Callable[[], Mapping[str, Found[T]]],
        group: str | None = None,
        accept: Callable[[Any], Mapping[str, Found[T]]] = lambda given: {},
    ) -> None:
        self._own, self._group, self._accept = own, group, accept
        self._found: dict[str, Found[T]] | None = None
        self._broken: list[Broken] = []
        self._thread = threading.local()

    def __getitem__(self, name: str) -> T:
        return self._all()[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self)})"

    def where(self, name: str) -> str:
        """The module that holds it."""
        return self._all()[name].where

    @property
    def own(self) -> list[str]:
        """Names of ours, without those of plug-ins."""
        return list(self._own())

    @property
    def broken(self) -> tuple[Broken, ...]:
        """Entry points that could not be taken."""
        self._all()
        return tuple(self._broken)

    def refresh(self) -> None:
        """Forgets what was found; the next use looks again."""
        self._found = None

    @contextmanager
    def lent(self, name: str, thing: Found[T]) -> Iterator[None]:
        """Holds one thing more for the time of a ``with``, as if a package had brought it.

        Raises:
            DuplicateError: something from another place has that name; names both.
        """
        found = self._all()
        before = found.get(name)
        if before is not None and before.where != thing.where:
            raise DuplicateError(f"the name {name!r} of {thing.where} is taken by {before.where}")
        found[name] = thing
        try:
            yield
        finally:
            if before is None:
                del found[name]
            else:
                found[name] = before

    def _all(self) -> dict[str, Found[T]]:
        if self._found is not None:
            return self._found
        # A plug-in may ask while it is looked for: it sees ours, and what was taken before it. Every thread looks for
        # itself: one that waited for another could wait for a module that the other is importing.
        looking: dict[str, Found[T]] | None = getattr(self._thread, "looking", None)
        if looking is not None:
            return looking
        found, broken, postponed = dict(self._own()), [], False
        self._thread.looking = found
        try:
            points = entry_points(group=self._group) if self._group else ()
            for point in sorted(points, key=lambda p: p.name):
                if _is_being_imported(point):
                    postponed = True
                else:
                    broken += self._take(point, found)
        finally:
            self._thread.looking = None
        self._broken = broken
        if not postponed:
            self._found = found
        return found

    def _take(self, point: EntryPoint, found: dict[str, Found[T]]) -> list[Broken]:
        try:
            given = self._accept(point.load())
            for name, thing in given.items():
                if name in found and found[name].value is not thing.value:
                    raise DuplicateError(f"the name {name!r} of {thing.where} is taken by {found[name].where}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a stranger's module may raise anything: `SystemExit`, a skipped test
            package = point.dist.name if point.dist else "an unknown package"
            return [Broken(point.name, point.value, package, _in_words(error))]
        found.update(given)
        return []


def _is_being_imported(point: EntryPoint) -> bool:
    """Whether its module is halfway through its own import, which asks for what is here: it is looked at later."""
    spec = getattr(sys.modules.get(point.value.partition(":")[0].strip()), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def _in_words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its own `__str__`
        return type(error).__name__


def modules_of(package: str) -> Iterator[ModuleType]:
    """The modules of a package in order of name, imported; those that begin with an underscore are its own affair."""
    folder = import_module(package).__path__
    for module in sorted(iter_modules([str(Path(f)) for f in folder]), key=lambda m: m.name):
        if not module.name.startswith("_"):
            yield import_module(f"{package}.{module.name}")


def by_name(things: Iterator[tuple[str, Found[T]]]) -> dict[str, Found[T]]:
    """The things by name.

    Raises:
        DuplicateError: two of one name; names both modules.
    """
    found: dict[str, Found[T]] = {}
    for name, thing in things:
        if name in found:
            raise DuplicateError(f"the name {name!r} stands in {found[name].where} and in {thing.where}")
        found[name] = thing
    return found


@cache
def public_names(package: str) -> Mapping[str, Any]:
    """What the modules of a package list in their ``__all__``, by name."""
    return {name: getattr(m, name) for m in modules_of(package) for name in getattr(m, "__all__", ())}
