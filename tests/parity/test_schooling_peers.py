"""Schools beside the released code of dewi-kadita: measures of a frame, steps of the zone model, how a run begins."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

# A peer that is there and does not load is a failure.
if find_spec("dewi_kadita") is None:
    pytest.skip("peers need their own environment: make test-parity", allow_module_level=True)

from dewi_kadita.core.metrics import compute_all_metrics, compute_metrics_timeseries
from dewi_kadita.core.solver import _update_velocities_numba, _update_velocities_numpy
from dewi_kadita.core.systems import CouzinSystem

from entrokit.physics.schooling import PRESETS, CouzinModel, Zones, school_series

from ..physics.schooling_cases import fibonacci, scattered, school

# Ours are named as theirs are, but for the index.
THEIRS = {"index": "oceanic_schooling_index"}


@pytest.mark.parametrize("agents", [1, 2, 3, 4, 5, 6, 64, 250])
def test_measures_of_a_trajectory(agents):
    x, v = school(7, agents, side=12.0, seed=agents)
    # As schools are: some in a cluster, some aligned.
    x[3:] = 5 + 0.2 * x[3:]
    v[5:] = 0.1 * v[5:] + 1.0
    times = torch.arange(7, dtype=torch.float64)
    ours = school_series(times, x, v, 12.0)
    # Of too few agents their covariance divides by 0; they give 0.5 all the same.
    with np.errstate(all="ignore"):
        theirs = compute_metrics_timeseries(x.numpy(), v.numpy(), times.numpy(), 12.0, verbose=False)
    for name in ours.values:
        their = THEIRS.get(name, name)
        np.testing.assert_allclose(ours.values[name].numpy(), theirs[their], rtol=0, atol=1e-9, err_msg=name)
        mean, deviation = ours.summary()[name]
        assert float(mean) == pytest.approx(float(theirs[f"{their}_mean"]), abs=1e-9)
        assert float(deviation) == pytest.approx(float(theirs[f"{their}_std"]), abs=1e-7)


def test_an_agent_without_speed_is_the_zero_vector():
    x, v = school(1, 30)
    v[0, :5] = 0.0
    ours = school_series(torch.zeros(1), x, v, 10.0, still="zero")
    theirs = compute_all_metrics(x[0].numpy(), v[0].numpy(), 10.0)
    for name, values in ours.values.items():
        assert float(values[0]) == pytest.approx(float(theirs[THEIRS.get(name, name)]), abs=1e-9), name


def test_their_measures_of_even_headings_are_the_sheets():
    theirs = compute_all_metrics(scattered(64, 10.0).numpy(), fibonacci(64).numpy(), 10.0)
    assert theirs["oceanic_schooling_index"] == pytest.approx(0.675440, abs=5.1e-7)


@pytest.mark.parametrize("preset", ["swarm", "torus", "dynamic_parallel", "highly_parallel"])
@pytest.mark.parametrize("theirs", [_update_velocities_numba, _update_velocities_numpy], ids=["loops", "arrays"])
def test_steps_without_noise(preset, theirs):
    given = PRESETS[preset]
    z, m = given.model.zones, given.model
    quiet = CouzinModel(m.box, m.speed, z, m.max_turn, 0.0)
    x, v = given.start(generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        v_theirs = theirs(
            x.numpy(), v.numpy(), m.box, z.r_rep, z.r_ori, z.r_att, m.max_turn, 0.0, np.radians(z.blind_degrees),
            m.speed, z.ori_weight,
        )  # fmt: skip
        x, v = quiet.step(x, v, 0.1)
        # Roundings of sums of some hundred unit vectors, divided by lengths of 1e-2 at least.
        np.testing.assert_allclose(v.numpy(), v_theirs, rtol=0, atol=1e-10)


def test_a_school_begins_as_theirs_by_its_order():
    mills = []
    for seed in range(20):
        system = CouzinSystem(n_fish=200, torus_init=True, torus_radius=6.0, seed=seed)
        mills.append((system.compute_rotation(), system.compute_spread()))
    x, v = PRESETS["torus"].start(20, generator=torch.Generator().manual_seed(0))
    ours = school_series(torch.zeros(1), x[None], v[None], 25.0).values
    for i, name in enumerate(("rotation", "spread")):
        own, other = ours[name][0].numpy(), np.array([mill[i] for mill in mills])
        # Six standard errors of a difference of means.
        assert abs(own.mean() - other.mean()) < 6 * np.sqrt((own.var(ddof=1) + other.var(ddof=1)) / 20), name


def test_radii_out_of_order_are_refused_by_both():
    for radii in ((2.0, 2.0, 3.0), (1.0, 3.0, 2.0)):
        with pytest.raises(ValueError, match="r_r < r_o <= r_a"):
            CouzinSystem(r_repulsion=radii[0], r_orientation=radii[1], r_attraction=radii[2])
        with pytest.raises(ValueError, match="r_rep < r_ori <= r_att"):
            Zones(*radii, 0.0)
