"""Writes what the docs derive from code and results.

python scripts/pages.py              # writes docs/papers/<slug>.md, their pictures, and the tables between marks
python scripts/pages.py --check      # exit code 1 if a page is not what cards, entries and results say
python scripts/pages.py methods      # prints a table

Tables of what was measured stand in the pages, between `<!-- table: verdicts -->` and `<!-- end -->`. Lists of all
methods, measured or not, are put in while the site is built (`scripts/docs_site.py`): a method more edits no page but
its own.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, stdev

from head_tables import heads_table
from real_model_tables import account_table, cost_table, learn_table, padding_table, rows_table, survey_table
from scale_tables import collectives_table, loss_memory_table
from utility_tables import sequences_table, tokens_table
from which_method import told_table, wish_table

from entrokit.bench.contestants import contestants
from entrokit.bench.measured import load_scores, not_measured
from entrokit.gallery.cards import ERRATA, chart_of
from entrokit.papers import CATALOGUE, Paper, PaperResults
from entrokit.papers.results import MEASURED, load_all
from entrokit.report.reproduction import Section, code, one_line, verdict_table
from entrokit.report.scoreboard import markdown, not_shown
from entrokit.report.svg import svg
from entrokit.rlvr.cards import Method, methods
from entrokit.rlvr.intervention import stages_of
from entrokit.rlvr.interventions import INTERVENTIONS

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "papers"
_TABLED = (
    *("verdicts", "scoreboard", "which-method", "engines", "scale", "real-models", "one-pass"),
    "losses/utility-probability",
)
WITH_TABLES = [ROOT / "README.md", *(ROOT / "docs" / f"{n}.md" for n in _TABLED)]
RESULTS = ROOT / "results"


def results() -> dict[str, PaperResults]:
    """What was measured, by paper; a file that cannot be read is an error."""
    found, broken = load_all(MEASURED)
    if broken:
        raise SystemExit("\n".join(map(str, broken.values())))
    return found


def sections(entry: Paper, measured: PaperResults | None) -> Iterator[Section]:
    """The experiments of a paper that have a result, in the entry's order."""
    for name in entry.experiments:
        result = measured.experiments.get(name) if measured else None
        if result is not None:
            yield Section(
                entry.slug, entry.title, entry.url, name, len(result.seeds), result.note, result.findings, result.charts
            )


def paper_page(entry: Paper, measured: PaperResults | None) -> str:
    """One paper: what it claims, how to use it, what came out."""
    parts = [
        f"# {one_line(entry.title)}",
        f"[arXiv {entry.arxiv}]({entry.url}), {entry.year}; {one_line(entry.family)}. {one_line(entry.claim)}",
        *(f"![{one_line(chart.title)}](img/{entry.slug}.svg)" for chart in [chart_of(entry, measured)] if chart),
        *_lines(entry),
        f"```sh\nentrokit reproduce {entry.slug}\n```",
    ]
    if entry.recipes:
        parts += ["## Recipes", "\n".join(f"- {code(recipe)}" for recipe in entry.recipes)]
    parts += ["## What was measured", *_measured(entry, measured)]
    own = [m for m in methods().values() if m.card.paper == entry.arxiv]
    if own:
        parts += ["## On the scoreboard", _standing(own)]
    parts += ["## Names", "\n".join(f"- `{name}`: {_summary(name)}" for name in entry.names)]
    return "\n\n".join(parts) + "\n"


def _lines(entry: Paper) -> Iterator[str]:
    """What to paste, and which names in it are the reader's."""
    if entry.recipes and not entry.example:
        yield "Under TRL, with a `model`, a `reward` function, `args` (a `GRPOConfig`) and a dataset `data` of yours:"
    if entry.lines:
        yield f"```python\n{entry.lines}\n```"


def _measured(entry: Paper, measured: PaperResults | None) -> Iterator[str]:
    for name, experiment in entry.experiments.items():
        yield f"### {one_line(name)}"
        yield f"Shown if {one_line(experiment.criterion)}."
        result = measured.experiments.get(name) if measured else None
        if result is None:
            again = code(shlex.join(["entrokit", "reproduce", entry.slug, "--experiment", name]))
            yield f"Not measured yet: {again} (about {experiment.minutes:g} min)."
            continue
        own = next(s for s in sections(entry, measured) if s.experiment == name)
        yield verdict_table([own]).strip()
        at = f", commit {result.commit[:12]}" if result.commit else ""
        yield f"{code(result.command)}, {result.date}{at}. {one_line(result.note)}".strip()


def _standing(own: list[Method]) -> str:
    lines = ["| recipe | tabular: accuracy, entropy kept | pocket: accuracy, entropy kept |", "|---|---|---|"]
    boards = {bench: load_scores(RESULTS / "scoreboard", bench) for bench in ("tabular", "pocket")}
    shown = [c for c in contestants() if c.name in {m.name for m in own}]
    for contestant in shown:
        for recipe in contestant.recipes:
            cells = []
            for bench, board in boards.items():
                scores = board.of(recipe)
                if bench in contestant.impossible_on:
                    cells.append(contestant.impossible_on[bench])
                elif len(scores) < len(board.seeds):
                    cells.append("not measured")
                else:
                    accuracy = sum(s.accuracy for s in scores) / len(scores)
                    kept = sum(s.entropy_end / s.entropy_start for s in scores) / len(scores)
                    cells.append(f"{accuracy:.3f}, {kept:.2f}")
            lines.append(f"| `{recipe}` | {' | '.join(cells)} |")
    lines += [f"| `{m.name}` | {m.card.not_ranked} | |" for m in own if m.card.benches is None]
    return "\n".join(lines)


def _summary(name: str) -> str:
    """The first line of a public name's docstring."""
    owner, _, attribute = name.rpartition(".")
    text = inspect.getdoc(getattr(importlib.import_module(owner), attribute)) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("``", "`")


def verdicts() -> str:
    """Every verdict."""
    measured = results()
    every = [s for entry in CATALOGUE.values() for s in sections(entry, measured.get(entry.slug))]
    links = {slug: f"papers/{slug}.md" for slug in CATALOGUE}
    held, claims = (sum(f(v) for s in every for v in s.verdicts) for f in (lambda v: v.passed, lambda v: 1))
    return f"{held} of {claims} claims hold.\n\n{verdict_table(every, papers=links)}"


def waiting() -> str:
    """What has not been measured yet: experiments, and recipes on the boards."""
    measured = results()
    lines = [
        f"- `entrokit reproduce {slug} --experiment {name}`\n"
        for slug, entry in CATALOGUE.items()
        for name in entry.experiments
        if slug not in measured or name not in measured[slug].experiments
    ]
    for bench in ("tabular", "pocket"):
        board = load_scores(RESULTS / "scoreboard", bench)
        lines += [f"- `{recipe}` on the {bench} board\n" for recipe in not_measured(board)]
    return "".join(lines) or "Nothing.\n"


def method_table() -> str:
    """Every name of a recipe string: where it comes from, where it acts, who can carry it."""
    pages = {entry.arxiv: f"papers/{slug}.md" for slug, entry in CATALOGUE.items()}
    lines = ["| name | kind | paper | acts in | an example |", "|---|---|---|---|---|"]
    for method in methods().values():
        arxiv = method.card.paper
        paper = f"[{arxiv}]({pages.get(arxiv, f'https://arxiv.org/abs/{arxiv}')})"
        stages, example = ", ".join(_stages(method)), method.card.examples[0]
        lines.append(f"| `{method.name}` | {method.kind} | {paper} | {stages} | `{example}` |")
    return "\n".join(lines) + "\n"


def _stages(method: Method) -> list[str]:
    if method.kind != "intervention":
        return ["all"]
    return stages_of(INTERVENTIONS[method.name]())


def engine_table() -> str:
    """Deviations of the engines, as `experiments/engine_deviations.py` measured them."""
    measured = json.loads((RESULTS / "tables" / "engines.json").read_text(encoding="utf-8"))
    columns = measured["columns"]
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    lines += [f"| `{name}` | {' | '.join(cells)} |" for name, cells in measured["deviations"].items()]
    return "\n".join(lines) + "\n"


def live_table() -> str:
    """What ran on live engines, as `make test-live` measured it (`experiments/live_results.py`)."""
    measured = json.loads((RESULTS / "tables" / "live.json").read_text(encoding="utf-8"))
    lines = ["| what ran | runs | from the recipe by hand | seconds | memory (MB) |", "|---" * 5 + "|"]
    for name, engine in measured.items():
        versions = ", ".join(f"{package} {engine['versions'][package]}" for package in _NAMED[name])
        lines.append(f"| **{versions}** | | | | |")
        for test in engine["tests"]:
            what = "<br>".join([test["what"], *(f"`{spec}`" for spec in test["recipes"])])
            apart = "" if test["apart"] is None else f"{test['apart']:.1e}"
            lines.append(f"| {what} | {test['runs']} | {apart} | {test['seconds']:.0f} | {test['peak_mb']} |")
    return "\n".join(lines) + "\n"


def scoreboard_table(bench: str) -> str:
    """The scoreboard of one bench: what has been measured."""
    return markdown(load_scores(RESULTS / "scoreboard", bench))


def not_shown_list(bench: str) -> str:
    """What a bench cannot show, and why."""
    return "".join(f"- {line}\n" for line in not_shown(bench))


def three_recipes() -> str:
    """The figures of the README's picture: mean ± standard deviation over seeds, from start to end."""
    measured = json.loads((RESULTS / "tables" / "three-recipes.json").read_text(encoding="utf-8"))
    names = [name for name in next(iter(measured["recipes"].values())) if name != "matched"]
    head = ["recipe", *(f"{n} (nats)" if n == "entropy" else n for n in names)]
    head.append(f"entropy at accuracy {measured['level']:g}")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for recipe, own in measured["recipes"].items():
        cells = [" → ".join(map(_spread, own[name])) for name in (*names, "matched")]
        lines.append(f"| `{recipe}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def with_tables(text: str) -> str:
    """A page that stands in the repository as it is read there, with its tables between marks put in anew."""
    return MARKED.sub(lambda m: f"<!-- table: {m[1]} -->\n{TABLES[m[1]]()}<!-- end -->", text)


_NAMED = {"trl": ("trl", "vllm"), "verl": ("verl", "vllm", "ray"), "tinker": ("tinker", "skyrl")}
# A mark that is left open takes nothing of the next one's place.
MARKED = re.compile(r"<!-- table: ([\w-]+) -->\n(?:(?!<!-- table: ).)*?<!-- end -->", re.DOTALL)
TABLES: dict[str, Callable[[], str]] = {
    "real-model-account": account_table,
    "real-model-cost": cost_table,
    "real-model-learn": learn_table,
    "real-model-padding": padding_table,
    "real-model-rows": rows_table,
    "real-model-survey": survey_table,
    "utility-tokens": tokens_table,
    "utility-sequences": sequences_table,
    "heads": heads_table,
    "verdicts": verdicts,
    "methods": method_table,
    "not-measured": waiting,
    "not-shown-tabular": lambda: not_shown_list("tabular"),
    "not-shown-pocket": lambda: not_shown_list("pocket"),
    "engines": engine_table,
    "live": live_table,
    "collectives": collectives_table,
    "loss-memory": loss_memory_table,
    "three-recipes": three_recipes,
    "which-told": told_table,
    "which-entropy": lambda: wish_table("entropy"),
    "which-accuracy": lambda: wish_table("accuracy"),
    "which-coverage": lambda: wish_table("coverage"),
    "scoreboard-tabular": lambda: scoreboard_table("tabular"),
    "scoreboard-pocket": lambda: scoreboard_table("pocket"),
}


def errata() -> str:
    """By arXiv id, the first sentence of each of a paper's entries in docs/errata.md, as the gallery shows it."""
    found: dict[str, list[str]] = {}
    for section in (ROOT / "docs" / "errata.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, *entries = re.split(r"\n\n(?=\*\*)", section)
        arxiv = re.search(r"\((\d{4}\.\d{4,5})\)", heading.partition("\n")[0])
        if arxiv:
            found.setdefault(arxiv[1], []).extend(map(_first_sentence, entries))
    return json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n"


def _first_sentence(entry: str) -> str:
    """All that is bold, and on to the end of its sentence."""
    bold, _, rest = entry.removeprefix("**").partition("**")
    if not bold.rstrip().endswith("."):
        bold += re.split(r"(?<=[.:])\s", rest, maxsplit=1)[0]
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", bold.replace("`", ""))
    return " ".join(plain.split()).rstrip(":")


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in TABLES:
        print(TABLES[arguments[0]]())
        return 0
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    measured = results()
    pages = {PAGES / f"{slug}.md": paper_page(CATALOGUE[slug], measured.get(slug)) for slug in CATALOGUE.own}
    charts = {slug: chart_of(CATALOGUE[slug], measured.get(slug)) for slug in CATALOGUE.own}
    pages |= {PAGES / "img" / f"{slug}.svg": svg(chart) for slug, chart in charts.items() if chart is not None}
    pages[ERRATA] = errata()
    pages |= {page: with_tables(page.read_text(encoding="utf-8")) for page in WITH_TABLES}
    wrong = []
    for file, text in pages.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            wrong.append(file.relative_to(ROOT))
            if not arguments:
                file.parent.mkdir(exist_ok=True)
                file.write_text(text, encoding="utf-8")
    left = sorted(f.relative_to(ROOT) for f in [*PAGES.glob("*.md"), *PAGES.glob("img/*")] if f not in pages)
    for file in [*wrong, *left]:
        print(f"{file}: " + ("written" if not arguments else "is not what the entry and its results say"))
    return 1 if arguments and (wrong or left) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
