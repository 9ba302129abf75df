"""Makes what the pages of symptoms show: pictures of the runs, what `entrokit diagnose` says of them, lines to paste.

python scripts/symptoms.py                # writes the pages' blocks, and their pictures with a headless browser
python scripts/symptoms.py --check        # exit code 1 if a block is not what diagnose says today
python scripts/symptoms.py --runs FOLDER  # writes the planted runs down, to be looked at
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from entrokit.cli.shown import shown
from entrokit.diagnose import diagnose
from entrokit.runs import TrainingLog
from entrokit.runs.read_log import read_log

sys.path.insert(0, str(Path(__file__).parent))

from pictures import WIDTH, find_browser, shoot
from symptom_list import SYMPTOMS, Panel, Symptom
from symptom_runs import ROOT
from symptom_words import ALL, BOTH, TITLES, told

DOCS = ROOT / "docs"
PAGES, PICTURES = [DOCS / "symptoms.md", *sorted((DOCS / "symptoms").glob("*.md"))], DOCS / "img"
BLOCK = re.compile(r"<!-- (run|do|do-all|fixed): ([\w-]+) -->\n(.*?)<!-- end -->\n", re.DOTALL)
COLUMNS = 80  # of text in the page, in a wide window
PANEL, ROOM = 150, 68
LAST = ("also ", "law ", "held out:", "not there:", "entropy ")


def said(path: Path) -> str:
    """What `entrokit diagnose` prints of a run: its first finding, and the first lines of the others."""
    file = StringIO()
    Console(file=file, width=COLUMNS, color_system=None).print(shown(diagnose(path)), crop=False)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    end = next((i for i, line in enumerate(lines) if i and line.startswith(LAST)), len(lines))
    others = [line for line in lines[end:] if line.startswith("also ")]
    return "\n".join([*lines[:end], *others, "…"])


def advice(symptom: Symptom, engines: Sequence[str], up: str = "") -> str:
    """What is done, each with the line to paste for these engines; ``up`` leads from the page to the docs' root."""
    lines = []
    for do in symptom.do:
        lines.append(f"- {do.text}")
        lines += [f"    - {TITLES[engine]}: {told(do, engine, supervised=symptom.supervised)}" for engine in engines]
    return "\n".join(lines).replace("](", f"]({up}")


def block(kind: str, slug: str, folder: Path) -> str:
    """What stands between a page's marks; planted runs are written into ``folder``.

    Raises:
        KeyError: there is no such symptom. ValueError: it has no such block.
    """
    symptom = SYMPTOMS[slug]
    if kind == "do":
        return f"{advice(symptom, BOTH)}\n"
    if kind == "do-all":
        return f"{advice(symptom, ALL, '../')}\n"
    run = symptom.run if kind == "run" else symptom.fixed
    if run is None:
        raise ValueError(f"{slug}: no run without the fault is named in symptom_list.py")
    return f"```text\n{said(run.write(folder / f'{slug}-{kind}'))}\n```\n"


def filled(page: str, folder: Path) -> str:
    """A page with its blocks made anew."""
    return BLOCK.sub(lambda b: f"<!-- {b[1]}: {b[2]} -->\n{block(b[1], b[2], folder)}<!-- end -->\n", page)


def picture(log: TrainingLog, panels: Sequence[Panel], onset: float | None) -> Any:
    """The courses of a run, a panel above another, with a line where the verdict began."""
    from plotly.subplots import make_subplots

    from entrokit.report.curves import COLOURS, styled

    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.28 / len(panels))
    styled(figure, "", "", "")
    legend = False
    for row, panel in enumerate(panels, 1):
        named = _courses(log, panel)
        for i, (name, series) in enumerate(named.items()):
            colour = COLOURS[(panel.colour + i) % len(COLOURS)]
            _draw(figure, series, colour, name if len(named) > 1 else "", row, panel.smooth)
            legend |= len(named) > 1
        figure.update_yaxes(
            title_text="", rangemode="tozero", nticks=5, automargin=True, gridcolor="#e8e8ec", zeroline=False, row=row
        )
        figure.add_annotation(
            x=0,
            y=1,
            xref="x domain" if row == 1 else f"x{row} domain",
            yref="y domain" if row == 1 else f"y{row} domain",
            xanchor="left",
            yanchor="bottom",
            text=panel.title,
            showarrow=False,
            font={"size": 15},
        )
    figure.update_xaxes(gridcolor="#e8e8ec", zeroline=False, rangemode="tozero")
    figure.update_xaxes(title={"text": "optimiser step", "font": {"size": 14}, "standoff": 6}, row=len(panels))
    if onset is not None:
        red = "#b3261e"
        figure.add_vline(x=onset, line={"color": red, "width": 1.5, "dash": "dash"})
        figure.add_annotation(
            x=1,
            y=1,
            xref="x domain",
            yref="y domain",
            xanchor="right",
            yanchor="bottom",
            showarrow=False,
            text=f"- - from step {onset:g}",
            font={"size": 14, "color": red},
        )
    figure.update_layout(
        width=WIDTH,
        height=PANEL * len(panels) + ROOM + 30 * legend,
        font={"size": 14},
        margin={"l": 56, "r": 16, "t": 30, "b": 52 + 30 * legend},
        showlegend=legend,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 14}},
    )
    return figure


def _courses(log: TrainingLog, panel: Panel) -> dict[str, Any]:
    found = {}
    for key, name in panel.courses.items():
        if key.endswith("*"):
            found |= {k.partition("/")[2]: s for k, s in log.series.items() if k.startswith(key[:-1])}
        elif key in log.series:
            found[name] = log.series[key]
    return found


def _draw(figure: Any, series: Any, colour: str, name: str, row: int, smoothed: bool) -> None:
    from entrokit.diagnose.trend import Trend

    trend = Trend.of(series)
    few = len(trend) < 25
    # As much as the picture cannot show: a fall within a step is to stay one.
    smooth = trend.running(max(1, len(trend) // 40) if smoothed else 1)
    if len(smooth) < len(trend):
        faint = {"color": colour, "width": 1}
        figure.add_scatter(
            x=trend.steps, y=trend.values, mode="lines", line=faint, opacity=0.4, showlegend=False, row=row, col=1
        )
    middle = (len(trend) - len(smooth)) // 2
    figure.add_scatter(
        x=trend.steps[middle : middle + len(smooth)], y=smooth, mode="lines+markers" if few else "lines", name=name,
        line={"color": colour, "width": 2.5}, showlegend=bool(name), row=row, col=1,
    )  # fmt: skip


def draw(folder: Path, slugs: Sequence[str]) -> None:
    """Writes the pictures of these symptoms."""
    browser = find_browser()
    for slug in slugs:
        symptom = SYMPTOMS[slug]
        path = symptom.run.write(folder / slug)
        figure = picture(read_log(path), symptom.panels, diagnose(path).findings[0].onset)
        shoot(figure, PICTURES / f"symptom-{slug}.png", browser, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is old")
    parser.add_argument("--text", action="store_true", help="leave the pictures as they are")
    parser.add_argument("--runs", type=Path, help="write the planted runs into this folder, and nothing else")
    parser.add_argument("slugs", nargs="*", help="the pictures to make; all by default")
    arguments = parser.parse_args()
    if arguments.runs is not None:
        for slug, symptom in SYMPTOMS.items():
            print(f"{slug}: {symptom.run.write(arguments.runs / slug)}")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        old = {page: page.read_text(encoding="utf-8") for page in PAGES}
        new = {page: filled(text, folder) for page, text in old.items()}
        wrong = [str(page.relative_to(ROOT)) for page in PAGES if new[page] != old[page]]
        if arguments.check:
            sys.exit(
                f"{', '.join(wrong)}: not what diagnose says today; run python scripts/symptoms.py" if wrong else 0
            )
        for page, text in new.items():
            page.write_text(text, encoding="utf-8")
        if not arguments.text:
            draw(folder, arguments.slugs or list(SYMPTOMS))


if __name__ == "__main__":
    main()
