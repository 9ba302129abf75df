"""Claims beside what was measured, as a page and as tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Protocol

from .chart import Chart, figure
from .document import document, embed, write_document

PAGE = "reproduce.html"


class Verdict(Protocol):
    """A claim beside its measurement, whoever judged it."""

    @property
    def claim(self) -> str: ...
    @property
    def criterion(self) -> str: ...
    @property
    def measured(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def passed(self) -> bool: ...


@dataclass(frozen=True)
class Section:
    """One experiment of one paper.

    Attributes:
        slug, title, url: of the paper, the last "" where it is not on the web. experiment: its name. seeds: how many.
            about: one line below the heading.
    """

    slug: str
    title: str
    url: str
    experiment: str
    seeds: int
    about: str
    verdicts: Sequence[Verdict]
    charts: Sequence[Chart] = ()


def write_reproduction(sections: Sequence[Section], folder: str | Path) -> Path:
    """Writes ``reproduce.html`` into ``folder``, whole or not at all; returns its path.

    Raises:
        ImportError: the extra `report` is not installed.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    return write_document(Path(folder) / PAGE, render_reproduction(sections))


def render_reproduction(sections: Sequence[Section]) -> str:
    """The page's HTML."""
    verdicts = [v for s in sections for v in s.verdicts]
    held = sum(v.passed for v in verdicts)
    body = f"""<header>
<h1>Claims, run in miniature</h1>
<p>{held} of {len(verdicts)} claims hold. Every criterion was written before its run. A claim that fails here fails on
a small policy; a large one may differ.</p>
</header>
{"".join(map(_section, sections))}"""
    return document("claims in miniature", body)


def _section(section: Section) -> str:
    charts = "".join(embed(figure(chart)) for chart in section.charts)
    title = escape(section.title)
    if section.url:
        title = f'<a href="{escape(section.url)}">{title}</a>'
    return f"""<section>
<h2>{escape(section.slug)}: {escape(section.experiment)}</h2>
<p class="note">{title}. {escape(section.about)}</p>
<ul class="findings">{"".join(map(_verdict, section.verdicts))}</ul>
<div class="charts">{charts}</div>
</section>"""


def _verdict(verdict: Verdict) -> str:
    lines = [("measured", verdict.measured), ("criterion", verdict.criterion)]
    if verdict.reference:
        lines.append(("compare", verdict.reference))
    rows = "".join(f"<dt>{label}</dt><dd>{escape(text)}</dd>" for label, text in lines)
    word = "holds" if verdict.passed else "failed"
    return f'<li><b class="verdict {word}">{word}</b><div><p>{escape(verdict.claim)}</p><dl>{rows}</dl></div></li>'


def verdict_table(sections: Sequence[Section], *, papers: Mapping[str, str] | None = None) -> str:
    """All verdicts as one table in Markdown.

    Args:
        papers: where a paper's name leads, by slug; without, it is plain text.
    """
    lines = ["| paper | experiment, seeds | claim | measured | criterion | verdict |", "|---|---|---|---|---|---|"]
    for s in sections:
        name = f"[{s.slug}]({papers[s.slug]})" if papers and s.slug in papers else _cell(s.slug)
        lines += [
            f"| {name} | {_cell(s.experiment)}, {s.seeds} | {_cell(v.claim)} | {_cell(v.measured)} "
            f"| {_cell(v.criterion)} | {'holds' if v.passed else '**failed**'} |"
            for v in s.verdicts
        ]
    return "\n".join(lines) + "\n"


def one_line(text: str) -> str:
    """Text as one line of Markdown: a backtick without its like is a character, and begins no code."""
    line = " ".join(text.split())
    return line.replace("`", "\\`") if line.count("`") % 2 else line


def code(text: str) -> str:
    """Text as code in a line of Markdown, backticks and all."""
    line = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")
