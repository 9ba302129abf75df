"""Charts of a comparison, as plotly figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from entrokit.diagnose import EntropyRewardLaw, fit_entropy_reward_law
from entrokit.runs import Run

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Okabe and Ito's palette, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B2A000")

# A generation batch is a handful of prompts: raw points would hide the course of a run; so would means over all of it.
SMOOTHING = 9
_BATCHES_A_POINT = 6


def by_recipe(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs grouped by recipe, in order of appearance."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.name, []).append(run)
    return groups


def colours(names: Sequence[str]) -> dict[str, str]:
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def smoothed(run: Run, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and running means of a metric of the training batches; shorter windows at both ends and in short runs."""
    steps, values = (np.array(x, dtype=np.float64) for x in run.series(metric))
    kernel = np.ones(min(SMOOTHING, 1 + len(values) // _BATCHES_A_POINT // 2 * 2))
    if not len(values):
        return steps, values
    weight = np.convolve(np.ones_like(values), kernel, "same")
    return steps, np.convolve(values, kernel, "same") / weight


def course(groups: Mapping[str, Sequence[Run]], metric: str, title: str, unit: str) -> go.Figure | None:
    """A metric against optimiser steps: mean over seeds, with a band of one standard deviation. None without data."""
    import plotly.graph_objects as go

    figure, palette = go.Figure(), colours(list(groups))
    for name, runs in groups.items():
        series = [smoothed(run, metric) for run in runs]
        length = min((len(s) for s, _ in series), default=0)
        if not length:
            continue
        steps = series[0][0][:length]
        values = np.stack([v[:length] for _, v in series])
        mean = values.mean(0)
        if len(runs) > 1:
            std = values.std(0, ddof=1)
            edge = np.concatenate([mean + std, (mean - std)[::-1]])
            outline = np.concatenate([steps, steps[::-1]])
            # Of few points plotly would mark each in a colour of its own.
            figure.add_scatter(
                x=outline,
                y=edge,
                mode="lines",
                fill="toself",
                fillcolor=_faint(palette[name]),
                line_width=0,
                hoverinfo="skip",
            )
        figure.add_scatter(x=steps, y=mean, name=name, line={"color": palette[name], "width": 2}, mode="lines")
    return styled(figure, title, "optimiser step", unit) if figure.data else None


def law(groups: Mapping[str, Sequence[Run]]) -> tuple[go.Figure | None, dict[str, EntropyRewardLaw]]:
    """Reward against entropy with the fitted law of each recipe, and the laws. None without data."""
    import plotly.graph_objects as go

    figure, palette, laws = go.Figure(), colours(list(groups)), {}
    for name, runs in groups.items():
        points = [(smoothed(r, "entropy")[1], smoothed(r, "reward")[1]) for r in runs]
        usable = [(h, r) for h, r in points if len(h) and len(h) == len(r)]
        if not usable:
            continue
        h, r = (np.concatenate(x) for x in zip(*usable, strict=True))
        figure.add_scatter(
            x=h, y=r, name=name, mode="markers", marker={"color": palette[name], "size": 4, "opacity": 0.35}
        )
        try:
            laws[name] = fit_entropy_reward_law(h.tolist(), r.tolist())
        except ValueError:
            continue
        grid = np.linspace(0.0, float(h.max()), 60)
        line = {"color": palette[name], "width": 2, "dash": "dash"}
        figure.add_scatter(x=grid, y=laws[name].predict(grid), mode="lines", line=line, hoverinfo="skip")
        figure.add_scatter(
            x=[0.0],
            y=[laws[name].ceiling],
            name=f"ceiling of {name}",
            mode="markers",
            marker={"color": palette[name], "symbol": "star", "size": 11},
            cliponaxis=False,
        )
    drawn = styled(figure, "Reward against entropy", "entropy (nats per token)", "reward") if figure.data else None
    return drawn, laws


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def styled(figure: go.Figure, title: str, x: str, y: str) -> go.Figure:
    """The look of every chart."""
    axis: dict[str, Any] = {"gridcolor": "#e8e8ec", "zeroline": False, "linecolor": "#c9c9d1", "ticks": "outside"}
    figure.update_layout(
        title={"text": title, "x": 0, "xref": "paper", "font": {"size": 15}},
        template="none",
        showlegend=False,
        height=300,
        margin={"l": 52, "r": 12, "t": 40, "b": 44},
        font={"family": "system-ui, sans-serif", "size": 12, "color": "#333340"},
        hovermode="closest",
        # Slanted labels of categories lean beyond the axis, the last of them out of the picture.
        xaxis=axis | {"title": {"text": x, "standoff": 8}, "rangemode": "tozero", "automargin": True},
        yaxis=axis | {"title": {"text": y, "standoff": 8}},
    )
    return figure
