"""Charts as SVG text: no browser, no script, the same bytes every time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from .chart import Chart, Series
from .curves import COLOURS

WIDTH = 640
_LEFT, _RIGHT, _TOP, _BELOW_AXIS, _ROW, _SLANT = 68, 16, 40, 58, 20, 44
# Of the fonts that browsers have, an average character at 11 pixels.
_CHARACTER = 6.0
# Twice as much is a float all the same, so that no axis has an endless end.
_MOST = 1e300
_INK, _GRID, _LINE = "#2b2b33", "#e4e4ea", "#8a8a96"


@dataclass(frozen=True)
class _Axis:
    """Where values of one axis lie: pixels ``start`` to ``end`` for ``low`` to ``high``; or categories, evenly."""

    start: float
    end: float
    low: float
    high: float
    categories: Mapping[str, int] = field(default_factory=dict)

    def place(self, value: float | str) -> float | None:
        """The pixel of a value; None of what is no finite number, or none of the categories."""
        if self.categories:
            number = self.categories.get(str(value))
            if number is None:
                return None
            part = (number + 0.5) / len(self.categories)
        elif isinstance(value, str) or not _finite(value):
            return None
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Pixels, and what is written there."""
        if self.categories:
            # Slanted lines of text need a line's height each.
            every = math.ceil(len(self.categories) * _ROW / (self.end - self.start))
            return [(self.start + (i + 0.5) / len(self.categories) * (self.end - self.start), c)
                    for i, c in enumerate(self.categories) if i % every == 0]  # fmt: skip
        step = _step(self.high - self.low)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        values = [i * step for i in range(first, last + 1)]
        return [(self.start + (v - self.low) / (self.high - self.low) * (self.end - self.start), f"{v:.6g}")
                for v in values]  # fmt: skip


def svg(chart: Chart) -> str:
    """The chart as an SVG document of `WIDTH` pixels, with a title and a description for those who do not see it.

    What is no finite number, or beyond ±1e300, is left out, and breaks its line. Text of the chart is escaped.
    """
    x = _x_axis(chart)
    slanted = _slanted(x)
    rows = _legend(chart.series)
    below = _BELOW_AXIS + (_SLANT if slanted else 0)
    height = height_of(chart)
    y = _axis([v for s in chart.series for v in _values(s)], chart.y_line, height - below - _ROW * len(rows), _TOP)
    names = ", ".join(s.name for s in chart.series)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="11" fill="{_INK}">',
        f"<title>{_text(chart.title)}</title>",
        f"<desc>{_text(f'{chart.y_label} against {chart.x_label}: {names}')}</desc>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="{14 if len(chart.title) < 70 else 12}">{_text(chart.title)}</text>',
        *_axes(chart, x, y, slanted),
        *(part for i, s in enumerate(chart.series) for part in _drawn(s, COLOURS[i % len(COLOURS)], x, y)),
    ]
    for row, entries in enumerate(rows):
        for at, i in entries:
            line = height - _ROW * (len(rows) - row) + 6
            mark = f'<circle cx="{at + 7:.1f}" cy="{line - 4}" r="4" fill="{COLOURS[i % len(COLOURS)]}"/>'
            parts.append(f'{mark}<text x="{at + 17:.1f}" y="{line}">{_text(chart.series[i].name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def height_of(chart: Chart) -> int:
    """Pixels of the chart as `svg` draws it: its own, those of its legend, and those of long categories."""
    return chart.height + _ROW * len(_legend(chart.series)) + (_SLANT if _slanted(_x_axis(chart)) else 0)


def _slanted(x: _Axis) -> bool:
    """Whether the names of categories are too long to stand beside one another."""
    return bool(x.categories) and (x.end - x.start) / len(x.categories) < _CHARACTER * max(map(len, x.categories))


def _x_axis(chart: Chart) -> _Axis:
    values = [v for s in chart.series for v in s.x]
    if any(isinstance(v, str) for v in values):
        there = dict.fromkeys(str(v) for v in values if isinstance(v, str) or _finite(v))
        return _Axis(_LEFT, WIDTH - _RIGHT, 0, 1, {category: i for i, category in enumerate(there)})
    return _axis([v for v in values if not isinstance(v, str)], chart.x_line, _LEFT, WIDTH - _RIGHT)


def _axis(values: Sequence[float], line: float | None, start: float, end: float) -> _Axis:
    finite = [v for v in [*values, *([] if line is None else [line])] if _finite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    # Numbers that are alike up to rounding have room around them all the same.
    room = 0.04 * (high - low) if high - low > 1e-9 * max(abs(low), abs(high), 1e-300) else abs(high) / 2 or 0.5
    return _Axis(start, end, low - room, high + room)


def _step(width: float) -> float:
    """The distance of ticks: about six of them, 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(width / 6))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= width / 6 * (1 - 1e-9))


def _axes(chart: Chart, x: _Axis, y: _Axis, slanted: bool) -> Iterator[str]:
    for at, label in y.ticks():
        yield f'<path d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}" stroke="{_GRID}"/>'
        yield f'<text x="{_LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{label}</text>'
    for at, label in x.ticks():
        if slanted:
            yield (f'<text transform="translate({at:.1f} {y.start + 14:.1f}) rotate(28)">{_text(_short(label, 16))}'
                   "</text>")  # fmt: skip
        else:
            yield f'<text x="{at:.1f}" y="{y.start + 16:.1f}" text-anchor="middle">{_text(label)}</text>'
    yield f'<path d="M{_LEFT} {y.end}V{y.start:.1f}H{WIDTH - _RIGHT}" fill="none" stroke="{_LINE}"/>'
    for value, axis, path in ((chart.x_line, x, "M{0:.1f} {2}V{1:.1f}"), (chart.y_line, y, "M{3} {0:.1f}H{4}")):
        if value is not None and (place := axis.place(value)) is not None:
            drawn = path.format(place, y.start, y.end, _LEFT, WIDTH - _RIGHT)
            yield f'<path d="{drawn}" stroke="{_LINE}" stroke-dasharray="2 3"/>'
    middle = (y.start + y.end) / 2
    below = y.start + (78 if slanted else 36)
    centred = f'x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{below:.1f}" text-anchor="middle"'
    yield f"<text {centred}>{_text(chart.x_label)}</text>"
    turned = f'transform="translate(16 {middle:.1f}) rotate(-90)" text-anchor="middle"'
    yield f"<text {turned}>{_text(chart.y_label)}</text>"


def _drawn(series: Series, colour: str, x: _Axis, y: _Axis) -> Iterator[str]:
    points = [(x.place(a), y.place(b)) for a, b in zip(series.x, series.y, strict=True)]
    if not series.marks:
        yield f'<path d="{_path(points)}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
    if series.low is not None and series.high is not None:
        for (at, _), low, high in zip(points, series.low, series.high, strict=True):
            ends = y.place(low), y.place(high)
            if at is not None and ends[0] is not None and ends[1] is not None:
                yield (f'<path d="M{at:.1f} {ends[0]:.1f}V{ends[1]:.1f}M{at - 3:.1f} {ends[0]:.1f}h6M{at - 3:.1f} '
                       f'{ends[1]:.1f}h6" stroke="{colour}" stroke-width="1.5"/>')  # fmt: skip
    alone = len([p for p in points if None not in p]) == 1
    drawn = set()
    for i, (at, up) in enumerate(points):
        if at is None or up is None:
            continue
        if series.marks or alone:
            hint = series.hints[i] if series.hints is not None else ""
            inside = f"<title>{_text(hint)}</title>" if hint else ""
            circle = f'<circle cx="{at:.1f}" cy="{up:.1f}" r="3.5" fill="{colour}">{inside}</circle>'
            if circle not in drawn:
                drawn.add(circle)
                yield circle
        if series.labels is not None and series.labels[i]:
            # Turned inwards, so that it stays in the picture.
            right = at > (x.start + x.end) / 2
            where = f'x="{at - 7:.1f}" text-anchor="end"' if right else f'x="{at + 7:.1f}"'
            yield f'<text {where} y="{up + 4:.1f}" font-size="10" fill="{colour}">{_text(series.labels[i])}</text>'


def _path(points: Sequence[tuple[float | None, float | None]]) -> str:
    """A line through the points that are there, without those that lie on the pixel of the one before."""
    parts: list[str] = []
    last: tuple[str, str] | None = None
    for a, b in points:
        if a is None or b is None:
            last = None
            continue
        own = f"{a:.1f}", f"{b:.1f}"
        if own != last:
            parts.append(f"{'M' if last is None else 'L'}{own[0]} {own[1]}")
        last = own
    return "".join(parts)


def _legend(series: Sequence[Series]) -> list[list[tuple[float, int]]]:
    """Rows of the legend: where each series stands, and which one it is."""
    rows: list[list[tuple[float, int]]] = [[]]
    at = float(_LEFT)
    for i, s in enumerate(series):
        wide = 17 + _CHARACTER * len(s.name) + 18
        if rows[-1] and at + wide > WIDTH:
            rows.append([])
            at = float(_LEFT)
        rows[-1].append((at, i))
        at += wide
    return rows


def _values(series: Series) -> list[float]:
    return [*series.y, *(series.low or ()), *(series.high or ())]


def _finite(value: float | None) -> bool:
    return value is not None and abs(value) <= _MOST


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(text: str) -> str:
    """Escaped; without the characters that no XML document may have."""
    return escape("".join(c for c in text if c >= " " and c not in "\ufffe\uffff"))
