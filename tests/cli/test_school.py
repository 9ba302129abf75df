"""`entrokit school`."""

import csv
import json

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the extra 'physics'")

from entrokit.physics.schooling import load_tracks

from .command import called


@pytest.fixture
def tracks(tmp_path):
    g = np.random.default_rng(0)
    x = g.random((1, 30, 3)) * 8 + np.array([0.0, 0.0, 0.2]) * np.arange(6)[:, None, None]
    np.savez(tmp_path / "tracks.npz", positions=x, times=np.arange(6) * 0.5)
    return tmp_path / "tracks.npz"


def test_it_prints_what_python_measures(tracks):
    done = called("school", tracks, "--box", 10)
    series = load_tracks(tracks, box=10.0).measure()
    assert done.stdout.startswith("30 agents, 6 frames")
    for name, (mean, _) in series.summary().items():
        assert f"{name} " in done.stdout
        assert f"{float(mean):.4f}" in done.stdout
    assert "note: velocities are differences of the positions" in done.stdout


def test_json_and_a_table_of_every_frame(tracks, tmp_path):
    options = ("--walls", "--solid-angle", "equal_area", "--k", 3, "--json", "--out", tmp_path / "frames.csv")
    found = json.loads(called("school", tracks, "--box", 10, *options).stdout)
    series = load_tracks(tracks, box=10.0, periodic=False).measure(solid_angle="equal_area", k=3)
    assert found["summary"]["index"]["mean"] == pytest.approx(float(series.summary()["index"][0]))
    assert (found["agents"], found["frames"]) == (30, 6)
    with (tmp_path / "frames.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["time"]) for row in rows] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert [float(row["index"]) for row in rows] == pytest.approx(series.values["index"].tolist())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--box", 5), "outside of the box [0, 5]"),
        (("--box", 10, "--gaps", "fill"), "gaps: one of error, frames, agents"),
        (("--box", 10, "--solid-angle", "sine"), "solid_angle: one of official"),
        (("--box", 10, "--walls", "--periodic-centroid"), "no edge to look across"),
    ],
    ids=["box", "gaps", "solid-angle", "walls"],
)
def test_what_is_wrong_is_one_line(tracks, options, said):
    done = called("school", tracks, *options, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
