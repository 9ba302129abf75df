"""Runs an experiment of a paper and keeps what it found."""

from __future__ import annotations

import platform
import shlex
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import entrokit
from entrokit.report import Chart

from .entry import Experiment, Paper
from .evidence import Budget, Finding
from .results import Result

_PACKAGES = ("entrokit", "torch", "numpy", "transformers", "trl", "scipy", "scikit-learn")
# What shows that an extra is there.
_MODULES = {"trl": "trl", "information": "scipy", "verl": "verl", "tasks": "reasoning_gym", "report": "plotly"}


def lacking(experiment: Experiment) -> list[str]:
    """What an experiment needs and this machine does not have: extras, and ``gpu``."""
    return [need for need in experiment.needs if not _there(need)]


def run(entry: Paper, name: str, budget: Budget, on_shown: Callable[[Finding], None] = lambda finding: None) -> Result:
    """Runs one experiment of a paper.

    Args:
        on_shown: called with every finding as it comes.

    Raises:
        ValueError: no such experiment, or one that found nothing. RuntimeError: something that it needs is not there.
    """
    name, experiment = entry.experiment(name)
    absent = lacking(experiment)
    if absent:
        raise RuntimeError(f"{entry.slug}, experiment {name}: needs {', '.join(absent)}; {_how(absent)}")
    began = time.monotonic()
    findings: list[Finding] = []
    charts: list[Chart] = []
    for shown in experiment.run(budget):
        if isinstance(shown, Chart):
            charts.append(shown)
            continue
        if not shown.raw:
            raise ValueError(f"{entry.slug}, experiment {name}: the finding {shown.claim!r} has no raw numbers")
        findings.append(shown)
        on_shown(shown)
    if not findings:
        raise ValueError(f"{entry.slug}, experiment {name}: found nothing")
    return Result(
        command=command(entry.slug, name, budget.seeds),
        commit=commit_of_checkout(),
        date=datetime.now(UTC).date().isoformat(),
        versions=_versions(),
        seeds=budget.seeds,
        seconds=time.monotonic() - began,
        findings=tuple(findings),
        charts=tuple(charts),
    )


def command(slug: str, experiment: str, seeds: tuple[int, ...]) -> str:
    """What a user writes to run it again."""
    first = [] if seeds[0] == 0 else ["--seed", str(seeds[0])]
    return shlex.join(["entrokit", "reproduce", slug, "--experiment", experiment, "--seeds", str(len(seeds)), *first])


def _there(need: str) -> bool:
    if need == "gpu":
        import torch

        return torch.cuda.is_available()
    return find_spec(_MODULES.get(need, need)) is not None


def _how(absent: list[str]) -> str:
    extras = [need for need in absent if need != "gpu"]
    return f"pip install 'entrokit[{','.join(extras)}]'" if extras else "run it on a machine with one"


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
