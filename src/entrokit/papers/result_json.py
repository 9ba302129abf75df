"""Results to JSON and back; what comes back is looked at field by field."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from entrokit.report import Chart, Series

from .evidence import Finding, check_text, in_python
from .result import PaperResults, Result, ResultError

FORMAT = 1
"""Version of the files' layout."""


def as_json(results: PaperResults) -> str:
    """The text of a paper's file."""
    content = {
        "format": FORMAT,
        "slug": results.slug,
        "experiments": {name: _plain(asdict(result)) for name, result in results.experiments.items()},
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(text: bytes, file: str | Path) -> PaperResults:
    """Results out of a file's content.

    Raises:
        ResultError: content that is cut off, of another format, or something else; names the file.
    """
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
