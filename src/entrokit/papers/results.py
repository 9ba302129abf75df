"""What was measured, as data: one JSON file a paper, from which pages and tables are made."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from entrokit.report import Chart, Series
from entrokit.runs.whole import replace_file

from .evidence import Finding

FORMAT = 1
"""Version of the files' layout."""


class ResultError(ValueError):
    """A result file that cannot be read: which, and why."""


@dataclass(frozen=True)
class Result:
    """One experiment, run.

    Attributes:
        command: gives it again. commit: of the checkout that ran, "" outside of one. date: ISO. versions: by package.
        seeds: in order. seconds: that it took. findings, charts: in the order in which they came.
        note: what a reader must know of how it was measured.
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


def save(results: PaperResults, folder: str | Path) -> Path:
    """Writes ``<slug>.json``, whole or not at all; returns its path."""
    file = Path(folder) / f"{results.slug}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "slug": results.slug,
        "experiments": {name: _plain(asdict(result)) for name, result in results.experiments.items()},
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(file, lambda partial: partial.write_text(text, encoding="utf-8"))
    return file


def load(file: str | Path) -> PaperResults:
    """Reads what `save` wrote.

    Raises:
        ResultError: a file that is cut off, of another format, or something else; names it.
        FileNotFoundError: there is none.
    """
    text = Path(file).read_text(encoding="utf-8")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ResultError(f"{file}: cut off or no JSON ({error}); measure it again: entrokit reproduce") from None
    written = content.get("format") if isinstance(content, dict) else None
    if written != FORMAT:
        raise ResultError(f"{file}: of format {written!r}, and this version reads {FORMAT}; measure it again")
    try:
        return PaperResults(content["slug"], {name: _result(r) for name, r in content["experiments"].items()})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ResultError(f"{file}: no result of an experiment ({type(error).__name__}: {error})") from error


def load_all(folder: str | Path) -> tuple[dict[str, PaperResults], list[ResultError]]:
    """Every paper's results in a folder by slug, and the files that could not be read."""
    found, broken = {}, []
    for file in sorted(Path(folder).glob("*.json")):
        try:
            results = load(file)
            if results.slug != file.stem:
                raise ResultError(f"{file}: holds the results of {results.slug!r}, which its name denies")
            found[results.slug] = results
        except ResultError as error:
            broken.append(error)
    return found, broken


def known(slug: str, folder: str | Path) -> PaperResults:
    """What the folder holds of a paper; nothing where there is no file yet.

    Raises:
        ResultError: as `load`.
    """
    try:
        return load(Path(folder) / f"{slug}.json")
    except FileNotFoundError:
        return PaperResults(slug)


def _result(content: Mapping[str, Any]) -> Result:
    known_names = {f.name for f in fields(Result)}
    unknown = set(content) - known_names
    if unknown:
        raise ValueError(f"unknown {sorted(unknown)}")
    findings = tuple(Finding(**finding) for finding in content["findings"])
    charts = tuple(_chart(chart) for chart in content.get("charts", ()))
    return Result(**{**content, "seeds": tuple(content["seeds"]), "findings": findings, "charts": charts})


def _chart(content: Mapping[str, Any]) -> Chart:
    return Chart(**{**content, "series": tuple(Series(**series) for series in content["series"])})


def _plain(value: Any) -> Any:
    """As JSON has it: numbers at the precision of single floats, which is more than any was measured to."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, Iterable):
        return [_plain(v) for v in value]
    if isinstance(value, int):
        return value
    number = float(value)
    return float(f"{number:.7g}") if math.isfinite(number) else None
