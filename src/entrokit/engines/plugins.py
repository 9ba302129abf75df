"""Whether verl's plug-ins load here: verl itself hides the errors of those that do not."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from importlib import metadata

GROUP = "verl.plugins"
SWITCH = "VERL_USE_EXTERNAL_PLUGINS"


@dataclass(frozen=True)
class PlugIn:
    """An entry point of the group ``verl.plugins``, and why it does not work here (None where it does)."""

    name: str
    target: str
    problem: str | None


def plug_ins() -> list[PlugIn]:
    """Every installed plug-in of verl, loaded as verl would load it."""
    return [PlugIn(found.name, found.value, _problem(found)) for found in metadata.entry_points(group=GROUP)]


def _problem(found: metadata.EntryPoint) -> str | None:
    policy = os.getenv(SWITCH, "auto").strip().lower()
    if policy != "auto" and found.name not in {name.strip() for name in policy.split(",")}:
        return f"switched off by {SWITCH}={policy}; unset it, or add {found.name}"
    try:
        found.load()
        if found.name == "entrokit":
            importlib.import_module("entrokit.engines.verl.registrations").check()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
