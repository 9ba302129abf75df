"""Tracked schools: files, gaps, units, axes."""

import csv

import numpy as np
import pytest
import torch

from entrokit.physics.schooling import PRESETS, load_tracks, school_series

BOX = 25.0


@pytest.fixture(scope="module")
def run():
    preset = PRESETS["torus"]
    g = torch.Generator().manual_seed(0)
    x, v = preset.model.mill(12, generator=g, radius=3.0)
    return preset.model.run(x, v, 10, 0.1, generator=g)


def rows(run, columns="xyz", velocities=True, unit=1.0):
    out = []
    for t, x, v in zip(run.times.tolist(), run.positions.tolist(), run.velocities.tolist(), strict=True):
        for name, (at, way) in enumerate(zip(x, v, strict=True)):
            row = {"time": round(t, 3), "id": f"fish {name}"} | dict(zip(columns, (unit * c for c in at), strict=True))
            out.append(row | (dict(zip(("vx", "vy", "vz"), way, strict=True)) if velocities else {}))
    return out


def write(file, rows):
    with file.open("w", newline="", encoding="utf-8") as target:
        table = csv.DictWriter(target, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return file


def same(series, run, atol=1e-9):
    whole = school_series(run.times, run.positions, run.velocities, run.box)
    for name, values in whole.values.items():
        torch.testing.assert_close(series.values[name], values, atol=atol, rtol=0)


def test_every_kind_of_file_says_the_same(run, tmp_path):
    x, v = run.positions.numpy(), run.velocities.numpy()
    np.save(tmp_path / "both.npy", np.concatenate([x, v], -1))
    np.savez(tmp_path / "named.npz", positions=x, velocities=v, times=run.times.numpy())
    shuffled = rows(run)
    np.random.default_rng(0).shuffle(shuffled)
    write(tmp_path / "long.csv", shuffled)
    for name in ("both.npy", "named.npz", "long.csv"):
        same(load_tracks(tmp_path / name, box=BOX).measure(), run)
    assert load_tracks(tmp_path / "long.csv", box=BOX).agents == tuple(f"fish {i}" for i in range(12))
    assert load_tracks(tmp_path / "both.npy", box=BOX, dt=0.1).times.tolist() == pytest.approx(run.times.tolist())
    assert "times are frames: give dt for another unit" in load_tracks(tmp_path / "both.npy", box=BOX).notes


def test_velocities_that_are_not_there_are_central_differences(tmp_path):
    # 9 + t² / 10 along y, across the edge of the box; times are uneven.
    t = np.array([0.0, 1.0, 1.5, 3.0, 4.0])
    x = np.stack([np.full((5, 2), 3.0), np.stack([(9 + t**2 / 10) % 10, 1 + t], 1), np.full((5, 2), 3.0)], -1)
    np.savez(tmp_path / "t.npz", positions=x, times=t)
    found = load_tracks(tmp_path / "t.npz", box=10.0)
    assert found.velocities[1:-1, 0, 1].tolist() == pytest.approx((t[1:-1] / 5).tolist())
    assert found.velocities[[0, -1], 0, 1].tolist() == pytest.approx([0.1, 0.7])
    assert found.velocities[:, 1, 1].tolist() == pytest.approx([1.0] * 5)
    assert "velocities are differences of the positions" in found.notes


def test_gaps_are_named_or_left_out(run, tmp_path):
    x = run.positions.numpy().copy()
    x[4, 3] = np.nan
    x[9, 3, 2] = np.nan
    x[4, 7] = np.nan
    np.savez(tmp_path / "gaps.npz", positions=x, velocities=run.velocities.numpy(), times=run.times.numpy())
    with pytest.raises(ValueError, match=r"tracks with gaps: 3 \(2 frames\), 7 \(1 frames\), the first at time 0\.4"):
        load_tracks(tmp_path / "gaps.npz", box=BOX)
    frames = load_tracks(tmp_path / "gaps.npz", box=BOX, gaps="frames")
    assert frames.times.tolist() == pytest.approx([t for i, t in enumerate(run.times.tolist()) if i not in (4, 9)])
    agents = load_tracks(tmp_path / "gaps.npz", box=BOX, gaps="agents")
    assert agents.agents == tuple(str(i) for i in range(12) if i not in (3, 7))
    assert "11 of 11 frames and 10 of 12 agents are kept" in agents.notes[-1]
    np.savez(tmp_path / "gaps.npz", positions=x)
    assert np.isfinite(load_tracks(tmp_path / "gaps.npz", box=BOX, gaps="frames").velocities).all()


def test_a_missing_row_is_a_gap(run, tmp_path):
    some = [row for row in rows(run) if (row["id"], row["time"]) != ("fish 2", 0.5)]
    with pytest.raises(ValueError, match=r"fish 2 \(1 frames\), the first at time 0\.5"):
        load_tracks(write(tmp_path / "t.csv", some), box=BOX)
    some[0]["y"] = ""
    with pytest.raises(ValueError, match=r"fish 0 \(1 frames\), fish 2"):
        load_tracks(write(tmp_path / "t.csv", some), box=BOX)


def test_agents_without_speed_are_named(run, tmp_path):
    v = run.velocities.numpy().copy()
    v[2:5, 6] = 0.0
    np.savez(tmp_path / "t.npz", positions=run.positions.numpy(), velocities=v)
    tracks = load_tracks(tmp_path / "t.npz", box=BOX)
    with pytest.raises(ValueError, match="without speed.*6 in 3 frames"):
        tracks.measure()
    assert "6 in 3 frames" in tracks.measure(still="zero").notes[-1]


def test_axes_that_do_not_fit_are_named(run, tmp_path):
    x, v = run.positions.numpy(), run.velocities.numpy()
    np.savez(tmp_path / "t.npz", positions=x, velocities=v[..., [1, 0, 2]], times=run.times.numpy())
    with pytest.raises(ValueError, match=r"\(vy, vx, vz\) as \(vx, vy, vz\) do"):
        load_tracks(tmp_path / "t.npz", box=BOX)
    np.savez(tmp_path / "t.npz", positions=x, velocities=-v, times=run.times.numpy())
    with pytest.raises(ValueError, match=r"\(-vx, -vy, -vz\)"):
        load_tracks(tmp_path / "t.npz", box=BOX)
    np.save(tmp_path / "t.npy", np.swapaxes(x, 0, 1))
    with pytest.raises(ValueError, match="axes look swapped"):
        load_tracks(tmp_path / "t.npy", box=BOX)


def test_units_that_do_not_fit_are_named(run, tmp_path):
    with pytest.raises(ValueError, match=r"outside of the box \[0, 25\]: x .*Give the box in their unit"):
        load_tracks(write(tmp_path / "t.csv", rows(run, unit=1000.0)), box=BOX)
    with pytest.warns(UserWarning, match="one unit"):
        load_tracks(write(tmp_path / "t.csv", rows(run, unit=0.001)), box=BOX)
    np.savez(tmp_path / "t.npz", positions=run.positions.numpy(), velocities=30 * run.velocities.numpy())
    assert "velocities are 300 times" in load_tracks(tmp_path / "t.npz", box=BOX, dt=1.0).notes[-1]
    far = np.random.default_rng(0).random((5, 20, 3)) * BOX
    np.savez(tmp_path / "t.npz", positions=far, times=np.arange(5))
    with pytest.warns(UserWarning, match="too far apart"):
        load_tracks(tmp_path / "t.npz", box=BOX)


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
        ("time,id,x,y,z,vx\n0,a,1,2,3,4\n", "three columns, vx, vy, vz; got vx"),
        ("time,id,x,y,z\n0,a,1,2,3\n0,b,1,2,3\n", "one frame and no velocities"),
    ],
    ids=["empty", "planar", "no-row", "word", "infinite", "no-time", "twice", "vx", "one-frame"],
)
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
    for name, said in (("t.npy", "no array of numbers"), ("t.mat", ".csv, .npy or .npz, got .mat")):
        with pytest.raises(ValueError, match=said):
            load_tracks(tmp_path / name, box=10.0)
    with pytest.raises(FileNotFoundError):
        load_tracks(tmp_path / "none.csv", box=10.0)
    for wrong in ({"dt": 0.0}, {"gaps": "fill"}, {"box": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            load_tracks(tmp_path / "t.npy", **{"box": 10.0} | wrong)


def test_a_series_wants_times_that_rise(run):
    with pytest.raises(ValueError, match="each after the one before"):
        school_series(-run.times, run.positions, run.velocities, BOX)
    with pytest.raises(ValueError, match="one a frame"):
        school_series(run.times[:3], run.positions, run.velocities, BOX)
    mean, deviation = school_series(run.times, run.positions, run.velocities, BOX).summary()["index"]
    index = school_series(run.times, run.positions, run.velocities, BOX).values["index"][5:]
    assert float(mean) == pytest.approx(float(index.mean()))
    assert float(deviation) == pytest.approx(float(index.std(correction=0)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("fish 2", "", 1), r"t\.csv, line \d+: no id"),
        (lambda text: text + f'9,"{"x" * 200_000}",1,2,3\n', r"t\.csv: no rows in UTF-8: field larger"),
    ],
    ids=["nameless", "endless"],
)
def test_rows_that_are_none_are_named(change, said, run, tmp_path):
    text = write(tmp_path / "t.csv", rows(run)).read_text()
    (tmp_path / "t.csv").write_text(change(text))
    with pytest.raises(ValueError, match=said):
        load_tracks(tmp_path / "t.csv", box=BOX)
    (tmp_path / "t.csv").write_text(text, encoding="utf-16")
    with pytest.raises(ValueError, match=r"t\.csv: no rows in UTF-8"):
        load_tracks(tmp_path / "t.csv", box=BOX)


def test_spaces_behind_a_name_make_no_other_agent(run, tmp_path):
    text = write(tmp_path / "t.csv", rows(run)).read_text()
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
    ("agents", "lacking"),
    [
        (1, {"school_cohesion", "angular_momentum", "nearest_neighbor", "velocity_correlation", "school_shape"}),
        (2, {"angular_momentum", "nearest_neighbor", "school_shape"}),
        (3, {"nearest_neighbor", "school_shape"}),
        (5, {"nearest_neighbor"}),
        (6, set()),
    ],
)
def test_measures_that_lack_agents_are_named(agents, lacking, run, tmp_path):
    x, v = run.positions.numpy()[:, :agents], run.velocities.numpy()[:, :agents]
    np.savez(tmp_path / "t.npz", positions=x, velocities=v, times=run.times.numpy())
    found = load_tracks(tmp_path / "t.npz", box=BOX).measure(undefined=0.125)
    named = [note for note in found.notes if "too few agents" in note]
    assert {name for name, values in found.values.items() if (values == 0.125).all()} == lacking
    assert {name for name in found.values if any(name in note for note in named)} == lacking
    assert not any("100.0% of the values" in note for note in found.notes)
