"""Evidence as a page and as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from entrokit.report import document, embed, figure, write_document

from .paper import Evidence, Finding
from .registry import paper

PAGE = "reproduce.html"


def write_page(evidences: Sequence[Evidence], folder: str | Path) -> Path:
    """Writes ``reproduce.html`` into ``folder``, whole or not at all; returns its path.

    Raises:
        ImportError: the extra `report` is not installed.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    return write_document(Path(folder) / PAGE, render(evidences))


def render(evidences: Sequence[Evidence]) -> str:
    """The page's HTML."""
    findings = [f for e in evidences for f in e.findings]
    held = sum(f.passed for f in findings)
    body = f"""<header>
<h1>Claims, run in miniature</h1>
<p>{held} of {len(findings)} claims hold. Every criterion was written before its run. A claim that fails here fails on
a small policy; a large one may differ.</p>
</header>
{"".join(map(_section, evidences))}"""
    return document("claims in miniature", body)


def _section(evidence: Evidence) -> str:
    entry = paper(evidence.slug)
    charts = "".join(embed(figure(chart)) for chart in evidence.charts)
    return f"""<section>
<h2>{escape(entry.slug)}, {escape(evidence.bench)} bench</h2>
<p class="note">{escape(entry.title)} (<a href="{entry.url}">arXiv {entry.arxiv}</a>, {entry.year}).
{escape(_seeds(evidence))}.</p>
<ul class="findings">{"".join(map(_finding, evidence.findings))}</ul>
<div class="charts">{charts}</div>
</section>"""


def _finding(finding: Finding) -> str:
    lines = [("measured", finding.measured), ("criterion", finding.criterion)]
    if finding.reference:
        lines.append(("compare", finding.reference))
    rows = "".join(f"<dt>{label}</dt><dd>{escape(text)}</dd>" for label, text in lines)
    return (
        f'<li><b class="verdict {finding.verdict}">{finding.verdict}</b><div><p>{escape(finding.claim)}</p>'
        f"<dl>{rows}</dl></div></li>"
    )


def _seeds(evidence: Evidence) -> str:
    return f"{len(evidence.seeds)} seeds, from {evidence.seeds[0]}, paired over recipes"


def verdict_table(evidences: Sequence[Evidence]) -> str:
    """All findings as one table in Markdown."""
    lines = ["| paper | bench, seeds | claim | measured | criterion | verdict |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {e.slug} | {e.bench}, {len(e.seeds)} | {_cell(f.claim)} | {_cell(f.measured)} "
        f"| {_cell(f.criterion)} | {'holds' if f.passed else '**failed**'} |"
        for e in evidences
        for f in e.findings
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
