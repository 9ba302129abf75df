"""What was measured, as data: one JSON file a paper, from which pages and tables are made."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, NoReturn

from entrokit.report import Chart, Series
from entrokit.runs.whole import replace_file

from .evidence import Finding, check_text, in_python

FORMAT = 1
"""Version of the files' layout."""

MEASURED = Path(__file__).with_name("measured")
"""What was measured of our own papers: part of the package, so that whoever installs it can look."""

# A thousand times what a paper with all its pictures takes; a larger one is something else.
_LARGEST = 1 << 28


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


def save(results: PaperResults, folder: str | Path) -> Path:
    """Writes ``<slug>.json``, whole or not at all; returns its path.

    Raises:
        ResultError: a result that could not be read again, say for a picture whose lists are not of one length.
    """
    file = Path(folder) / f"{results.slug}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "slug": results.slug,
        "experiments": {name: _plain(asdict(result)) for name, result in results.experiments.items()},
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    _read(text.encode("utf-8"), file)
    replace_file(file, lambda partial: partial.write_text(text, encoding="utf-8"))
    return file


def keep(slug: str, name: str, result: Result, folder: str | Path) -> Path | None:
    """Adds one experiment's result to what the folder holds by now, be it by another process.

    Returns: where a file that could not be read was set aside; None if there was none.
    """
    aside = None
    try:
        before = known(slug, folder)
    except ResultError:
        before, aside = PaperResults(slug), _set_aside(Path(folder) / f"{slug}.json")
    save(before.with_result(name, result), folder)
    return aside


def check_writable(folder: str | Path) -> None:
    """Makes a folder if need be, and writes into it, so that no measurement is lost for want of one.

    Raises:
        OSError: it cannot be made or written into; names it.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{folder}: a file is in the way of a folder") from None
    except OSError as error:
        raise OSError(f"{folder}: nothing can be written there ({error.strerror})") from error


def load(file: str | Path) -> PaperResults:
    """Reads what `save` wrote.

    Raises:
        ResultError: a file that is cut off, of another format, or something else; names it.
        FileNotFoundError: there is none.
    """
    try:
        # A pipe would be waited for, and a device has no end.
        status = Path(file).stat()
        if not (S_ISREG(status.st_mode) or S_ISDIR(status.st_mode)):
            raise ResultError(f"{file}: a pipe, a socket or a device, and results are a file")
        if status.st_size > _LARGEST:
            raise ResultError(f"{file}: {status.st_size:,} bytes, and results are at most {_LARGEST:,}")
        written = Path(file).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultError(f"{file}: cannot be read ({error.strerror})") from error
    return _read(written, file)


def _read(text: bytes, file: str | Path) -> PaperResults:
    try:
        content = json.loads(text.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{file}: cut off or no JSON ({error}); measure it again: entrokit reproduce") from None
    written = content.get("format") if isinstance(content, dict) else None
    if written != FORMAT or isinstance(written, bool):
        raise ResultError(f"{file}: of format {written!r:.60}, and this version reads {FORMAT}; measure it again")
    try:
        slug = _is(str, content["slug"], "slug")
        named = content["experiments"].items()
        return PaperResults(slug, {check_text(name, "an experiment's name"): _result(r) for name, r in named})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ResultError(f"{file}: no result of an experiment ({type(error).__name__}: {error})") from error


def load_all(folder: str | Path) -> tuple[dict[str, PaperResults], dict[str, ResultError]]:
    """Every paper's results in a folder, and why files could not be read, by the slug that a file is named for."""
    found, broken = {}, {}
    for file in sorted(Path(folder).glob("*.json")):
        try:
            found[file.stem] = _named(file)
        except ResultError as error:
            broken[file.stem] = error
        except FileNotFoundError:
            broken[file.stem] = ResultError(f"{file}: gone, or a link that leads nowhere")
    return found, broken


def known(slug: str, folder: str | Path) -> PaperResults:
    """What the folder holds of a paper; nothing where there is no file yet.

    Raises:
        ResultError: as `load`, and of a file that holds another paper's.
    """
    try:
        return _named(Path(folder) / f"{slug}.json")
    except FileNotFoundError:
        return PaperResults(slug)


def _named(file: Path) -> PaperResults:
    results = load(file)
    if results.slug != file.stem:
        raise ResultError(f"{file}: holds the results of {results.slug!r:.60}, which its name denies")
    return results


def _set_aside(file: Path) -> Path:
    """Renames a file to a name that is free."""
    aside, number = file.with_name(f"{file.name}.unreadable"), 1
    while os.path.lexists(aside):
        number += 1
        aside = file.with_name(f"{file.name}.unreadable-{number}")
    return file.rename(aside)


def _result(content: Mapping[str, Any]) -> Result:
    known_names = {f.name for f in fields(Result)}
    unknown = set(content) - known_names
    if unknown:
        raise ValueError(f"unknown {sorted(unknown)}")
    findings = tuple(_finding(finding) for finding in _some(content["findings"], "findings"))
    charts = tuple(_chart(chart) for chart in _is(list, content.get("charts", []), "charts"))
    seeds = tuple(_is(int, seed, "a seed") for seed in _some(content["seeds"], "seeds"))
    result = Result(**{**content, "seeds": seeds, "findings": findings, "charts": charts})
    for name in ("command", "commit", "date", "note", "code"):
        check_text(getattr(result, name), name)
    for package, version in _is(dict, result.versions, "versions").items():
        check_text(version, f"version of {package}")
    _is((int, float), result.seconds, "seconds")
    return result


def _finding(content: Mapping[str, Any]) -> Finding:
    finding = Finding(**content)
    for name in ("claim", "criterion", "measured", "reference"):
        check_text(getattr(finding, name), name)
    _is(bool, finding.passed, "passed")
    for name, numbers in _is(dict, finding.raw, "raw").items():
        for number in _is(list, numbers, f"raw {name!r}"):
            _is((int, float, bool, type(None)), number, f"raw {name!r}")
    return finding


def check_chart(chart: Chart) -> None:
    """Refuses a picture that could be kept but not read again.

    Raises:
        ValueError: a list that is none, or not as long as the others, or something in it; names the series.
    """
    try:
        _chart(_plain(asdict(chart)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the picture {chart.title!r}: {error}") from error


def _chart(content: Mapping[str, Any]) -> Chart:
    chart = Chart(**{**content, "series": tuple(_series(s) for s in _is(list, content["series"], "series"))})
    for name in ("title", "x_label", "y_label"):
        check_text(getattr(chart, name), f"a chart's {name}")
    for line in (chart.x_line, chart.y_line):
        _is((int, float, type(None)), line, "a chart's line")
    if not 100 <= _is(int, chart.height, "a chart's height") <= 10_000:
        raise ValueError(f"a chart's height is 100 to 10,000 pixels, got {chart.height!r:.60}")
    return chart


def _series(content: Mapping[str, Any]) -> Series:
    series = Series(**content)
    what = f"series {check_text(series.name, 'the name of a series')!r}"
    _is(bool, series.marks, f"{what}: marks")
    number = (int, float, type(None))
    allowed = {"x": (*number, str), "y": number, "low": number, "high": number, "labels": (str,), "hints": (str,)}
    for name, kinds in allowed.items():
        values = getattr(series, name)
        if values is None and name not in ("x", "y"):
            continue
        if len(_is(list, values, f"{what}: {name}")) != len(series.x):
            raise ValueError(f"{what}: {name} is not as long as x")
        for value in values:
            _is(kinds, value, f"{what}: {name}")
    low, high = (None if end is None else _nan_for_none(end) for end in (series.low, series.high))
    return replace(series, x=_nan_for_none(series.x), y=_nan_for_none(series.y), low=low, high=high)


def _nan_for_none(values: Iterable[Any]) -> list[Any]:
    return [math.nan if value is None else value for value in values]


def _is(kind: type | tuple[type, ...], value: Any, what: str) -> Any:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{what} is {' or '.join(k.__name__ for k in kinds)}, got {value!r:.60}")
    return check_text(value, what) if isinstance(value, str) else value


def _some(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise TypeError(f"{what}: a list that is not empty, got {value!r:.60}")
    return value


def _no_number(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is no number of JSON")


def _finite(literal: str) -> float:
    number = float(literal)
    return number if math.isfinite(number) else _no_number(literal)


def _plain(value: Any) -> Any:
    """As JSON has it: numbers at the precision of single floats, which is more than any was measured to."""
    value = in_python(value)
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
