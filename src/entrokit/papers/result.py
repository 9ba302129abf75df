"""What was measured, as data: an experiment's result, and a paper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from entrokit.report import Chart

from .evidence import Finding


class ResultError(ValueError):
    """A result file that cannot be read: which, and why."""


@dataclass(frozen=True)
class Result:
    """One experiment, run.

    Attributes:
        command: gives it again. commit: of the checkout that ran, "" outside of one. date: ISO. versions: by package.
        seeds: in order. seconds: that it took. findings, charts: in the order in which they came.
        note: what a reader must know of how it was measured. code: fingerprint of the package that the experiment is
            of, "" of ours.
    """

    command: str
    commit: str
    date: str
    versions: Mapping[str, str]
    seeds: tuple[int, ...]
    seconds: float
    findings: tuple[Finding, ...]
    charts: tuple[Chart, ...] = ()
    note: str = ""
    code: str = ""

    @property
    def passed(self) -> bool:
        return all(f.passed for f in self.findings)


@dataclass(frozen=True)
class PaperResults:
    """What was measured of a paper: results by experiment."""

    slug: str
    experiments: Mapping[str, Result] = field(default_factory=dict)

    def with_result(self, name: str, result: Result) -> PaperResults:
        """These, with one experiment's result added or replaced."""
        return PaperResults(self.slug, {**self.experiments, name: result})
