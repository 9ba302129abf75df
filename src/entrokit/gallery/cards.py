"""What a card says of a paper, as data: from the catalogue and from results alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from entrokit.engines.carried import ENGINES, carried_by
from entrokit.papers import CATALOGUE, Finding, Paper, PaperResults, ResultError
from entrokit.papers.result import Result
from entrokit.papers.results import load_all
from entrokit.report import Chart
from entrokit.rlvr import recipe

SOURCE = "https://github.com/entrokit/entrokit/blob/main/src"
ERRATA = Path(__file__).with_name("errata.json")

OWN_LOOP = "your own loop"
_FIRST = ("rlvr", "diagnosis")
VERDICTS = ("all hold", "some failed", "none hold", "not measured")
COSTS = {"under a minute": 1.0, "1 to 10 minutes": 10.0, "10 minutes to an hour": 60.0, "over an hour": float("inf")}
"""Upper ends, in minutes on two cores, of what the paper's first experiment takes."""


@dataclass(frozen=True)
class Headline:
    """One claim beside its measurement. ``seeds``: how many it was measured on."""

    finding: Finding
    experiment: str
    seeds: int


@dataclass(frozen=True)
class Card:
    """A paper of the gallery.

    Attributes:
        paper: its entry. source: where its code stands, a URL, "" for a plug-in's. module: the same, dotted.
        claims: every claim that was measured, in the entry's order. minutes: of its first experiment.
        engines: which carry one of its recipes at least, and `OWN_LOOP`.
        chart: what to draw of it, if anything was. errata: what was found to differ, a sentence each.
        missing: what is not there, and how to get it, a sentence each.
    """

    paper: Paper
    source: str
    module: str
    claims: tuple[Headline, ...]
    minutes: float
    engines: tuple[str, ...]
    chart: Chart | None
    errata: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def wing(self) -> str:
        return self.paper.wing

    @property
    def held(self) -> int:
        return sum(claim.finding.passed for claim in self.claims)

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        if not self.claims:
            return "not measured"
        return "all hold" if self.held == len(self.claims) else "some failed" if self.held else "none hold"

    @property
    def cost(self) -> str:
        """One of `COSTS`."""
        return next(name for name, end in COSTS.items() if self.minutes <= end)

    @property
    def command(self) -> str:
        return f"entrokit reproduce {self.paper.slug}"


def cards(
    measured: Mapping[str, PaperResults],
    broken: Mapping[str, ResultError] | None = None,
    papers: Mapping[str, Paper] = CATALOGUE,
) -> list[Card]:
    """A card a paper: first what trains by reinforcement and what diagnoses it, then by wing, each in order of title.

    Args:
        measured: results by slug. broken: results that could not be read, by slug: their cards say so.
    """
    found, own = errata(), frozenset(CATALOGUE.own)
    made = [
        _card(entry, measured.get(slug), (broken or {}).get(slug), found.get(entry.arxiv, ()), slug in own)
        for slug, entry in papers.items()
    ]
    return sorted(made, key=lambda card: (_place(card.wing), card.wing, card.paper.title.casefold()))


def gathered(*folders: str | Path) -> tuple[dict[str, PaperResults], dict[str, ResultError]]:
    """Results of several folders by slug, and why some could not be read; the last folder's experiment stands."""
    measured: dict[str, PaperResults] = {}
    broken: dict[str, ResultError] = {}
    for folder in folders:
        found, unreadable = load_all(folder)
        for slug, results in found.items():
            before = measured.get(slug, PaperResults(slug))
            measured[slug] = PaperResults(slug, {**before.experiments, **results.experiments})
        broken |= unreadable
    return measured, broken


def chart_of(paper: Paper, measured: PaperResults | None) -> Chart | None:
    """The first chart of a paper's experiments, in the entry's order; None where nothing was drawn."""
    return next((chart for _, result in _measured(paper, measured) for chart in result.charts), None)


def _place(wing: str) -> int:
    return _FIRST.index(wing) if wing in _FIRST else len(_FIRST)


def errata() -> Mapping[str, tuple[str, ...]]:
    """By arXiv id, the first sentence of each entry of docs/errata.md (``scripts/pages.py`` keeps it)."""
    content = json.loads(ERRATA.read_text(encoding="utf-8"))
    return {arxiv: tuple(sentences) for arxiv, sentences in content.items()}


def _card(
    paper: Paper, measured: PaperResults | None, broken: ResultError | None, differs: tuple[str, ...], own: bool
) -> Card:
    _, first = paper.experiment()
    module = CATALOGUE.where(paper.slug) if paper.slug in CATALOGUE else first.run.__module__
    return Card(
        paper,
        f"{SOURCE}/{module.replace('.', '/')}.py" if own else "",
        module,
        tuple(
            Headline(finding, name, len(result.seeds))
            for name, result in _measured(paper, measured)
            for finding in result.findings
        ),
        first.minutes,
        _engines(paper),
        chart_of(paper, measured),
        differs,
        tuple(_missing(paper, measured, broken)),
    )


def _measured(paper: Paper, measured: PaperResults | None) -> Iterator[tuple[str, Result]]:
    """The experiments that have a result, in the entry's order."""
    for name in paper.experiments:
        result = measured.experiments.get(name) if measured else None
        if result is not None:
            yield name, result


def _engines(paper: Paper) -> tuple[str, ...]:
    """Of what is no recipe a reader's own code is the only engine."""
    carrying = {engine for spec in paper.recipes for engine in _carrying(spec)}
    return (*(engine for engine in ENGINES if engine in carrying), OWN_LOOP)


@cache
def _carrying(spec: str) -> tuple[str, ...]:
    """A plug-in's recipe may be none; its card says so."""
    try:
        return carried_by(recipe(spec))
    except Exception:  # a stranger's method may raise anything
        return ()


def _missing(paper: Paper, measured: PaperResults | None, broken: ResultError | None) -> Iterator[str]:
    if broken is not None:
        yield f"Its results could not be read: {broken}"
    there = dict(_measured(paper, measured))
    yield from (f"No engine carries its recipe {spec!r}." for spec in paper.recipes if not _carrying(spec))
    for name, experiment in paper.experiments.items():
        if name not in there:
            again = shlex.join(["entrokit", "reproduce", paper.slug, "--experiment", name])
            yield f"Not measured: {name}. {again} (about {experiment.minutes:g} min)"
    if there and not any(result.charts for result in there.values()):
        yield "No picture was drawn."
    unknown = sorted(set(measured.experiments) - set(paper.experiments)) if measured else []
    if unknown:
        yield f"Measured by another version, and no experiment of this one: {', '.join(unknown)}."
