"""Interventions, one file per paper, found here; and those of installed packages.

A package joins by an entry point of the group ``entrokit.interventions`` that names a class, a `Preset`, or a module
that holds some. Public names of ours can be had here, too: ``from entrokit.rlvr.interventions import Steer``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from entrokit.discovery import Discovered, DuplicateError, Found, by_name, modules_of, public_names

from .. import bases
from ..bases import BASES
from ..card import Card, Preset
from ..intervention import Intervention

GROUP = "entrokit.interventions"


_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def interventions_in(module: ModuleType) -> Iterator[type[Intervention]]:
    """The named interventions that a module defines, or lists in its ``__all__``."""
    listed = getattr(module, "__all__", ())
    for name, cls in vars(module).items():
        named = inspect.isclass(cls) and issubclass(cls, Intervention) and "name" in vars(cls)
        if named and (cls.__module__ == module.__name__ or name in listed):
            yield cls


def presets_in(module: ModuleType) -> Iterator[Preset]:
    """The presets that a module holds."""
    return (value for value in vars(module).values() if isinstance(value, Preset))


def _where(cls: type[Intervention]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _checked(cls: type[Intervention]) -> Found[type[Intervention]]:
    where = _where(cls)
    if not isinstance(cls.card, Card):
        raise TypeError(
            f"{where}: has no card, and tests, benches and pages would not know it (card: ClassVar = Card(...))"
        )
    return Found(cls, where)


def _own_interventions() -> Mapping[str, Found[type[Intervention]]]:
    return by_name((cls.name, _checked(cls)) for m in modules_of(__name__) for cls in interventions_in(m))


def _own_presets() -> Mapping[str, Found[Preset]]:
    return by_name((preset.name, Found(preset, m.__name__)) for m in modules_of(__name__) for preset in presets_in(m))


def _accept(given: Any) -> Mapping[str, Found[type[Intervention]]]:
    if isinstance(given, Preset):
        return {}
    classes = list(interventions_in(given)) if isinstance(given, ModuleType) else [given]
    if isinstance(given, ModuleType) and not classes and not list(presets_in(given)):
        raise TypeError(f"the module {given.__name__} holds neither an Intervention with a name nor a Preset")
    for cls in classes:
        if not (inspect.isclass(cls) and issubclass(cls, Intervention) and isinstance(getattr(cls, "name", None), str)):
            raise TypeError(
                f"{cls!r} is neither an Intervention with a name, nor a Preset, nor a module that holds some"
            )
        _refuse_name(cls.name, _where(cls), {**_homes(BASES), **{n: f.where for n, f in _own_presets().items()}})
    return by_name((cls.name, _checked(cls)) for cls in classes)


def _accept_preset(given: Any) -> Mapping[str, Found[Preset]]:
    if isinstance(given, Preset):
        presets, where = [given], f"the preset for {given.recipe!r}"
    elif isinstance(given, ModuleType):
        presets, where = list(presets_in(given)), given.__name__
    else:
        return {}
    for preset in presets:
        _refuse_name(preset.name, where, {**_homes(BASES), **_homes(INTERVENTIONS)})
        first = re.match(r"\s*[\w-]*", preset.recipe)
        if first is None or first[0].strip().replace("-", "_") not in BASES:
            raise ValueError(f"{where}: the preset {preset.name!r} begins with no base: {preset.recipe!r}")
    return by_name((preset.name, Found(preset, where)) for preset in presets)


def _refuse_name(name: str, where: str, taken: Mapping[str, str]) -> None:
    """A name that no recipe string could reach, or that would stand in front of another's.

    Raises:
        ValueError: words other than lower-case ones, joined by hyphens. DuplicateError: who has it.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{where}: a name is lower-case words joined by hyphens, got {name!r}")
    _refuse_taken(name, where, taken)


def _refuse_taken(name: str, where: str, taken: Mapping[str, str]) -> None:
    if name in taken:
        raise DuplicateError(f"the name {name!r} of {where} is taken by {taken[name]}")


def _homes(things: Discovered[Any]) -> dict[str, str]:
    return {name.replace("_", "-"): things.where(name) for name in things}


INTERVENTIONS: Discovered[type[Intervention]] = Discovered(_own_interventions, GROUP, _accept)
"""What a recipe string can name, by name: ours, then those of installed packages."""

PRESETS: Discovered[Preset] = Discovered(_own_presets, GROUP, _accept_preset)
"""Papers that are a whole recipe, by name."""


def registered(cls: type[Intervention]) -> AbstractContextManager[None]:
    """Lets recipe strings name a class for the time of a ``with``, though no installed package brings it.

        with registered(MyMethod):
            recipe("grpo+my-method(knob=0.5)")

    Raises:
        DuplicateError: another class has its name. TypeError: it has no name.
    """
    if not (inspect.isclass(cls) and issubclass(cls, Intervention) and isinstance(getattr(cls, "name", None), str)):
        raise TypeError(f"{cls!r} is no Intervention with a name that a recipe could say (name: ClassVar[str] = ...)")
    _refuse_taken(cls.name, _where(cls), {**_homes(BASES), **_homes(PRESETS)})
    return INTERVENTIONS.lent(cls.name, Found(cls, _where(cls)))


def __getattr__(name: str) -> Any:
    # Modules of this package ask for names while it is still being imported: those begin with an underscore.
    if not name.startswith("_"):
        for package in (__name__, bases.__name__):
            if name in (found := public_names(package)):
                return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *public_names(__name__)]
