"""Registers with verl's modules at the moment when verl imports them.

verl loads plug-ins in every process that imports verl, most of which never train: importing its trainers and workers
there would cost seconds, print their warnings, and hide their errors, as verl logs those of plug-ins at DEBUG.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from .names import CORE, WORKERS


def register() -> None:
    """Losses, the estimator and the worker, each as soon as verl has imported where it belongs; again is harmless."""
    _when_imported(CORE, _register_losses)
    _when_imported(WORKERS, _register_worker)


def _register_losses(core: ModuleType) -> None:
    from .registrations import register_losses

    register_losses(core)


def _register_worker(workers: ModuleType) -> None:
    from .registrations import register_worker

    register_worker(workers)


class _AfterImport(MetaPathFinder, Loader):
    """Finds one module once, by way of the other finders, and calls back when it has been executed."""

    def __init__(self, name: str, callback: Callable[[ModuleType], None]) -> None:
        self.name, self.callback = name, callback
        self.loader: Loader | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None if self.loader is None else self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert self.loader is not None
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.callback(module)


def _when_imported(name: str, callback: Callable[[ModuleType], None]) -> None:
    module = sys.modules.get(name)
    if module is not None:
        callback(module)
    elif not any(isinstance(finder, _AfterImport) and finder.name == name for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport(name, callback))
