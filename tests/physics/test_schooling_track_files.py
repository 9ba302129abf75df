"""Files of tracks: tables, arrays, and what is none."""

import numpy as np
import pytest
import torch

from entrokit.physics.schooling import load_tracks, school_series

from .tracks_cases import BOX, rows, tracked, write


@pytest.fixture
def run():
    return tracked()


def same(series, run, atol=1e-9):
    whole = school_series(run.times, run.positions, run.velocities, run.box)
    for name, values in whole.values.items():
        torch.testing.assert_close(series.values[name], values, atol=atol, rtol=0)


def test_every_kind_of_file_says_the_same(run, tmp_path):
    x, v = run.positions.numpy(), run.velocities.numpy()
    np.save(tmp_path / "both.npy", np.concatenate([x, v], -1))
    np.savez(tmp_path / "named.npz", positions=x, velocities=v, times=run.times.numpy())
    shuffled = rows()
    np.random.default_rng(0).shuffle(shuffled)
    write(tmp_path / "long.csv", shuffled)
    for name in ("both.npy", "named.npz", "long.csv"):
        same(load_tracks(tmp_path / name, box=BOX).measure(), run)
    assert load_tracks(tmp_path / "long.csv", box=BOX).agents == tuple(f"fish {i}" for i in range(12))
    assert load_tracks(tmp_path / "both.npy", box=BOX, dt=0.1).times.tolist() == pytest.approx(run.times.tolist())
    assert "times are frames: give dt for another unit" in load_tracks(tmp_path / "both.npy", box=BOX).notes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column x, y, z, time or frame, id among none"),
        ("time,id,x,y\n0,a,1,2\n", "no column z.*planar tracks need a column z"),
        ("time,id,x,y,z\n", "no row"),
        ("time,id,x,y,z\n0,a,1,2,deep\n", "line 2: z is 'deep', no number"),
        ("time,id,x,y,z\n0,a,1,2,inf\n", "line 2: z is inf"),
        ("time,id,x,y,z\n,a,1,2,3\n", "a row without time"),
        ("time,id,x,y,z\n0,a,1,2,3\n0,a,1,2,3\n", "agent a twice at time 0"),
        ("time,id,x,y,z\n0,a,1,2,3\n0,b,1,2,3,4\n", "line 3: more cells than the 5 columns.*decimals take a point"),
        ("time;id;x;y;z\n0;a;1,5;2;3\n", "line 2: x is '1,5', no number; decimals take a point"),
        ("time,id,x,y,z,X\n0,a,1,2,3,4\n", "two columns are called X"),
        ("frame,fisch,x,y,z\n0,a,1,2,3\n", r"no column id among frame, fisch.*\{'id': \.\.\.\}, --columns id="),
        ("time,id,x,y,z,vx\n0,a,1,2,3,4\n", "three columns, vx, vy, vz; got vx"),
        ("time,id,x,y,z\n0,a,1,2,3\n0,b,1,2,3\n", "one frame and no velocities"),
    ],
    ids=[
        "empty", "planar", "no-row", "word", "infinite", "no-time", "twice", "cells", "comma", "two-x", "no-id", "vx",
        "one-frame",
    ],
)  # fmt: skip
def test_tables_that_are_none_are_named(text, said, tmp_path):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        load_tracks(tmp_path / "t.csv", box=10.0)


def test_names_of_columns_may_be_written_otherwise(tmp_path):
    text = "\ufeffFrame, Track_ID, X, Y, Z\n0,a,1,2,3\n1,a,1,2,4\n0,b,2,2,3\n1,b,2,2,4\n"
    (tmp_path / "T.CSV").write_text(text, encoding="utf-8")
    found = load_tracks(tmp_path / "T.CSV", box=10.0, dt=0.5)
    assert found.times.tolist() == [0.0, 0.5]
    assert found.velocities[0].tolist() == [[0.0, 0.0, 2.0]] * 2


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.ones((2, 3, 3))}, "holds x, but no `positions`"),
        ({"positions": np.ones((2, 3, 2))}, "planar tracks"),
        ({"positions": np.ones((2, 3))}, r"\(frames, agents, 3\), got \(2, 3\)"),
        ({"positions": np.ones((0, 3, 3))}, "hold no numbers"),
        ({"positions": np.full((2, 3, 3), "a")}, "hold no numbers"),
        ({"positions": np.full((2, 3, 3), np.inf)}, "infinities"),
        ({"positions": np.ones((2, 3, 3)), "velocities": np.ones((2, 2, 3))}, "differ in shape"),
        ({"positions": np.ones((2, 3, 3)), "times": np.arange(3)}, "one a frame"),
        ({"positions": np.ones((2, 3, 3)), "times": np.array([1.0, 1.0])}, "each after the one before"),
        ({"positions": np.full((2, 3, 3), np.nan)}, "every one is missing"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_arrays_that_are_none_are_named(arrays, said, tmp_path):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(ValueError, match=said):
        load_tracks(tmp_path / "t.npz", box=10.0)


def test_what_is_no_file_of_tracks(tmp_path):
    (tmp_path / "t.npy").write_text("no array", encoding="utf-8")
    for name, said in (("t.npy", "no array of numbers"), ("t.mat", r"\.csv, \.tsv, \.txt, \.npy or \.npz, got \.mat")):
        with pytest.raises(ValueError, match=said):
            load_tracks(tmp_path / name, box=10.0)
    with pytest.raises(FileNotFoundError):
        load_tracks(tmp_path / "none.csv", box=10.0)
    for wrong in ({"dt": 0.0}, {"gaps": "fill"}, {"box": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            load_tracks(tmp_path / "t.npy", **{"box": 10.0} | wrong)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("fish 2", "", 1), r"t\.csv, line \d+: no id"),
        (lambda text: text + f'9,"{"x" * 200_000}",1,2,3\n', r"t\.csv: no rows in UTF-8: field larger"),
    ],
    ids=["nameless", "endless"],
)
def test_rows_that_are_none_are_named(change, said, run, tmp_path):
    text = write(tmp_path / "t.csv", rows()).read_text()
    (tmp_path / "t.csv").write_text(change(text))
    with pytest.raises(ValueError, match=said):
        load_tracks(tmp_path / "t.csv", box=BOX)
    (tmp_path / "t.csv").write_text(text, encoding="utf-16")
    with pytest.raises(ValueError, match=r"t\.csv: no rows in UTF-8"):
        load_tracks(tmp_path / "t.csv", box=BOX)


def test_spaces_behind_a_name_make_no_other_agent(run, tmp_path):
    text = write(tmp_path / "t.csv", rows()).read_text()
    (tmp_path / "t.csv").write_text(text.replace("fish 2,", "fish 2 ,", 1))
    assert len(load_tracks(tmp_path / "t.csv", box=BOX).agents) == 12


def test_archives_that_are_cut_or_broken_are_named(run, tmp_path):
    np.savez(tmp_path / "t.npz", positions=run.positions.numpy())
    whole = (tmp_path / "t.npz").read_bytes()
    for broken in (whole[:-30], whole[:400] + bytes([whole[400] ^ 255]) + whole[401:]):
        (tmp_path / "t.npz").write_bytes(broken)
        with pytest.raises(ValueError, match=r"t\.npz: no array of numbers"):
            load_tracks(tmp_path / "t.npz", box=BOX)
    np.savez(tmp_path / "t.npz", positions=run.positions.numpy(), times=run.times.numpy())
    with pytest.raises(ValueError, match=r"t\.npz: has times of its own; dt is for frames"):
        load_tracks(tmp_path / "t.npz", box=BOX, dt=0.5)


@pytest.mark.parametrize(
    ("suffix", "between"),
    [(".csv", ","), (".csv", ";"), (".tsv", "\t"), (".txt", ";")],
    ids=["comma", "semicolon", "tab", "text"],
)
def test_cells_may_lie_between_other_signs(suffix, between, run, tmp_path):
    text = write(tmp_path / "t.csv", rows()).read_text().replace(",", between)
    file = tmp_path / f"u{suffix}"
    file.write_text(text)
    found = load_tracks(file, box=BOX)
    assert found.agents == tuple(f"fish {i}" for i in range(12))
    torch.testing.assert_close(torch.from_numpy(found.velocities), run.velocities)


def test_columns_of_other_names_are_found_by_them(run, tmp_path):
    other = {"time": "clock", "id": "Fish No", "x": "px", "y": "py", "z": "depth", "vx": "u", "vy": "v", "vz": "w"}
    renamed = [{other[name]: value for name, value in row.items()} | {"x": 99.0, "frame": 0} for row in rows()]
    file = write(tmp_path / "t.csv", renamed)
    found = load_tracks(file, box=BOX, columns=other | {"id": " fish no"})
    same(found.measure(), run)
    assert found.times.tolist() == pytest.approx(run.times.tolist())
    # A table that has both goes by its times, unless the frame is asked for.
    both = [row | {"frame": round(row["time"] * 10)} for row in rows()]
    assert load_tracks(write(file, both), box=BOX).times[1] == 0.1
    assert load_tracks(file, box=BOX, columns={"frame": "frame"}, dt=0.5).times[1] == 0.5


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"xx": "x"}, "columns: of time, frame, id, x, y, z, vx, vy, vz; got xx"),
        ({"id": "fish_no"}, "no column fish_no for id among time, id, x"),
        ({"time": "time", "frame": "time"}, "time or frame, one of them"),
        ({"x": "y", "y": "y"}, "columns: x and y are one column, y"),
    ],
    ids=["key", "name", "both", "twice"],
)
def test_names_that_are_none_are_named(columns, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        load_tracks(write(tmp_path / "t.csv", rows()), box=BOX, columns=columns)
    np.savez(tmp_path / "t.npz", positions=np.ones((2, 3, 3)))
    with pytest.raises(ValueError, match=r"t\.npz: columns are of tables"):
        load_tracks(tmp_path / "t.npz", box=BOX, columns=columns)


@pytest.mark.parametrize(
    "nothing", ["", "NA", "NaN", "null", "None", "#N/A", " n/a "], ids=lambda text: text or "empty"
)
def test_cells_without_a_number_are_gaps_whose_lines_are_named(nothing, tmp_path):
    some = rows()
    some[0]["y"] = some[25]["vz"] = nothing
    file = write(tmp_path / "t.csv", some)
    said = r"fish 0 \(1 frame\), fish 1 \(1 frame\), the first at time 0; cells without a number in lines 2, 27\. Give"
    with pytest.raises(ValueError, match=said):
        load_tracks(file, box=BOX)
    kept = load_tracks(file, box=BOX, gaps="frames")
    assert len(kept.times) == 9
    assert "cells without a number in lines 2, 27; 9 of 11 frames" in kept.notes[-1]
    some[0]["time"] = nothing
    with pytest.raises(ValueError, match=r"line 2: a row without time"):
        load_tracks(write(file, some), box=BOX)
