"""Which extra brings which package, which parts of entrokit need it, and what is said where it is lacking.

`pip install entrokit` brings what reads and judges logs. Whatever needs more is refused with the command that brings
it, rather than with Python's ``No module named 'torch'``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "trl": ("torch", "trl", "transformers", "datasets", "safetensors", "tokenizers"),
    "verl": ("torch", "verl", "cachetools", "uvicorn", "fastapi"),
    "tinker": ("torch", "tinker"),
    "tasks": ("torch", "reasoning-gym", "math-verify"),
    "information": ("scipy", "scikit-learn"),
    "generative": ("torch", "pot", "scipy", "diffusers"),
    "physics": ("torch", "scipy"),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "report": ("plotly",),
}
"""The packages of every extra, as ``pyproject.toml`` asks for them. A package's own extra is the first that has it."""

# Imported by another name than they are installed by, beyond a hyphen.
_MODULES = {"scikit-learn": "sklearn", "pot": "ot"}

# `engines.verl` is not here: verl loads it, with whatever else of the extra happens to be there.
_NEEDED_BY = {
    **dict.fromkeys(("account", "attention", "bench", "compression", "decoding", "distributions", "dynamics"), "torch"),
    **dict.fromkeys(("generative", "groups", "losses", "optim", "papers", "physics", "rlvr", "search"), "torch"),
    **dict.fromkeys(("testing", "training"), "torch"),
    **dict.fromkeys((f"information.{topic}" for topic in ("mixture", "spectral", "superposition")), "torch"),
    "choice.facility": "torch",
    "information.credit": "information",
    "generative.sample_entropy": "generative",
    "losses.anyloss.estimator": "information",
    "physics.schooling": "physics",
    "engines.prime_rl": "torch",
    "engines.trl": "trl",
    "engines.tinker": "tinker",
}


class MissingExtraError(ImportError):
    """Something was asked for whose extra is not installed; the message says how to install it."""


def pip_install(*extras: str) -> str:
    """The command that installs extras; of none, entrokit itself."""
    return f"pip install 'entrokit[{','.join(extras)}]'" if extras else "pip install entrokit"


def extra_of(package: str) -> str | None:
    """The extra that is there for a package; None where entrokit itself needs it, or nothing does."""
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)


def lacking(*extras: str) -> list[str]:
    """Packages of extras that are not installed, in the extras' order."""
    return [p for p in dict.fromkeys(p for extra in extras for p in EXTRAS[extra]) if not _is_there(p)]


def missing(what: str, packages: Iterable[str], asked: Sequence[str] = ()) -> MissingExtraError:
    """The error that says what lacks which packages, and what brings them: an extra that was asked for, before others.

    Extras that another one brings anyhow are left out.
    """
    packages = list(packages)
    of_package = {p: _asked_for(p, asked) or extra_of(p) for p in packages}
    extras = [extra for extra in dict.fromkeys(of_package.values()) if extra]
    if any("torch" in EXTRAS[extra] for extra in extras if extra != "torch"):
        extras = [extra for extra in extras if extra != "torch"]
    return MissingExtraError(f"{what} needs {', '.join(packages)}: {pip_install(*extras)}")


def _asked_for(package: str, asked: Sequence[str]) -> str | None:
    return None if package in EXTRAS else next((extra for extra in asked if package in EXTRAS[extra]), None)


def require(what: str, *extras: str) -> None:
    """Refuses ``what`` where a package of its extras is lacking; imports none of them.

    Raises:
        MissingExtraError: names what is lacking and the command that installs it.
    """
    packages = lacking(*extras)
    if packages:
        raise missing(what, packages, extras)


def _is_there(package: str) -> bool:
    try:
        return find_spec(_MODULES.get(package, package.replace("-", "_"))) is not None
    except ImportError:
        return False
    except ValueError:  # imported already, but by hand
        return True


class _Guard:
    """Asked by Python before it imports a module of entrokit: refuses those whose extra is lacking, finds none."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        package, _, own = name.partition(".")
        if package == __package__ and own in _NEEDED_BY:
            require(name, _NEEDED_BY[own])


def guard() -> None:
    """From now on packages of entrokit that lack their extra say so when they are imported; again is harmless."""
    if not any(finder is _Guard for finder in sys.meta_path):
        sys.meta_path.insert(0, _Guard)
