"""Evidence as a page and as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from entrokit.report import document, embed, figure, write_document

from .catalogue import paper
from .paper import Evidence, Finding

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
<p>{held} of {len(findings)} claims hold. Every criterion was written before its run; a claim that fails here fails on a
small policy, which says nothing about a large one.</p>
</header>
{"".join(map(_section, evidences))}"""
    return document("claims in miniature", body)


def _section(evidence: Evidence) -> str:
    entry = paper(evidence.slug)
    rows = "".join(map(_row, evidence.findings))
    heads = "".join(f"<th>{h}</th>" for h in ("claim", "verdict", "measured", "criterion", "for comparison"))
    charts = "".join(embed(figure(chart)) for chart in evidence.charts)
    return f"""<section>
<h2>{escape(entry.slug)}, {escape(evidence.bench)} bench</h2>
<p class="note">{escape(entry.title)} (<a href="{entry.url}">arXiv {entry.arxiv}</a>, {entry.year}).
{escape(_seeds(evidence))}.</p>
<div class="scroll"><table class="claims"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>
<div class="charts">{charts}</div>
</section>"""


def _row(finding: Finding) -> str:
    cells = (("measured", finding.measured), ("criterion", finding.criterion), ("for comparison", finding.reference))
    rest = "".join(f'<td data-label="{label}"><div>{escape(text)}</div></td>' for label, text in cells)
    return (
        f'<tr><td>{escape(finding.claim)}</td><td data-label="verdict">'
        f'<b class="{finding.verdict}">{finding.verdict}</b></td>{rest}</tr>'
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
