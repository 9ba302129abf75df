"""Order parameters, and the centroid of a school across the edge of its box."""

import pytest
import torch

from entrokit.physics.schooling import (
    centroid,
    from_centroid,
    order_index,
    polarization,
    rotation,
    school_entropies,
    spread,
)

from .schooling_cases import ring, school


def test_one_way_and_round():
    x, v = ring()
    assert float(order_index(x, v)) == pytest.approx(1.0)
    assert float(order_index(x, torch.ones(40, 3))) == pytest.approx(1.0)
    assert float(spread(x)) == pytest.approx(2.0)
    assert float(rotation(x, x - 5.0)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("shift", [(4.0, 0.0, 0.0), (5.0, 5.0, 5.0), (-3.3, 7.1, 4.9)], ids=str)
def test_a_school_across_the_edge_has_the_order_that_it_has_in_the_middle(shift):
    x, v = ring(radius=2.0)
    x = x + 0.2 * school(40, seed=1)[1].clamp(-1, 1)
    moved = torch.remainder(x + torch.tensor(shift, dtype=torch.float64), 10.0)
    torch.testing.assert_close(rotation(moved, v, box=10.0), rotation(x, v), atol=1e-12, rtol=0)
    torch.testing.assert_close(spread(moved, box=10.0), spread(x), atol=1e-12, rtol=0)
    assert float(rotation(moved, v)) < 0.7
    middle = school_entropies(x, v, 10.0)
    around = school_entropies(moved, v, 10.0, periodic_centroid=True)
    torch.testing.assert_close(around.school_shape_entropy, middle.school_shape_entropy, atol=1e-12, rtol=0)
    assert abs(float(school_entropies(moved, v, 10.0).school_shape_entropy - middle.school_shape_entropy)) > 0.01


def test_centroids():
    x = torch.tensor([[9.0, 5.0, 1.0], [1.0, 5.0, 3.0]])
    assert centroid(x).tolist() == pytest.approx([5.0, 5.0, 2.0])
    around = centroid(x, box=10.0)
    assert min(float(around[0]), 10.0 - float(around[0])) == pytest.approx(0.0, abs=1e-5)
    assert around[1:].tolist() == pytest.approx([5.0, 2.0])
    assert from_centroid(x, box=10.0)[:, 0].tolist() == pytest.approx([-1.0, 1.0], abs=1e-5)


def test_gradients_are_those_of_differences():
    x, v = school(6)
    x.requires_grad_()
    v.requires_grad_()

    def shape(x):
        return school_entropies(x, v.detach(), 10.0).school_shape_entropy

    assert torch.autograd.gradcheck(polarization, (v,))
    assert torch.autograd.gradcheck(rotation, (x, v))
    assert torch.autograd.gradcheck(lambda x, v: rotation(x, v, box=10.0), (x, v))
    assert torch.autograd.gradcheck(spread, (x,))
    assert torch.autograd.gradcheck(shape, (x,))


def test_dtypes_and_arrays():
    x, v = school(5, 12)
    single = polarization(v.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), polarization(v.numpy()), atol=1e-6, rtol=0)
    assert school_entropies(x.float(), v.float(), 10.0).index().dtype == torch.float64
    assert school_entropies(x.numpy(), v.numpy(), 10.0).index().shape == (5,)


@pytest.mark.parametrize("agents", [1, 2, 3, 4, 5, 6])
def test_few_agents(agents):
    # Near to one another, for otherwise two may be further apart than the histogram reaches.
    x, v = school(agents, side=4.0, seed=3)
    found = school_entropies(x, v, 10.0)
    for name, least in (
        ("school_cohesion_entropy", 2),
        ("velocity_correlation_entropy", 2),
        ("angular_momentum_entropy", 3),
        ("school_shape_entropy", 4),
        ("nearest_neighbor_entropy", 6),
    ):
        nan = school_entropies(x, v, 10.0, undefined=float("nan")).as_dict()[name]
        assert bool(nan.isnan()) == (agents < least), name
    assert found.dropped["nearest_neighbor_entropy"].item() == (1.0 if agents < 6 else 0.0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"positions": torch.rand(4, 2)}, r"positions: \(\.\.\., agents, 3\)"),
        ({"positions": torch.rand(0, 3)}, "no agent"),
        ({"positions": torch.rand(3, 3)}, "one shape"),
        ({"positions": torch.full((4, 3), float("nan"))}, "positions: 4 vectors are not finite.*agent 0"),
        ({"positions": torch.tensor([[0.0, 0, 0]] * 3 + [[0, 0, 11.0]])}, "1 of 4 lie outside.*agent 3.*to 11"),
        ({"positions": torch.tensor([[0.0, 0, 0]] * 3 + [[0, -1e-9, 0]])}, "outside"),
        ({"velocities": torch.tensor([[1.0, 0, 0]] * 2 + [[0, 0, 0.0]] * 2)}, "2 of 4 have no speed.*agent 2"),
        ({"velocities": torch.ones(4, 3, dtype=torch.bool)}, "real numbers"),
        ({"box": 0.0}, "box"),
        ({"box": float("inf")}, "box"),
        ({"box": (1.0, 2.0, 3.0)}, "box: the side of a cube, one number"),
        ({"k": 0}, "k: at least 1"),
        ({"k": 2.5}, "k: a whole number of at least 1 is expected; got 2.5"),
        ({"solid_angle": "sine"}, "solid_angle: one of official, none, equal_area"),
        ({"correction": "jackknife"}, "correction: one of"),
        ({"correction": "miller_madow"}, "'official' weighs them"),
        ({"still": "drop"}, "still: 'error' or 'zero'"),
        ({"periodic": False, "periodic_centroid": True}, "no edge to look across"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_named(changed, said):
    given = {"positions": torch.rand(4, 3), "velocities": torch.ones(4, 3), "box": 10.0} | changed
    with pytest.raises(ValueError, match=said):
        school_entropies(**given)


def test_which_frame_is_named():
    x, v = school(3, 4)
    v[2, 1] = 0.0
    with pytest.raises(ValueError, match="agent 1 in frame 2"):
        school_entropies(x, v, 10.0)
    assert school_entropies(x, v, 10.0, still="zero").index().shape == (3,)


def test_positions_at_the_far_wall_are_inside():
    x, v = school(8)
    x[0, 0] = 10.0
    on_it, at_0 = (
        school_entropies(x, v, 10.0),
        school_entropies(x.clone().index_fill_(0, torch.tensor([0]), 0.0), v, 10.0),
    )
    assert on_it.dropped["school_cohesion_entropy"].shape == at_0.dropped["school_cohesion_entropy"].shape == ()
    x[:, 2] = 10.0
    assert school_entropies(x, v, 10.0).depth_stratification_entropy.item() == 0.0


def test_arrays_that_run_backwards_and_of_the_other_byte_order_are_taken():
    x, v = (part.numpy() for part in school(12))
    wanted = school_entropies(x, v, 10.0).as_dict()
    for a, b in ((x[::-1], v[::-1]), (x.astype(">f8"), v.astype(">f8"))):
        for name, found in school_entropies(a, b, 10.0).as_dict().items():
            torch.testing.assert_close(found, wanted[name], atol=1e-12, rtol=0)
