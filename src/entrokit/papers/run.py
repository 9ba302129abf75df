"""Runs an experiment of a paper and keeps what it found."""

from __future__ import annotations

import hashlib
import platform
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import entrokit
from entrokit import extras
from entrokit.report import Chart

from .entry import Experiment, Paper, Shown
from .evidence import Budget, Finding, checked
from .result import Result
from .result_json import check_chart

_PACKAGES = ("entrokit", "torch", "numpy", "transformers", "trl", "scipy", "scikit-learn")


class ExperimentError(ValueError):
    """An experiment that could not be carried out: of which paper, which one, and why."""


def lacking(experiment: Experiment) -> list[str]:
    """What an experiment needs and this machine does not have: extras, and ``gpu``."""
    return [need for need in experiment.needs if not _there(need)]


def how_to_get(absent: list[str]) -> str:
    """What to do about what `lacking` names: the command that installs it, where there is one."""
    known = [need for need in absent if need in extras.EXTRAS]
    return extras.pip_install(*known) if known else "run it on a machine with it"


def run(
    entry: Paper,
    name: str,
    budget: Budget,
    on_shown: Callable[[Finding], None] = lambda finding: None,
    *,
    commit: str | None = None,
) -> Result:
    """Runs one experiment of a paper.

    Args:
        on_shown: called with every finding as it comes.
        commit: of the code that is loaded; by default what the checkout holds as the experiment begins.

    Raises:
        ValueError: no such experiment. RuntimeError: something that it needs is not there.
        ExperimentError: it raised, gave what is neither a finding nor a chart, a finding without its numbers, or none.
    """
    name, experiment = entry.experiment(name)
    absent = lacking(experiment)
    if absent:
        raise RuntimeError(f"{entry.slug}, experiment {name}: needs {', '.join(absent)}; {how_to_get(absent)}")
    began = time.monotonic()
    commit, code = commit_of_checkout() if commit is None else commit, fingerprint(entry, name)
    findings: list[Finding] = []
    charts: list[Chart] = []
    try:
        for given in _given(experiment, budget):
            if isinstance(given, Chart):
                check_chart(given)
                charts.append(given)
                continue
            findings.append(checked(given))
            on_shown(findings[-1])
        if not findings:
            raise ValueError("found nothing")
    except (Exception, SystemExit) as error:  # a stranger's experiment may raise anything
        # A message of ours tells by itself what is wrong.
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ExperimentError(f"{entry.slug}, experiment {name}: {kind}{error}") from error
    return Result(
        command=command(entry.slug, name, budget.seeds),
        commit=commit,
        date=datetime.now(UTC).date().isoformat(),
        versions=_versions(),
        seeds=budget.seeds,
        seconds=time.monotonic() - began,
        findings=tuple(findings),
        charts=tuple(charts),
        code=code,
    )


def _given(experiment: Experiment, budget: Budget) -> Iterator[Shown]:
    every = experiment.run(budget)
    if not isinstance(every, Iterable):
        raise ValueError(f"gave {every!r:.60}, and not findings one after another")
    for given in every:
        if not isinstance(given, (Finding, Chart)):
            raise ValueError(f"gave {given!r:.60}, which is neither a Finding nor a Chart")
        yield given


def stands(result: Result, entry: Paper, name: str, seeds: tuple[int, ...], commit: str) -> bool:
    """Whether a result is of these seeds, and of this code as far as that can be told.

    The code of the library is told by ``commit``, outside a checkout by its version; that of another package by its
    `fingerprint`.
    """
    if result.seeds != seeds or result.commit != commit or commit.endswith("+changes"):
        return False
    of_library = bool(commit) or result.versions.get("entrokit") == _versions().get("entrokit")
    return of_library and result.code == fingerprint(entry, name)


def fingerprint(entry: Paper, name: str) -> str:
    """Of the code of an experiment of another package: all of it, and the modules of the names; "" of ours."""
    function: Any = entry.experiments[name].run
    while isinstance(function, partial):
        function = function.func
    module = str(getattr(function, "__module__", ""))
    if _is_ours(module):
        return ""
    parts = module.split(".")
    above = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    files = set(next(filter(None, map(_files, above)), []))
    for public in entry.names:
        for holder in _modules_of(public):
            if not _is_ours(holder):
                files.update(_files(holder, whole=False))
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "entrokit"


def _modules_of(public: str) -> Iterator[str]:
    """The module that a dotted name says, and the one that what it names was written in."""
    owner, _, attribute = public.rpartition(".")
    if not owner:
        return
    yield owner
    try:
        yield str(getattr(getattr(import_module(owner), attribute), "__module__", owner))
    except Exception:  # of a name that leads nowhere there is nothing to read
        return


def _files(module: str, *, whole: bool = True) -> list[Path]:
    """Source files of a module, and of a package all that lie below it; of a namespace none."""
    try:
        spec = find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return []
    if spec is None or not spec.has_location or spec.origin is None:
        return []
    file = Path(spec.origin)
    if whole and spec.submodule_search_locations is not None:
        return sorted(f for f in file.parent.rglob("*.py") if f.is_file())
    return [file] if file.is_file() else []


def command(slug: str, experiment: str, seeds: tuple[int, ...]) -> str:
    """What a user writes to run it again."""
    first = [] if seeds[0] == 0 else ["--seed", str(seeds[0])]
    return shlex.join(["entrokit", "reproduce", slug, "--experiment", experiment, "--seeds", str(len(seeds)), *first])


def _there(need: str) -> bool:
    if need == "gpu":
        import torch

        return torch.cuda.is_available()
    return not extras.lacking(need) if need in extras.EXTRAS else find_spec(need.replace("-", "_")) is not None


def commit_of_checkout() -> str:
    """Of the checkout that this package runs from, with ``+changes`` where it has some; "" outside of one."""
    root = Path(entrokit.__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        head, changes = (
            subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", "src"))
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+changes" if changes else "")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
