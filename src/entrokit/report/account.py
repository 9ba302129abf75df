"""Pictures of the entropy account: where the entropy of a run went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from entrokit.diagnose import Waterfall
from entrokit.runs import QUADRANTS, StepAccount

from .curves import COLOURS, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go

_LOSS, _GAIN, _TOTAL = "#D55E00", "#009E73", "#8a8a96"
_MOST_TEXTS = 14


def waterfall(w: Waterfall) -> go.Figure:
    """Entropy at the start, contributions with their standard errors over the accounted steps, entropy at the end."""
    import plotly.graph_objects as go

    names = ["at the start", *(b.name for b in w.bars), "at the end"]
    drawn = go.Figure(
        go.Waterfall(
            x=[_wrapped(n) for n in names],
            y=[w.start, *(b.change for b in w.bars), w.end],
            measure=["absolute", *["relative"] * len(w.bars), "total"],
            text=[f"{w.start:.2f}", *(f"{b.change:+.3f}<br>±{b.error:.3f}" for b in w.bars), f"{w.end:.2f}"],
            textposition="outside",
            cliponaxis=False,
            decreasing={"marker": {"color": _LOSS}},
            increasing={"marker": {"color": _GAIN}},
            totals={"marker": {"color": _TOTAL}},
            connector={"line": {"color": "#c9c9d1", "width": 1}},
        )
    )
    drawn = styled(drawn, "From entropy at the start to entropy at the end", "", "nats per token")
    # Labels stand above bars that rise and below those that fall: both need room.
    tops = w.start + np.cumsum([0.0, *(b.change for b in w.bars)])
    low, high = float(tops.min()), max(float(tops.max()), w.end)
    drawn.update_layout(height=380, margin={"b": 92}, xaxis={"tickangle": 0, "tickfont": {"size": 11}})
    drawn.update_yaxes(range=[min(0.0, low - 0.18 * (high - low)), high + 0.2 * (high - low)])
    return drawn


def over_time(accounts: Sequence[StepAccount]) -> go.Figure:
    """Running sums of every quadrant's contribution, of momentum's, and of what was measured."""
    import plotly.graph_objects as go

    drawn, steps = go.Figure(), [a.step for a in accounts]
    lines = {
        q: [a.kept * p.share if (p := a.splits.get("quadrant", {}).get(q)) else 0.0 for a in accounts]
        for q in QUADRANTS[:4]
    }
    lines |= {"momentum": [a.memory for a in accounts], "measured, in all": [a.measured for a in accounts]}
    for i, (name, values) in enumerate(lines.items()):
        whole = name == "measured, in all"
        colour = "#23232b" if whole else COLOURS[i % len(COLOURS)]
        line = {"color": colour, "width": 3 if whole else 2, "dash": "dot" if whole else "solid"}
        drawn.add_scatter(
            x=steps,
            y=np.cumsum([v * a.every for v, a in zip(values, accounts, strict=True)]),
            name=name,
            mode="lines",
            line=line,
        )
    drawn = styled(drawn, "Contributions so far", "optimiser step", "nats per token")
    return with_legend(drawn, len(lines))


def predicted_against_measured(w: Waterfall, accounts: Sequence[StepAccount]) -> go.Figure:
    """One point an accounted step, and the line where both are equal."""
    import plotly.graph_objects as go

    x, y = [a.predicted for a in accounts], [a.measured for a in accounts]
    low, high = min([*x, *y]), max([*x, *y])
    drawn = go.Figure()
    drawn.add_scatter(x=[low, high], y=[low, high], mode="lines", line={"color": "#9a9aa6", "width": 1, "dash": "dot"})
    drawn.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"color": COLOURS[0], "size": 6, "opacity": 0.6},
        text=[f"step {a.step}" for a in accounts],
    )
    title = "Predicted against measured" + (f", r = {w.correlation:.3f}" if w.correlation == w.correlation else "")
    drawn = styled(drawn, title, "predicted change (nats)", "measured change (nats)")
    drawn.update_layout(height=330, margin={"l": 78}, xaxis={"rangemode": "normal"}, yaxis={"rangemode": "normal"})
    return drawn


def by_key(w: Waterfall, split: str, title: str) -> go.Figure | None:
    """Summed shares of the tokens by one question of the account, the largest first; None where it tells nothing."""
    import plotly.graph_objects as go

    parts = list(w.splits.get(split, {}).items())[:_MOST_TEXTS]
    if len(parts) < 2:
        return None
    if split == "position":
        parts.sort(key=lambda item: int(item[0].partition("-")[0]))
    shown = [(visible(key), value) for key, value in reversed(parts)]
    drawn = go.Figure(
        go.Bar(
            # A key of the axis may stand there once only, and two texts may look alike.
            y=list(range(len(shown))),
            x=[v for _, v in shown],
            orientation="h",
            marker={"color": [_LOSS if v < 0 else _GAIN for _, v in shown]},
        )
    )
    drawn = styled(drawn, title, "nats, over the accounted steps", "")
    drawn.update_layout(
        height=110 + 22 * len(shown),
        margin={"l": 150},
        xaxis={"rangemode": "normal"},
        yaxis={"tickvals": list(range(len(shown))), "ticktext": [k for k, _ in shown], "ticks": ""},
    )
    return drawn


def visible(text: str, most: int = 22) -> str:
    """A token or prompt as one short printable piece, with spaces and breaks made visible; safe as HTML."""
    from html import escape

    marked = text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") if text.strip() == "" else text.strip("\n")
    plain = "".join(c if c.isprintable() else "·" for c in marked)
    return escape(plain if len(plain) <= most else "…" + plain[-most:])


def _wrapped(name: str) -> str:
    """Broken into lines that fit under a bar; a comparison stays on one."""
    lines = [""]
    for word in name.replace(" > ", "\u00a0>\u00a0").replace(" < ", "\u00a0<\u00a0").split(" "):
        if lines[-1] and len(lines[-1]) + len(word) > 11:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip(" ")
    return "<br>".join(lines)


def with_legend(drawn: go.Figure, rows: int) -> go.Figure:
    drawn.update_layout(
        showlegend=True,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        height=330 + 19 * rows,
        margin={"b": 60 + 19 * rows, "l": 62},
        yaxis={"rangemode": "normal"},
    )
    return drawn
