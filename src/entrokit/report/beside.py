"""Two runs side by side, as one self-contained page."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entrokit.diagnose import Apart, Comparison
from entrokit.extras import require

from .curves import COLOURS
from .document import document, embed, write_document
from .series import add_course, laid_out, mark_broken, mark_onset, told

if TYPE_CHECKING:
    import plotly.graph_objects as go

_GOOD = ("not-apart", "identical")
_WORDS = {
    "apart": "apart",
    "not-apart": "not apart",
    "identical": "identical",
    "too-short": "too short to tell",
    "nothing-in-common": "nothing to compare",
}
# Charts of a page; a log may hold hundreds of metrics.
_MOST = 40


def write_comparison(comparison: Comparison, file: str | Path) -> Path:
    """Writes the page, whole or not at all; returns its path.

    Raises:
        MissingExtraError: the extra `report` is not installed.
    """
    return write_document(Path(file), render_comparison(comparison))


def render_comparison(c: Comparison) -> str:
    """The page's HTML. Everything that the runs' files say is escaped."""
    require("a page", "report")
    good = " good" if c.verdict in _GOOD else ""
    onsets = {x.key: x for x in c.apart}
    keys = _in_order(c)
    charts = "".join(embed(_chart(c, k, onsets.get(k))) for k in keys[:_MOST])
    more = f"<p class='note'>{len(keys) - _MOST} more series are not drawn.</p>" if len(keys) > _MOST else ""
    return document(
        " and ".join(c.names),
        f"""<header>
<p>{escape(c.names[0])} beside {escape(c.names[1])}</p>
<h1 class="diagnosis{good}">{escape(_WORDS[c.verdict])}</h1>
<p class="cause">{escape(c.sentence)}</p>
</header>
{_runs(c)}
{_apart(c)}
<section class="charts">{charts}</section>
{more}
{_configs(c)}
{_rest(c)}
<p class="note">A series is apart where the difference over some stretch lies beyond what the noise of both runs from
step to step allows; all series and all steps are looked at together. Two seeds of one recipe may differ by more than
that in the long run.</p>
""",
    )


def _in_order(c: Comparison) -> list[str]:
    went = [*((x.step, x.key) for x in c.apart), *((x.step, x.key) for x in c.broken)]
    first = list(dict.fromkeys(key for _, key in sorted(went, key=lambda x: x[0])))
    logs = [d.facts.log for d in c.diagnoses]
    drawable = [k for k in logs[0].series if k in logs[1].series and max(len(log.series[k]) for log in logs) > 1]
    return [*(k for k in first if k in drawable), *(k for k in drawable if k not in first)]


def _chart(c: Comparison, key: str, apart: Apart | None) -> go.Figure:
    import plotly.graph_objects as go

    drawn = go.Figure()
    both = [d.facts.log.series[key] for d in c.diagnoses]
    for series, colour in zip(both, COLOURS, strict=False):
        add_course(drawn, series.steps, series.values, colour)
    laid_out(drawn, *told(key))
    mark_broken(drawn, both)
    if apart is not None:
        by = "" if apart.sigmas is None else f", {apart.sigmas:.1f} σ"
        mark_onset(drawn, apart.step, f"apart from {apart.step:g}{by}")
    return drawn


def _runs(c: Comparison) -> str:
    rows = "".join(
        f'<li><i style="background:{colour}"></i>{escape(name)}: {escape(d.verdict)}</li>'
        for colour, name, d in zip(COLOURS, c.names, c.diagnoses, strict=False)
    )
    causes = "".join(
        f"<li>{escape(name)}: {escape(d.verdict)}, {escape(d.findings[0].cause)}</li>"
        for name, d in zip(c.names, c.diagnoses, strict=True)
    )
    return f'<ul class="legend">{rows}</ul><h2>Each on its own</h2><ul class="evidence">{causes}</ul>'


def _apart(c: Comparison) -> str:
    if not c.apart:
        return ""
    rows = "".join(
        f'<tr><td>{escape(x.key)}</td><td data-label="from step">{x.step:g}</td>'
        f'<td data-label="standard errors">{"no noise" if x.sigmas is None else f"{x.sigmas:.1f}"}</td>'
        f'<td data-label="{escape(c.names[0])}">{x.a:.4g}</td><td data-label="{escape(c.names[1])}">{x.b:.4g}</td>'
        f'<td data-label="at the end">{"apart" if x.lasting else "together again"}</td></tr>'
        for x in c.apart
    )
    heads = "".join(
        f"<th>{escape(h)}</th>" for h in ("", "from step", "standard errors", *c.names, "at the common end")
    )
    return f"""<section><h2>What went apart</h2>
<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"""


def _configs(c: Comparison) -> str:
    if not c.configs:
        return ""
    rows = "".join(
        f"<tr><td>{escape(key)}</td>"
        + "".join(
            f'<td data-label="{escape(name)}">{escape(_short(value))}</td>'
            for name, value in zip(c.names, both, strict=True)
        )
        + "</tr>"
        for key, both in c.configs.items()
    )
    heads = "".join(f"<th>{escape(h)}</th>" for h in ("", *c.names))
    return f"""<section><h2>Settings that differ</h2>
<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"""


def _rest(c: Comparison) -> str:
    said = [
        *c.notes,
        *(f"{name} alone has {', '.join(keys)}" for name, keys in zip(c.names, c.only, strict=True) if keys),
        *(f"{key} is not compared: {why}" for key, why in c.left_out.items()),
    ]
    items = "".join(f"<li>{escape(s)}</li>" for s in said)
    return f'<section><h2>What bears on this</h2><ul class="laws">{items}</ul></section>' if items else ""


def _short(value: Any, most: int = 80) -> str:
    text = "".join(x if x.isprintable() else "·" for x in str(value))
    return text if len(text) <= most else f"{text[:most]}…"
