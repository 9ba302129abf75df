"""`entrokit school`: entropies of a tracked school."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .shown import printable

if TYPE_CHECKING:
    from entrokit.physics.schooling import SchoolSeries

console = Console()


def school(
    tracks: Annotated[
        str,
        typer.Argument(
            help="a table (.csv, .tsv, .txt) with a row an agent and frame: columns x, y, z; time, t, times, frame or "
            "frames; id, agent, fish, track, track_id or particle; and vx, vy, vz if known. Or .npy of (frames, "
            "agents, 3), or .npz of positions, and velocities and times if known"
        ),
    ],
    box: Annotated[float, typer.Option(help="side of the cube, in the unit of the positions, which start at 0")],
    columns: Annotated[
        str,
        typer.Option(
            help="other names of a table's columns: frame=t,id=fish,x=px (of time, frame, id, x, y, z, vx, vy, vz)"
        ),
    ] = "",
    dt: Annotated[float | None, typer.Option(help="time from one frame to the next, where there are no times")] = None,
    walls: Annotated[bool, typer.Option("--walls", help="a tank: opposite walls are not one")] = False,
    gaps: Annotated[str, typer.Option(help="tracks with gaps: error, or keep whole frames or whole agents")] = "error",
    still: Annotated[str, typer.Option(help="agents without speed: error, or zero as the released code")] = "error",
    solid_angle: Annotated[str, typer.Option(help="bins of headings: official, none or equal_area")] = "official",
    periodic_centroid: Annotated[
        bool, typer.Option("--periodic-centroid", help="see the school as a whole across the edge of the box")
    ] = False,
    k: Annotated[int, typer.Option(help="neighbours whose distances vary")] = 5,
    out: Annotated[str | None, typer.Option(help="a .csv of every frame, beside what is printed")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
) -> None:
    """Order, seven entropies and the Oceanic Schooling Index of tracked agents: 0 is order, 1 disorder."""
    from entrokit.physics.schooling import load_tracks
    from entrokit.physics.schooling.checked import several

    file = None if out is None else _checked_out(Path(out), Path(tracks))
    # What was typed is checked where it is used: the messages name what there is.
    with warnings.catch_warnings(record=True) as caught:
        found = load_tracks(tracks, box=box, dt=dt, periodic=not walls, gaps=gaps, columns=_named(columns))  # type: ignore[arg-type]
        series = found.measure(
            still=still,  # type: ignore[arg-type]
            solid_angle=solid_angle,
            periodic_centroid=periodic_centroid,
            k=k,
        )
    notes = [*(str(each.message) for each in caught), *series.notes]
    if file is not None:
        _write(series, file)
    if as_json:
        print(json.dumps(_as_json(series, len(found.agents), notes)))
        return
    frames = len(series.times)
    title = f"{several(len(found.agents), 'agent')}, {several(frames, 'frame')}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for head in ("", "mean", "sd", "first", "last"):
        table.add_column(head, justify="right" if head else "left")
    for name, (mean, sd) in series.summary().items():
        numbers = (float(mean), float(sd), float(series.values[name][0]), float(series.values[name][-1]))
        table.add_row(name, *(f"{number:.4f}" for number in numbers))
    console.print(table)
    last = f"frame {frames - 1}" if frames == 1 else f"frames {frames // 2} to {frames - 1}"
    console.print(Text(f"mean and standard deviation (sd) of {last}", style="dim"))
    for note in notes:
        console.print(Text(f"note: {printable(note)}", style="dim"), soft_wrap=True)
    if out is not None:
        console.print(Text(f"Frames: {out}"), soft_wrap=True)


def _named(columns: str) -> dict[str, str]:
    """``frame=t,id=fish`` as a mapping."""
    pairs = [pair.partition("=") for pair in columns.split(",")] if columns.strip() else []
    wrong = [key + sign + name for key, sign, name in pairs if not (key.strip() and name.strip())]
    keys = [key.strip() for key, _, _ in pairs]
    if wrong or len(set(keys)) < len(keys):
        raise ValueError(f"--columns: pairs such as frame=t,id=fish,x=px, each of its own; got {columns!r}")
    return {key: name.strip() for key, (_, _, name) in zip(keys, pairs, strict=True)}


def _checked_out(file: Path, tracks: Path) -> Path:
    """Where frames are to be written, so that a place that is none is told before they are measured."""
    if file.suffix.casefold() != ".csv":
        raise ValueError(f"--out: frames are written as .csv, got {file.name}")
    if not file.parent.is_dir():
        raise ValueError(f"--out: there is no folder {file.parent}")
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ValueError(f"--out: {file} cannot be written")
    if file.exists() and tracks.exists() and file.samefile(tracks):
        raise ValueError(f"--out: {file} has the tracks themselves")
    return file


def _as_json(series: SchoolSeries, agents: int, notes: Sequence[str]) -> dict[str, object]:
    summary = {name: {"mean": float(mean), "sd": float(sd)} for name, (mean, sd) in series.summary().items()}
    dropped = {name: float(share.mean()) for name, share in series.dropped.items()}
    frames = len(series.times)
    return {"agents": agents, "frames": frames, "summary": summary, "dropped": dropped, "notes": notes}


def _write(series: SchoolSeries, file: Path) -> None:
    columns = [series.times.tolist(), *(values.tolist() for values in series.values.values())]
    with file.open("w", newline="", encoding="utf-8") as target:
        rows = csv.writer(target)
        rows.writerow(["time", *series.values])
        rows.writerows(zip(*columns, strict=True))
