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


def test_columns_may_have_other_names_and_help_has_those_that_are_known(tmp_path):
    lines = [f"{t};f{n};{n + 0.1 * t};{n};{0.5 * n}" for t in range(4) for n in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["t;fisch;px;py;pz", *lines]))
    options = ("--box", 10, "--columns", "frame=t, id=fisch,x=px,y=py,z=pz", "--dt", 0.5, "--json")
    found = json.loads(called("school", tmp_path / "t.csv", *options).stdout)
    assert (found["agents"], found["frames"]) == (4, 4)
    assert found["summary"]["polarization"]["mean"] == pytest.approx(1.0)
    said = " ".join(called("school", "--help").stdout.replace("│", " ").split())
    assert "x, y, z; time, t, times, frame or frames; id, agent, fish, track, track_id or particle" in said


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("x.xlsx", "--out: frames are written as .csv, got x.xlsx"),
        ("there/x.csv", "--out: there is no folder there"),
        ("folder.csv", "--out: folder.csv cannot be written"),
        ("tracks.csv", "--out: tracks.csv has the tracks themselves"),
    ],
    ids=["suffix", "folder", "is-a-folder", "itself"],
)
def test_a_place_that_is_none_is_told_before_the_work(out, said, tmp_path):
    """Before the tracks, which are broken, are read."""
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "tracks.csv").write_text("no tracks")
    done = called("school", "tracks.csv", "--box", 10, "--out", out, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"error: {said}\n")
    assert (tmp_path / "tracks.csv").read_text() == "no tracks"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--box", 5), "outside of the box [0, 5]"),
        (("--box", 10, "--gaps", "fill"), "gaps: one of error, frames, agents"),
        (("--box", 10, "--solid-angle", "sine"), "solid_angle: one of official"),
        (("--box", 10, "--walls", "--periodic-centroid"), "no edge to look across"),
        (("--box", 10, "--columns", "id"), "--columns: pairs such as frame=t,id=fish,x=px"),
        (("--box", 10, "--columns", "x=a,x=b"), "each of its own; got 'x=a,x=b'"),
    ],
    ids=["box", "gaps", "solid-angle", "walls", "columns", "twice"],
)
def test_what_is_wrong_is_one_line(tracks, options, said):
    done = called("school", tracks, *options, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_warnings_of_the_library_are_notes(tmp_path):
    x = np.random.default_rng(0).random((3, 12, 3)) * 0.01 + 5
    np.savez(tmp_path / "t.npz", positions=x, times=np.arange(3))
    options = ("school", tmp_path / "t.npz", "--box", 10)
    done = called(*options)
    assert done.stderr == ""
    assert "note: positions span 0.0" in done.stdout
    assert json.loads(called(*options, "--json").stdout)["notes"][0].startswith("positions span 0.0")


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    done = called("school", "no.csv", "--box", 10, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: no.csv: there is no such file\n")


def test_one_is_not_many(tmp_path):
    x = np.random.default_rng(0).random((1, 1, 3)) * 10
    np.savez(tmp_path / "t.npz", positions=x, velocities=np.ones_like(x), times=np.arange(1))
    said = called("school", tmp_path / "t.npz", "--box", 10).stdout
    assert said.splitlines()[0].rstrip() == "1 agent, 1 frame"
    assert "(sd) of frame 0\n" in said
