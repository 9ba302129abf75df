"""Cards as HTML: whole without a script, which only searches and filters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from entrokit.engines.carried import ENGINES
from entrokit.report.svg import height_of

from .cards import COSTS, OWN_LOOP, VERDICTS, Card, Headline

STYLE = Path(__file__).with_name("gallery.css")
_MANY = 200

SCRIPT = Path(__file__).with_name("gallery.js")

PAGES = "https://github.com/entrokit/entrokit/blob/main/docs/papers/{slug}.md"
"""Where a paper's page is, unless the site that shows the gallery has its own."""


def gallery(cards: Sequence[Card], pictures: Mapping[str, str], *, pages: str = PAGES) -> str:
    """The gallery as one element, to be put into any page beside `STYLE` and `SCRIPT`.

    Args:
        pictures: a URL by slug; a card without one says that it has none.
        pages: URL of a paper's page, with ``{slug}`` where its name goes.
    """
    held, claims = sum(c.held for c in cards), sum(len(c.claims) for c in cards)
    body = "\n".join(_card(card, pictures.get(card.paper.slug), pages) for card in cards)
    return f"""<div class="gallery">
<p class="gallery-sum"><b>{len(cards)}</b> papers, <b>{claims}</b> claims measured in miniature, <b>{held}</b> hold.
Every criterion was written before its run; what failed is shown as well.</p>
{_form(cards)}
<p class="gallery-count" role="status" aria-live="polite">{len(cards)} of {len(cards)} papers</p>
<div class="gallery-cards{" gallery-many" if len(cards) > _MANY else ""}">
{body}
</div>
<p class="gallery-none" hidden>No paper has all of that. <button type="button">Show every paper</button></p>
</div>"""


def _form(cards: Sequence[Card]) -> str:
    wings = sorted({card.wing for card in cards})
    choices = {
        "wing": ("Wing", wings),
        "verdict": ("Verdict", [v for v in VERDICTS if any(c.verdict == v for c in cards)]),
        "engine": ("Runs under", [*ENGINES, OWN_LOOP]),
        "cost": ("First run takes", [c for c in COSTS if any(card.cost == c for card in cards)]),
    }
    selects = "\n".join(_select(name, label, values) for name, (label, values) in choices.items())
    return f"""<form class="gallery-find" role="search" hidden>
<label class="gallery-search">Search, by symptom, idea or name
<input type="search" name="q" autocomplete="off" placeholder="entropy collapse, covariance, 2505.22617 …"></label>
{selects}
</form>"""


def _select(name: str, label: str, values: Iterable[str]) -> str:
    options = "".join(f'<option value="{escape(v)}">{escape(v)}</option>' for v in values)
    return f'<label>{escape(label)}\n<select name="{name}"><option value="">all</option>{options}</select></label>'


def _card(card: Card, picture: str | None, pages: str) -> str:
    paper, slug = card.paper, escape(card.paper.slug)
    facts = {"wing": card.wing, "verdict": card.verdict, "engine": "|".join(card.engines), "cost": card.cost}
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in facts.items())
    code = f'<a href="{escape(card.source)}">code</a>' if card.source else f"<code>{escape(card.module)}</code>"
    page = f'<a href="{escape(pages.format(slug=paper.slug))}">its page</a>' if card.source else ""
    arxiv = f'<a href="{escape(paper.url)}">arXiv {escape(paper.arxiv)}</a>' if paper.url else ""
    links = [arxiv, code, page]
    return f"""<article class="gallery-card" id="{slug}" aria-labelledby="{slug}_title"{data}>
{_picture(card, picture)}
<p class="gallery-about">{paper.year} · <bdi>{escape(paper.family)}</bdi></p>
<h2 id="{slug}_title" dir="auto"><a href="#{slug}">{escape(paper.title)}</a></h2>
<p class="gallery-claim" dir="auto">{escape(paper.claim)}{_symptoms(paper.symptoms)}</p>
{_verdict(card)}
{"".join(_missing(card))}
<div class="gallery-lines">
<pre tabindex="0" role="region" aria-label="lines that run {slug}">{escape(_lines(card))}</pre>
<button type="button" class="gallery-copy" aria-label="copy the lines of {slug}" hidden>Copy</button></div>
{"".join(_folded(card))}
<p class="gallery-links">{" · ".join(link for link in links if link)}</p>
</article>"""


def _symptoms(symptoms: Sequence[str]) -> str:
    return f' <span class="gallery-for" dir="auto">For: {escape("; ".join(symptoms))}.</span>' if symptoms else ""


def _picture(card: Card, picture: str | None) -> str:
    if picture is None or card.chart is None:
        return '<p class="gallery-blank">no picture</p>'
    text = f"{card.chart.title}: {card.chart.y_label} against {card.chart.x_label}"
    height = height_of(card.chart)
    return f'<img src="{escape(picture)}" alt="{escape(text)}" loading="lazy" width="640" height="{height}">'


def _verdict(card: Card) -> str:
    if not card.claims:
        return f'<p class="gallery-verdict"><b class="none">not measured</b> {escape(_minutes(card.minutes))}</p>'
    failed = len(card.claims) - card.held
    marks = [f'<b class="holds">{card.held} hold</b>'] if card.held else []
    marks += [f'<b class="failed">{failed} failed</b>'] if failed else []
    first = card.claims[0]
    return f"""<p class="gallery-verdict">{" ".join(marks)} <span>{escape(_minutes(card.minutes))}</span></p>
{_finding(first)}"""


def _finding(claim: Headline) -> str:
    finding = claim.finding
    rows = [("claimed", finding.claim), ("measured", finding.measured), ("holds if", finding.criterion)]
    items = "".join(f'<dt>{name}</dt><dd dir="auto">{escape(text)}</dd>' for name, text in rows)
    word = finding.verdict
    verdict = f'<dt>verdict</dt><dd><b class="{word}">{word}</b>, {claim.seeds} seeds</dd>'
    return f'<dl class="gallery-finding">{verdict}{items}</dl>'


def _missing(card: Card) -> Iterator[str]:
    if card.missing:
        items = "".join(f'<li dir="auto">{escape(sentence)}</li>' for sentence in card.missing)
        yield f'<ul class="gallery-missing" aria-label="missing">{items}</ul>'


def _folded(card: Card) -> Iterator[str]:
    if len(card.claims) > 1:
        items = "".join(
            f'<li><b class="{c.finding.verdict}">{c.finding.verdict}</b> <bdi>{escape(c.finding.claim)}</bdi> '
            f"<span><bdi>{escape(c.finding.measured)}</bdi>; <bdi>{escape(c.experiment)}</bdi>, "
            f"{c.seeds} seeds. Holds if <bdi>{escape(c.finding.criterion)}</bdi></span></li>"
            for c in card.claims
        )
        yield f"<details><summary>All {len(card.claims)} claims</summary><ul>{items}</ul></details>\n"
    if card.errata:
        items = "".join(f'<li dir="auto">{escape(sentence)}</li>' for sentence in card.errata)
        several = "difference" if len(card.errata) == 1 else "differences"
        yield f"<details><summary>{len(card.errata)} {several} found</summary><ul>{items}</ul></details>\n"


def _lines(card: Card) -> str:
    return card.paper.lines or card.command


def _minutes(minutes: float) -> str:
    return f"first run about {minutes * 60:.0f} s" if minutes < 1 else f"first run about {minutes:g} min"
