"""A diagnosis as one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from entrokit.diagnose import Boundary, Diagnosis, Finding, Remedy, clipping_said
from entrokit.diagnose.trend import Trend
from entrokit.extras import require
from entrokit.runs import Series, TrainingLog

from . import account
from .curves import COLOURS, styled
from .document import document, embed, write_document
from .series import course, courses, mark_onset

if TYPE_CHECKING:
    import plotly.graph_objects as go

_GOOD = ("healthy",)
# From here on the intervals over prompts cover 91 to 95 % (`pass_at_k_interval`, `net_change_interval`).
_PROMPTS = 64
_PART = "reward.part/"
_SINGLE = (("kl", 6), ("update_kl", 6), ("grad_norm", 7), ("loss", 7), ("eval_loss", 7), ("zero_variance", 3))
_LENGTHS = {"length": "all", "terminated_length": "ended by themselves"}
_CLIPPED = {"clip_share": "all", "clip_share.low": "low side", "clip_share.high": "high side"}
_GAPS = {
    "sampler_logp_gap": "log-probability (nats)",
    "sampler_prob_gap": "probability",
    "sampler_kl": "KL (nats)",
}


def write_diagnosis(diagnosis: Diagnosis, file: str | Path) -> Path:
    """Writes the page, whole or not at all; returns its path.

    Raises:
        MissingExtraError: the extra `report` is not installed.
    """
    return write_document(Path(file), render_diagnosis(diagnosis))


def render_diagnosis(d: Diagnosis) -> str:
    """The page's HTML. Everything that a run's files say is escaped."""
    require("a page", "report")
    first, facts = d.findings[0], d.facts
    charts = "".join(embed(f) for f in _courses(d))
    good = " good" if d.verdict in _GOOD else ""
    also = "".join(f"<h3>{escape(f.verdict)}: {escape(f.cause)}</h3>{_finding(f)}" for f in d.findings[1:])
    missing = "".join(f"<li>{escape(m)}</li>" for m in (*d.notes, *d.missing))
    others = "".join(f"<li>{escape(o.run)}: <b>{escape(o.verdict)}</b>, {escape(o.cause)}</li>" for o in d.others)
    return document(
        f"{d.verdict}",
        f"""<header>
<p>{escape(str(facts.log.where))} · {escape(facts.log.source)}</p>
<h1 class="diagnosis{good}">{escape(d.verdict)}</h1>
<p class="cause">{escape(first.cause)}</p>
</header>
{_finding(first)}
{f"<section><h2>Also found</h2>{also}</section>" if also else ""}
{f"<section><h2>Runs beside {escape(facts.log.run or 'it')}</h2><ul>{others}</ul></section>" if others else ""}
<section class="charts">{charts}</section>
{_account(d)}
{_boundary(d.boundary)}
{f'<section><h2>Notes, and what was not there</h2><ul class="laws">{missing}</ul></section>' if missing else ""}
""",
    )


def _courses(d: Diagnosis) -> list[go.Figure]:
    """Every chart of a course, with a line where the first finding began."""
    facts, log = d.facts, d.facts.log
    drawn = [
        _judged(log.series.get("entropy"), facts.entropy, "entropy", 0),
        _judged(log.series.get("reward"), facts.reward, "reward", 1),
        courses(_parts(log), "Parts of the reward", "mean of each part"),
        _validation(log),
        _families(d),
        _judged(log.series.get("truncated"), facts.truncated, "truncated", 3) if _moves(facts.truncated) else None,
        courses(_some(log, _LENGTHS), "Length of completions", "tokens", first=2),
        *(course(log.series[key], key, colour) for key, colour in _SINGLE if key in log.series),
        courses(_some(log, _CLIPPED), "Clipped", "share of tokens", first=5),
        courses(_some(log, _GAPS), "Sampler against trainer", "gap", first=4),
        course(s, "sampler_correlation", 4) if (s := log.series.get("sampler_correlation")) is not None else None,
    ]
    found = [f for f in drawn if f is not None]
    onset = d.findings[0].onset
    if onset is not None:
        for figure in found:
            mark_onset(figure, onset, f"{d.verdict} from {onset:g}")
    law = _law(d)
    return found if law is None else [*found, law]


def _judged(written: Series | None, judged: Trend | None, key: str, colour: int) -> go.Figure | None:
    """The course that the rules looked at: as it was written, or else from the completions."""
    if written is not None and (judged is None or len(written) == len(judged)):
        return course(written, key, colour)
    return None if judged is None else course(Series(judged.steps, judged.values), key, colour)


def _some(log: TrainingLog, named: Mapping[str, str]) -> dict[str, Series]:
    return {name: log.series[key] for key, name in named.items() if key in log.series}


def _parts(log: TrainingLog) -> dict[str, Series]:
    return {k.removeprefix(_PART): s for k, s in log.series.items() if k.startswith(_PART)}


def _validation(log: TrainingLog) -> go.Figure | None:
    """Validation beside the training reward: one that falls while the other rises is what to look for."""
    if "validation" not in log.series:
        return None
    named = {"reward": "training reward", "accuracy": "training accuracy", "validation": "validation"}
    return courses(_some(log, named), "Validation beside training", "score", first=1)


def _finding(finding: Finding) -> str:
    evidence = "".join(f"<li>{escape(e)}</li>" for e in finding.evidence)
    remedies = "".join(f"<li>{_remedy(r)}</li>" for r in finding.remedies)
    what = f"<h2>What to do</h2><ul class='remedies'>{remedies}</ul>" if remedies else ""
    return f'<ul class="evidence">{evidence}</ul>{what}'


def _remedy(remedy: Remedy) -> str:
    recipe = f"<code>{escape(remedy.recipe)}</code> " if remedy.recipe else ""
    write = f'<br><code class="write">{escape(remedy.write)}</code>' if remedy.write else ""
    return f"{recipe}{escape(remedy.text)}{write}"


def _account(d: Diagnosis) -> str:
    w, accounts = d.waterfall, d.facts.accounts
    if w is None:
        return ""
    charts = [
        account.over_time(accounts),
        account.predicted_against_measured(w, accounts) if len(accounts) > 1 else None,
        account.by_key(w, "token", "By token"),
        account.by_key(w, "position", "By position in the completion"),
        account.by_key(w, "phase", "By phase"),
        account.by_key(w, "turn", "By turn"),
        account.by_key(w, "prompt", "By prompt"),
    ]
    drawn = "".join(embed(f) for f in charts if f is not None)
    return f"""<section>
<h2>Where the entropy went</h2>
{embed(account.waterfall(w))}
<p class="note">{w.accounts} steps were looked at, each stands for {w.every:g}. A token's bar is what this step's
gradient from it did to the entropy of the sampled states, through the shared parameters; momentum carries what earlier
steps' tokens began. The last bar is the remainder: the policy comes to visit other states, and only samples were looked
at. Measured against predicted over the steps: r = {w.correlation:.3f}, slope {w.slope:.2f}; the free-logit law, which
treats every state on its own, r = {w.free_correlation:.2f}. {escape(clipping_said(w)) if w.kept < 1.0 else ""}</p>
<div class="charts">{drawn}</div>
</section>"""


def _boundary(b: Boundary | None) -> str:
    if b is None:
        return ""
    heads = "".join(f"<th>pass@{k}</th>" for k in b.first.pass_at)
    rows = "".join(
        f"<tr><td>step {m.step:g}</td>{''.join(f'<td>{m.pass_at[k]:.2f}</td>' for k in b.first.pass_at)}"
        f"<td>{'–' if m.token_entropy is None else f'{m.token_entropy:.2f}'}</td><td>{m.answer_entropy:.2f}</td>"
        f"<td>{m.tied:.0%}</td></tr>"
        for m in (b.first, b.last)
    )
    s = b.support
    few = f", which for fewer than {_PROMPTS} prompts cover less often than that" if b.first.prompts < _PROMPTS else ""
    return f"""<section>
<h2>The boundary</h2>
<div class="scroll"><table><thead><tr><th></th>{heads}<th>token entropy (nats)</th>
<th>answer entropy (nats)</th><th>several right</th></tr>
</thead><tbody>{rows}</tbody></table></div>
<p class="note">{b.first.prompts} held-out prompts, {b.first.attempts} attempts each; 95 % bootstrap intervals over
prompts{few}. Of the prompts solved at least once, {s.preserved} were kept, {s.shrunk} lost and {s.expanded} found;
{s.outside} were never solved. Net change of the support {b.net_change:+.2f}. A right answer that was never seen has,
with 95 % confidence, a probability below {b.unseen_below:.2f}. Small counts change by chance too. Where several answers
are right, a 0/1 reward ties them, and a small change of the reward can decide between them.</p>
</section>"""


def _families(d: Diagnosis) -> go.Figure | None:
    import plotly.graph_objects as go

    shown = [f for f in d.facts.families if f.reward is not None and len(f.reward) > 1][: len(COLOURS)]
    if len(shown) < 2:
        return None
    drawn = go.Figure()
    for i, family in enumerate(shown):
        course = family.reward
        assert course is not None
        line = {"color": COLOURS[i], "width": 2}
        x = course.steps[len(course) - len(course.smooth) :]
        drawn.add_scatter(x=x, y=course.smooth, name=account.visible(family.name, 40), mode="lines", line=line)
    drawn = styled(drawn, "Reward by family of prompts", "optimiser step", "mean reward")
    return account.with_legend(drawn, -(-len(shown) // 2))


def _law(d: Diagnosis) -> go.Figure | None:
    import plotly.graph_objects as go

    fitted, h, r = d.law, d.facts.entropy, d.facts.reward
    if fitted is None or h is None or r is None:
        return None
    shared, own, other = np.intersect1d(h.steps, r.steps, return_indices=True)
    drawn = go.Figure()
    x, y = h.values[own], r.values[other]
    drawn.add_scatter(x=x, y=y, mode="markers", marker={"color": shared, "colorscale": "Blues", "size": 5, "cmin": -1})
    grid = np.linspace(0.0, float(x.max()), 60)
    doubtful = {"color": "#9a9aa6" if fitted.doubts else COLOURS[1], "width": 2, "dash": "dash"}
    drawn.add_scatter(x=grid, y=fitted.law.predict(grid), mode="lines", line=doubtful)
    if not fitted.doubts:
        low, high = fitted.ceiling
        error = {"type": "data", "symmetric": False, "array": [high - fitted.law.ceiling]}
        drawn.add_scatter(
            x=[0.0],
            y=[fitted.law.ceiling],
            mode="markers",
            error_y=error | {"arrayminus": [fitted.law.ceiling - low]},
            marker={"color": COLOURS[1], "symbol": "star", "size": 11},
            cliponaxis=False,
        )
    said = "ceiling doubtful" if fitted.doubts else f"ceiling {fitted.law.ceiling:.2f}"
    return styled(drawn, f"Reward against entropy ({said})", "entropy (nats per token)", "reward")


def _moves(course: Trend | None) -> bool:
    return course is not None and len(course) > 1 and float(course.values.max()) > 0.01
