"""A picture as data: what a result wants drawn, without knowing how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from entrokit.extras import require

from .curves import COLOURS, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Series:
    """Points ``x, y`` under a name, joined by a line or (``marks``) not.

    ``low, high``: ends of vertical intervals. ``labels``: written beside the points; empty ones only show on hovering
    over them, as ``hints`` do.
    """

    name: str
    x: Sequence[float | str]
    y: Sequence[float]
    marks: bool = False
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    labels: Sequence[str] | None = None
    hints: Sequence[str] | None = None


@dataclass(frozen=True)
class Chart:
    """Series on common axes; ``x_line`` and ``y_line`` are values marked by a thin line, ``height`` is in pixels."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_line: float | None = None
    y_line: float | None = None
    height: int = 330


def _beside(x: Sequence[float | str]) -> list[str]:
    """Where labels stand: turned inwards at the right end, so that they stay in the picture."""
    numbers = [v for v in x if not isinstance(v, str)]
    middle = (min(numbers) + max(numbers)) / 2 if numbers else 0.0
    return ["middle left" if not isinstance(v, str) and v > middle else "middle right" for v in x]


def figure(chart: Chart) -> go.Figure:
    """The chart in the style of the reports, with a legend of its own.

    Raises:
        MissingExtraError: the extra `report` is not installed.
    """
    require("a chart", "report")
    import plotly.graph_objects as go

    drawn = go.Figure()
    for i, s in enumerate(chart.series):
        colour = COLOURS[i % len(COLOURS)]
        error = None
        if s.low is not None and s.high is not None:
            error = {
                "type": "data",
                "symmetric": False,
                "array": [h - y for h, y in zip(s.high, s.y, strict=True)],
                "arrayminus": [y - low for y, low in zip(s.y, s.low, strict=True)],
                "thickness": 1.5,
                "width": 6,
            }
        drawn.add_scatter(
            x=list(s.x),
            y=list(s.y),
            name=s.name,
            mode=("markers" if s.marks else "lines") + ("+text" if s.labels is not None else ""),
            text=s.labels,
            textposition=_beside(s.x),
            textfont={"size": 10, "color": colour},
            hovertext=s.hints,
            line={"color": colour, "width": 2},
            marker={"color": colour, "size": 7},
            error_y=error,
        )
    if chart.x_line is not None:
        drawn.add_vline(x=chart.x_line, line={"color": "#9a9aa6", "width": 1, "dash": "dot"})
    if chart.y_line is not None:
        drawn.add_hline(y=chart.y_line, line={"color": "#9a9aa6", "width": 1, "dash": "dot"})
    # A series that is one point under its own name needs no label on the axis beside the legend.
    names_are_x = all(list(s.x) == [s.name] for s in chart.series)
    # Labels that look like numbers ("1e-05") stay labels.
    axis = "category" if any(isinstance(x, str) for s in chart.series for x in s.x) else "linear"
    drawn = styled(drawn, chart.title, chart.x_label, chart.y_label)
    rows = len(chart.series)
    drawn.update_layout(
        showlegend=True,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        height=chart.height + 19 * rows,
        margin={"l": 68, "b": 56 + 19 * rows},
        xaxis={"rangemode": "normal", "showticklabels": not names_are_x, "type": axis},
        yaxis={"rangemode": "normal"},
    )
    return drawn
