"""Courses of a log's metrics as charts, with the places marked where they were no numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from entrokit.diagnose.facts import Trend
from entrokit.runs import Series

from . import account
from .curves import COLOURS, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go

_TOLD: dict[str, tuple[str, str]] = {
    "entropy": ("Entropy", "nats per token"),
    "trainer_entropy": ("Entropy of the trained policy", "nats per token"),
    "sampler_surprise": ("Surprise of what was sampled", "nats per token"),
    "reward": ("Reward", "mean reward"),
    "accuracy": ("Accuracy", "share right"),
    "validation": ("Validation", "score"),
    "length": ("Length of completions", "tokens"),
    "terminated_length": ("Length of those that ended", "tokens"),
    "truncated": ("Truncated", "share of completions"),
    "zero_variance": ("Groups without signal", "share of groups"),
    "kl": ("KL to the reference", "nats"),
    "update_kl": ("KL of an update", "nats"),
    "grad_norm": ("Gradient norm", "norm"),
    "loss": ("Loss", "loss"),
    "eval_loss": ("Loss on held-out data", "loss"),
    "value_loss": ("Loss of the value model", "loss"),
    "learning_rate": ("Learning rate", "learning rate"),
    "clip_share": ("Clipped", "share of tokens"),
    "ratio": ("Importance ratio", "ratio"),
    "sampler_logp_gap": ("Sampler against trainer: log-probability", "nats"),
    "sampler_prob_gap": ("Sampler against trainer: probability", "difference"),
    "sampler_correlation": ("Sampler against trainer: correlation", "r"),
    "sampler_kl": ("Sampler against trainer: KL", "nats"),
}
# Longer courses are drawn by means: a page holds every point that it shows.
_DRAWN = 2000
_BROKEN = {"width": 1.5, "dash": "dot"}


def told(key: str) -> tuple[str, str]:
    """Title and unit of a metric's chart; safe as HTML."""
    if key in _TOLD:
        return _TOLD[key]
    quantity, _, rest = key.replace("reward.part/", "reward/").partition("/")
    known = _TOLD.get(quantity)
    if known is not None and rest:
        return f"{known[0]}: {account.visible(rest, 40)}", known[1]
    return account.visible(key, 40), ""


def course(series: Series, key: str, colour: int) -> go.Figure | None:
    """One metric: its points, its running mean, and where it was NaN or infinite. None below two points."""
    return courses({"": series}, *told(key), first=colour)


def courses(named: Mapping[str, Series], title: str, unit: str, *, first: int = 0) -> go.Figure | None:
    """Several metrics of one unit in one chart, by name; a legend where there are several. None without any course."""
    import plotly.graph_objects as go

    shown = {name: s for name, s in named.items() if len(s) > 1 or s.broken is not None}
    if not any(len(s) > 1 for s in shown.values()):
        return None
    drawn = go.Figure()
    for i, (name, series) in enumerate(list(shown.items())[: len(COLOURS)]):
        add_course(drawn, series.steps, series.values, COLOURS[(first + i) % len(COLOURS)], account.visible(name, 40))
    laid_out(drawn, title, unit)
    mark_broken(drawn, list(shown.values())[: len(COLOURS)], first)
    return account.with_legend(drawn, -(-len(shown) // 2)) if len(shown) > 1 else drawn


def laid_out(drawn: go.Figure, title: str, unit: str) -> go.Figure:
    """The look of a chart of courses; numbers of many digits get the room that they need."""
    styled(drawn, title, "optimiser step", unit)
    drawn.update_yaxes(automargin=True)
    return drawn


def add_course(drawn: go.Figure, steps: np.ndarray, values: np.ndarray, colour: str, name: str = "") -> None:
    """Adds points, faint, and their running mean; only the mean is in the legend."""
    if not len(steps):
        return
    trend = Trend(*_fewer(steps, values))
    faint: dict[str, Any] = {"color": colour, "width": 1}
    drawn.add_scatter(x=trend.steps, y=trend.values, mode="lines", line=faint, opacity=0.35, showlegend=False)
    middle = (len(trend) - len(trend.smooth)) // 2
    drawn.add_scatter(
        x=trend.steps[middle : middle + len(trend.smooth)],
        y=trend.smooth,
        mode="lines",
        name=name,
        line={"color": colour, "width": 2.5},
    )


def mark_broken(drawn: go.Figure, shown: Sequence[Series], first: int = 0) -> None:
    """Draws a dotted line where each series was first NaN or infinite, in its colour."""
    words: dict[float, str] = {}
    for i, series in enumerate(shown):
        if series.broken is not None:
            words.setdefault(series.broken.first_step, "NaN" if series.broken.kind == "nan" else "infinite")
            colour = COLOURS[(first + i) % len(COLOURS)]
            drawn.add_vline(x=series.broken.first_step, line=_BROKEN | {"color": colour})
    for step, word in words.items():
        note(drawn, step, f"{word} from {step:g}", "bottom")


def mark_onset(drawn: go.Figure, step: float, word: str) -> None:
    """Draws a line where something began, with a word."""
    drawn.add_vline(x=step, line={"color": "#b3261e", "width": 1.5, "dash": "dash"})
    note(drawn, step, word, "top")


def note(drawn: go.Figure, step: float, word: str, where: str) -> None:
    """A word beside a vertical line, on the side that has room."""
    ends = [float(x) for trace in drawn.data if trace.x is not None for x in (trace.x[0], trace.x[-1])]
    late = bool(ends) and step > 0.6 * max(ends)
    drawn.add_annotation(
        x=step,
        y=1.0 if where == "top" else 0.0,
        yref="paper",
        yanchor=where,
        xanchor="right" if late else "left",
        text=word,
        showarrow=False,
        font={"size": 11, "color": "#b3261e"},
        bgcolor="rgba(255,255,255,0.75)",
    )


def _fewer(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(steps) <= _DRAWN:
        return steps, values
    starts = np.linspace(0, len(steps), _DRAWN, endpoint=False).astype(int)
    return steps[starts], np.add.reduceat(values, starts) / np.diff(np.append(starts, len(steps)))
