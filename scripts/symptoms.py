"""Makes what docs/symptoms.md shows: pictures of the runs, what `entrokit diagnose` says of them, and lines to paste.

python scripts/symptoms.py                # writes the page's blocks, and its pictures with a headless browser
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
from entrokit.diagnose.levers.reading import Levers
from entrokit.runs import TrainingLog
from entrokit.runs.read_log import read_log

sys.path.insert(0, str(Path(__file__).parent))

from pictures import WIDTH, find_browser, shoot
from symptom_list import SYMPTOMS, Do, Panel, Symptom
from symptom_runs import ROOT

PAGE, PICTURES = ROOT / "docs" / "symptoms.md", ROOT / "docs" / "img"
BLOCK = re.compile(r"<!-- (run|do): ([\w-]+) -->\n(.*?)<!-- end -->\n", re.DOTALL)
ENGINES = {"trl": "TRL", "verl": "verl"}
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


def advice(symptom: Symptom) -> str:
    """What is done, each with the line to paste for TRL and for verl."""
    lines = []
    for do in symptom.do:
        lines.append(f"- {do.text}")
        lines += [f"    - {title}: {_told(do, key, symptom.supervised)}" for key, title in ENGINES.items()]
    return "\n".join(lines)


def _told(do: Do, engine: str, supervised: bool) -> str:
    words = [] if (ours := _of_recipe(do.recipe, engine)) is None else [ours]
    if do.lever:
        told = Levers.of(engine, supervised=supervised).say(do.lever, value=do.value)
        note = re.sub(r"^\w+ [\d.]+: ", "", told.note or "")
        # The levers' note begins with engine and version where there is no such option; with ours none is needed.
        closest = note != (told.note or "")
        if closest and ours is None:
            words.append(f"{note}: `{told.write}`" if told.write else note)
        elif not closest:
            words.append("; ".join([f"`{told.write}`"] * bool(told.write) + [note] * bool(note)))
    return ", or ".join(words)


def _of_recipe(recipe: str, engine: str) -> str | None:
    if not recipe:
        return None
    if engine == "trl":
        return f'[`EntropyGRPOTrainer`](tutorials/trl.md) with `recipe="{recipe}"`'
    method = recipe.rpartition("+")[2].partition("(")[0]
    if method == "siren":
        return "[not available](verl.md): its engines give no statistics of the nucleus"
    # verl's own KL is what its reference worker is started for.
    return None if method == "reference-kl" else f"`actor_rollout_ref.actor.policy_loss.loss_mode=entrokit-{method}`"


def blocks(folder: Path) -> dict[tuple[str, str], str]:
    """What stands between the page's marks, by kind and symptom."""
    made = {}
    for slug, symptom in SYMPTOMS.items():
        made["run", slug] = f"```text\n{said(symptom.run.write(folder / slug))}\n```\n"
        made["do", slug] = f"{advice(symptom)}\n"
    return made


def filled(page: str, made: dict[tuple[str, str], str]) -> str:
    """The page with its blocks made anew.

    Raises:
        KeyError: the page has a block of a symptom that there is none of.
    """
    return BLOCK.sub(lambda b: f"<!-- {b[1]}: {b[2]} -->\n{made[b[1], b[2]]}<!-- end -->\n", page)


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
        page = PAGE.read_text(encoding="utf-8")
        new = filled(page, blocks(folder))
        if arguments.check:
            sys.exit(0 if new == page else f"{PAGE}: not what diagnose says today; run python scripts/symptoms.py")
        PAGE.write_text(new, encoding="utf-8")
        if not arguments.text:
            draw(folder, arguments.slugs or list(SYMPTOMS))


if __name__ == "__main__":
    main()
