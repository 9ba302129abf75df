"""Tracked schools: gaps, units, axes, and what is said of them."""

import numpy as np
import pytest
import torch

from entrokit.physics.schooling import load_tracks, school_series

from .tracks_cases import BOX, rows, tracked, write


@pytest.fixture
def run():
    return tracked()


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
    with pytest.raises(
        ValueError, match=r"tracks with gaps: 3 \(2 frames\), 7 \(1 frame\), the first at time 0\.4"
    ) as told:
        load_tracks(tmp_path / "gaps.npz", box=BOX)
    assert "measure the 9 of 11 frames" in str(told.value)
    assert "'agents' for the 10 of 12 agents" in str(told.value)
    frames = load_tracks(tmp_path / "gaps.npz", box=BOX, gaps="frames")
    assert frames.times.tolist() == pytest.approx([t for i, t in enumerate(run.times.tolist()) if i not in (4, 9)])
    agents = load_tracks(tmp_path / "gaps.npz", box=BOX, gaps="agents")
    assert agents.agents == tuple(str(i) for i in range(12) if i not in (3, 7))
    assert "11 of 11 frames and 10 of 12 agents are kept" in agents.notes[-1]
    np.savez(tmp_path / "gaps.npz", positions=x)
    assert np.isfinite(load_tracks(tmp_path / "gaps.npz", box=BOX, gaps="frames").velocities).all()


def test_a_missing_row_is_a_gap(run, tmp_path):
    some = [row for row in rows() if (row["id"], row["time"]) != ("fish 2", 0.5)]
    with pytest.raises(ValueError, match=r"fish 2 \(1 frame\), the first at time 0\.5"):
        load_tracks(write(tmp_path / "t.csv", some), box=BOX)
    some[0]["y"] = ""
    with pytest.raises(ValueError, match=r"fish 0 \(1 frame\), fish 2"):
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
    with pytest.raises(ValueError, match=r"cosine of 0\.13, \(vy, vx, vz\) as \(vx, vy, vz\) would with 1\.00"):
        load_tracks(tmp_path / "t.npz", box=BOX)
    np.savez(tmp_path / "t.npz", positions=x, velocities=-v, times=run.times.numpy())
    with pytest.raises(ValueError, match=r"\(-vx, -vy, -vz\)"):
        load_tracks(tmp_path / "t.npz", box=BOX)
    np.save(tmp_path / "t.npy", np.swapaxes(x, 0, 1))
    with pytest.raises(ValueError, match="axes look swapped"):
        load_tracks(tmp_path / "t.npy", box=BOX)


def test_a_school_that_swims_through_the_edge_is_not_too_far_apart(tmp_path, recwarn):
    x = 9.6 + np.random.default_rng(0).random((1, 20, 3)) * 0.3 + np.arange(4)[:, None, None] * 0.5
    np.savez(tmp_path / "t.npz", positions=x % 10.0, times=np.arange(4))
    assert np.abs(np.diff(x % 10.0, axis=0)).max() > 9
    found = load_tracks(tmp_path / "t.npz", box=10.0)
    assert np.abs(found.velocities - 0.5).max() < 1e-9
    assert not recwarn.list


def test_two_agents_side_by_side_are_no_frames(tmp_path):
    """Of two nobody can tell which axis is that of the frames: neighbours may lie as near as they like."""
    x = np.arange(5.0)[:, None, None] + np.array([[1.0, 2.0, 3.0], [1.0, 2.01, 3.0]])
    np.save(tmp_path / "t.npy", x)
    assert len(load_tracks(tmp_path / "t.npy", box=10.0).agents) == 2


@pytest.mark.parametrize(
    ("order", "signs", "named"),
    [
        ((1, 0, 2), (1, 1, 1), "vy, vx, vz"),
        ((0, 1, 2), (1, 1, -1), "vx, vy, -vz"),
        ((0, 1, 2), (-1, 1, 1), "-vx, vy, vz"),
        ((2, 1, 0), (1, 1, 1), "vz, vy, vx"),
        ((1, 0, 2), (-1, 1, 1), "vy, -vx, vz"),
    ],
    ids=["swapped", "z", "x", "first-last", "turned"],
)
def test_axes_that_differ_in_what_agents_do_little_are_named(order, signs, named, tmp_path):
    """Most of a school swims along (1, 1, 1), where orders of axes differ least, and signs of one by a third."""
    g = np.random.default_rng(0)
    v = np.array([1.0, 0.8, 0.6]) + 0.35 * g.standard_normal((1, 40, 3)) * np.ones((6, 1, 1))
    x = 2 + g.random((1, 40, 3)) + v * np.arange(6)[:, None, None]
    wrong = v[..., list(order)] * np.array(signs)
    own = (v * wrong).sum(-1) / np.linalg.norm(v, axis=-1) ** 2
    np.savez(tmp_path / "t.npz", positions=x, velocities=wrong, times=np.arange(6))
    assert own.mean() < 0.9
    with pytest.raises(ValueError, match=rf"cosine of {own.mean():.2f}, \({named}\) .* with 1\.00: axes of"):
        load_tracks(tmp_path / "t.npz", box=25.0)
    np.savez(tmp_path / "t.npz", positions=x, velocities=v, times=np.arange(6))
    assert load_tracks(tmp_path / "t.npz", box=25.0).notes == ()


@pytest.mark.parametrize(("spread", "noted"), [(0.25, True), (0.05, False)], ids=["noted", "much-alike"])
def test_axes_that_fit_a_little_better_are_noted(spread, noted, tmp_path):
    g = np.random.default_rng(0)
    v = np.array([1.0, 0.9, 0.6]) + spread * g.standard_normal((1, 200, 3)) * np.ones((6, 1, 1))
    x = 2 + g.random((1, 200, 3)) + v * np.arange(6)[:, None, None]
    np.savez(tmp_path / "t.npz", positions=x, velocities=v[..., [1, 0, 2]], times=np.arange(6))
    missed = (np.square(v[..., 0] - v[..., 1]) / np.square(v).sum(-1)).mean()
    assert (0.05 < missed < 0.1) == noted
    said = f"cosine of {1 - missed:.2f}, (vy, vx, vz) as (vx, vy, vz) would with 1.00: do axes"
    assert [said in note for note in load_tracks(tmp_path / "t.npz", box=25.0).notes] == [True] * noted


@pytest.mark.parametrize("noise", [0.2, 0.6, 1.5], ids=str)
def test_velocities_that_are_noisy_are_of_no_other_axes(noise, tmp_path):
    g = np.random.default_rng(1)
    v = np.array([1.0, 0.8, 0.6]) * np.ones((6, 200, 1))
    x = 2 + g.random((1, 200, 3)) + v * np.arange(6)[:, None, None]
    np.savez(tmp_path / "t.npz", positions=x, velocities=v + noise * g.standard_normal(v.shape), times=np.arange(6))
    notes = load_tracks(tmp_path / "t.npz", box=25.0).notes
    assert not any("axes" in note for note in notes)


def test_positions_that_float32_puts_on_the_far_wall_are_inside(tmp_path):
    g = np.random.default_rng(0)
    x = (g.random((4, 8, 3)) * 12.3).astype(np.float32)
    x[1, 2, 0] = np.float32(12.3)
    assert float(x[1, 2, 0]) > 12.3
    v = g.standard_normal(x.shape).astype(np.float32)
    np.savez(tmp_path / "t.npz", positions=x, velocities=v, times=np.arange(4))
    found = load_tracks(tmp_path / "t.npz", box=12.3)
    assert found.positions.max() == 12.3
    direct = school_series(torch.arange(4.0), torch.from_numpy(x), torch.from_numpy(v), 12.3)
    for name, values in found.measure().values.items():
        torch.testing.assert_close(values, direct.values[name].double(), rtol=0, atol=1e-5)
    x[1, 2, 0] = np.nextafter(x[1, 2, 0], np.float32(13))
    np.savez(tmp_path / "t.npz", positions=x, velocities=v, times=np.arange(4))
    with pytest.raises(ValueError, match="outside of the box"):
        load_tracks(tmp_path / "t.npz", box=12.3)
    with pytest.raises(ValueError, match="outside of the box"):
        school_series(torch.arange(4.0), torch.from_numpy(x), torch.from_numpy(v), 12.3)


def test_units_that_do_not_fit_are_named(run, tmp_path):
    with pytest.raises(ValueError, match=r"outside of the box \[0, 25\]: x .*Give the box in their unit"):
        load_tracks(write(tmp_path / "t.csv", rows(unit=1000.0)), box=BOX)
    with pytest.warns(UserWarning, match="one unit"):
        load_tracks(write(tmp_path / "t.csv", rows(unit=0.001)), box=BOX)
    for unit, said in ((30, "velocities are 300 times"), (0.03, "velocities are 0.3 times")):
        np.savez(tmp_path / "t.npz", positions=run.positions.numpy(), velocities=unit * run.velocities.numpy())
        assert said in load_tracks(tmp_path / "t.npz", box=BOX, dt=1.0).notes[-1]
    far = np.random.default_rng(0).random((5, 20, 3)) * BOX
    np.savez(tmp_path / "t.npz", positions=far, times=np.arange(5))
    with pytest.warns(UserWarning, match="too far apart"):
        load_tracks(tmp_path / "t.npz", box=BOX)


@pytest.mark.parametrize("velocities", [False, True])
def test_a_periodic_box_that_is_taken_for_a_tank_is_named(tmp_path, velocities):
    start, drift = np.random.default_rng(0).random((1, 20, 3)) * 10, np.array([0.3, 0.0, 0.0])
    x = (start + drift * np.arange(20)[:, None, None]) % 10
    given = {"velocities": np.broadcast_to(drift, x.shape)} if velocities else {}
    np.savez(tmp_path / "t.npz", positions=x, times=np.arange(20), **given)
    assert load_tracks(tmp_path / "t.npz", box=10.0).periodic
    crossed = int((np.diff(x[..., 0], axis=0) < 0).sum())
    with pytest.warns(
        UserWarning, match=f"^{crossed} displacements along an axis are above half .* Is the box periodic"
    ):
        load_tracks(tmp_path / "t.npz", box=10.0, periodic=False)


def test_a_tank_in_which_agents_swim_far_is_none_that_is_periodic(tmp_path, recwarn):
    g = np.random.default_rng(0)
    far = g.random((6, 20, 3)) * 10  # a displacement is above half of the box in a quarter of all cases
    np.savez(tmp_path / "t.npz", positions=far, velocities=g.standard_normal(far.shape), times=np.arange(6))
    load_tracks(tmp_path / "t.npz", box=10.0, periodic=False)
    assert not [str(one.message) for one in recwarn if "tank" in str(one.message)]


def test_a_series_wants_times_that_rise(run):
    with pytest.raises(ValueError, match="each after the one before"):
        school_series(-run.times, run.positions, run.velocities, BOX)
    with pytest.raises(ValueError, match="one a frame"):
        school_series(run.times[:3], run.positions, run.velocities, BOX)
    since_1970 = (run.times + 1.7e9).tolist()  # 128 seconds apart at least, were they float32
    listed = school_series(since_1970, run.positions.tolist(), run.velocities.tolist(), BOX)
    assert listed.times.tolist() == since_1970
    given = school_series(run.times, run.positions, run.velocities, BOX)
    assert all(torch.equal(listed.values[name], given.values[name]) for name in given.values)
    mean, deviation = school_series(run.times, run.positions, run.velocities, BOX).summary()["index"]
    index = school_series(run.times, run.positions, run.velocities, BOX).values["index"][5:]
    assert float(mean) == pytest.approx(float(index.mean()))
    assert float(deviation) == pytest.approx(float(index.std(correction=0)))


@pytest.mark.parametrize(
    ("agents", "lacking"),
    [
        (
            1,
            {
                "school_cohesion_entropy",
                "angular_momentum_entropy",
                "nearest_neighbor_entropy",
                "velocity_correlation_entropy",
                "school_shape_entropy",
            },
        ),
        (2, {"angular_momentum_entropy", "nearest_neighbor_entropy", "school_shape_entropy"}),
        (3, {"nearest_neighbor_entropy", "school_shape_entropy"}),
        (5, {"nearest_neighbor_entropy"}),
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
