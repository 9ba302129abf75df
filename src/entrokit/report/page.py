"""One self-contained HTML page about one or several runs; it opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from entrokit.diagnose import EntropyRewardLaw, accounts_of, waterfall_of
from entrokit.diagnose.trend import Trend
from entrokit.extras import require
from entrokit.runs import Notes, Run
from entrokit.runs.layout import ACCOUNT, REPORT

from .account import waterfall
from .completions import FULL_SHADE, early_and_late
from .curves import SMOOTHING, by_recipe, colours, course, law
from .document import document, embed, write_document
from .summary import Spread, Summary, in_brackets, passes, summarise


def write_page(runs: Sequence[Run], folder: str | Path, matched_accuracy: Sequence[float] = ()) -> Path:
    """Writes ``report.html`` about ``runs`` into ``folder``, whole or not at all; returns its path.

    Args:
        matched_accuracy: levels of accuracy, as `summarise` takes them.

    Raises:
        MissingExtraError: the extra `report` is not installed.
        ValueError: no runs.
    """
    return write_document(Path(folder) / REPORT, render(runs, matched_accuracy))


def render(runs: Sequence[Run], matched_accuracy: Sequence[float] = ()) -> str:
    """The page's HTML."""
    if not runs:
        raise ValueError("report: no runs")
    require("a report", "report")
    groups = by_recipe(runs)
    figures = [course(groups, metric, title, unit) for metric, title, unit in _courses(runs)]
    law_figure, laws = law(groups)
    charts = "".join(embed(f) for f in [*figures, law_figure] if f is not None)
    seeds = max(len(own) for own in groups.values())
    return document(
        ", ".join(groups),
        f"""<header>
<h1>Where the entropy went</h1>
<p>{_subtitle(runs, seeds)}</p>
{_caution(seeds)}
</header>
{_legend(groups)}
{_table(runs, matched_accuracy)}
<section class="charts">{charts}</section>
<p class="note">Lines are running means over up to {SMOOTHING} generation batches{_band(seeds)}; a batch is measured
before the policy is trained on it. Stars mark the ceiling of the fitted law R = −a·e<sup>H</sup> + b, the reward
that it predicts at entropy 0.</p>
{_laws(laws)}
{_accounts(groups)}
<section>
<h2>Completions, early and late</h2>
<p class="note">The same held-out prompts before and after training. The darker a token, the higher the entropy of
the policy that chose it: <span class="scale"></span> 0 to {FULL_SHADE} nats and above. The number in front is the
reward.</p>
{_completions(groups)}
</section>
""",
    )


def _courses(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    fixed = [("entropy", "Entropy", "nats per token"), ("reward", "Reward", "mean reward")]
    return fixed + [(f"pass@{k}", f"pass@{k}", "share of prompts") for k in passes(runs)]


def _subtitle(runs: Sequence[Run], seeds: int) -> str:
    config = runs[0].config
    last = max((row["step"] for r in runs for row in r.metrics), default=0)
    parts = [
        f"task {config.get('task', '?')}",
        f"model {config.get('model', '?')}",
        f"{int(last)} optimiser steps",
        f"{seeds} seed{'s' if seeds > 1 else ''}",
    ]
    return escape(" · ".join(parts))


def _caution(seeds: int) -> str:
    if seeds > 1:
        return ""
    return '<p class="caution">One seed: an illustration. It shows how a run looks, not which recipe is better.</p>'


def _band(seeds: int) -> str:
    return "; bands are one standard deviation over seeds" if seeds > 1 else ""


def _legend(groups: dict[str, list[Run]]) -> str:
    palette = colours(list(groups))
    chips = "".join(f'<li><i style="background:{palette[n]}"></i>{escape(n)}</li>' for n in groups)
    return f'<ul class="legend">{chips}</ul>'


def _table(runs: Sequence[Run], matched_accuracy: Sequence[float]) -> str:
    try:
        summaries = summarise(runs, matched_accuracy)
    except ValueError as error:
        return f'<p class="note">No table yet: {escape(str(error))}</p>'
    first = summaries[0]
    matched = [f"entropy at accuracy {m.accuracy:.2f}" for m in first.matched]
    labels = ["entropy (nats)", "accuracy", f"pass@{first.k}", *matched]
    head = "".join(f"<th>{escape(h)}</th>" for h in ("recipe", *labels))
    rows = "".join(_row(s, first, labels) for s in summaries)
    brackets = in_brackets(summaries)
    paired = f" Small: the difference to {escape(first.recipe)}, paired by seed; in brackets its {brackets}."
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="note">Start → end on the same held-out prompts'
        f"{'; mean ± standard deviation over seeds' if first.seeds > 1 else ''}. Matched columns compare entropy where "
        "accuracy on the training batches (running mean) first reaches a level."
        f"{paired if brackets else ''}</p>"
    )


def _row(s: Summary, first: Summary, labels: Sequence[str]) -> str:
    cells = [*s.courses, *map(str, s.matched)]
    numbers = "".join(
        f'<td data-label="{escape(label)}"><div>{cell}{_difference(own, base) if s is not first else ""}</div></td>'
        for label, cell, own, base in zip(labels, cells, s.compared, first.compared, strict=True)
    )
    return f"<tr><td>{escape(s.recipe)}</td>{numbers}</tr>"


def _difference(own: Spread, base: Spread) -> str:
    gap = own.minus(base)
    return f'<small class="difference">{gap:+.2f}</small>' if gap and len(gap.values) > 1 else ""


def _laws(laws: dict[str, EntropyRewardLaw]) -> str:
    if not laws:
        return ""
    items = "".join(
        f"<li>{escape(n)}: R = −{x.a:.3f}·e<sup>H</sup> + {x.b:.3f}, R² = {x.r2:.2f}, ceiling {x.ceiling:.2f}</li>"
        if x.a >= 0
        else f"<li>{escape(n)}: R = {-x.a:.3f}·e<sup>H</sup> + {x.b:.3f}, R² = {x.r2:.2f}: reward does not fall with "
        "entropy here, so its ceiling means nothing</li>"
        for n, x in laws.items()
    )
    return f'<ul class="laws">{items}</ul>'


def _entropy(run: Run) -> Trend:
    steps, values = (np.array(x, dtype=np.float64) for x in run.series("entropy"))
    return Trend(steps, values)


def _accounts(groups: dict[str, list[Run]]) -> str:
    """Where the entropy of each recipe's first run with an account went."""
    parts = []
    for name, runs in groups.items():
        for run in runs:
            file = run.folder / ACCOUNT
            found = waterfall_of(list(accounts_of(file if file.exists() else None, Notes())), _entropy(run))
            if found is not None:
                parts.append(f"<h3>{escape(name)}, seed {escape(str(run.config.get('seed', '?')))}</h3>")
                parts.append(embed(waterfall(found)))
                break
    note = "One step in several was looked at; `entrokit diagnose` on a run's folder shows the rest of its account."
    return (
        f'<section><h2>Where the entropy went</h2>{"".join(parts)}<p class="note">{note}</p></section>' if parts else ""
    )


def _completions(groups: dict[str, list[Run]]) -> str:
    parts = []
    for i, (name, runs) in enumerate(groups.items()):
        shown = early_and_late(runs[0])
        if shown:
            opened = " open" if i == 0 else ""
            parts.append(f"<details{opened}><summary>{escape(name)}</summary>{shown}</details>")
    return "".join(parts) or '<p class="note">No evaluation was written.</p>'
