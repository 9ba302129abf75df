"""The zone model: a step by hand, turns, and what a run keeps."""

import math

import numpy as np
import pytest
import torch

from entrokit.physics.schooling import PRESETS, CouzinModel, Zones, rotation, turned
from entrokit.physics.schooling import zones as zones_module
from entrokit.physics.schooling.couzin import wrapped

from .schooling_cases import fibonacci, scattered, school

DIGITS = 5.1e-7


def quiet(box=10.0, zones=None, max_turn=math.pi, **others):
    """A model without noise that turns at once to what its zones ask for."""
    return CouzinModel(box, 1.0, zones or Zones(1.0, 2.0, 4.0, 0.0), max_turn, 0.0, **others)


def vectors(*rows):
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(
    ("zones", "max_turn", "speed", "first", "third", "total"),
    [
        (
            Zones(1.0, 2.0, 3.0, 30.0),
            0.3,
            1.0,
            (-0.085446, -0.423411, 0.901899),
            (0.628880, 0.035922, 0.776672),
            45.053375,
        ),
        (Zones(0.5, 1.5, 2.5, 150.0, 0.1), 0.2, 1.5, (-0.085903, -0.166263, 1.488280), None, 65.628988),
    ],
    ids=["wide", "narrow"],
)
def test_the_sheets_step(zones, max_turn, speed, first, third, total):
    model = CouzinModel(6.0, speed, zones, max_turn, 0.0)
    x, v = model.step(scattered(30, 6.0), fibonacci(30), 0.1)
    assert v[0].tolist() == pytest.approx(first, abs=DIGITS)
    if third is not None:
        assert v[2].tolist() == pytest.approx(third, abs=DIGITS)
    assert float(v.abs().sum()) == pytest.approx(total, abs=DIGITS)
    torch.testing.assert_close(x, torch.remainder(scattered(30, 6.0) + 0.1 * v, 6.0), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("apart", "heading"),
    [
        (0.5, (-1.0, 0.0, 0.0)),  # repulsion: away
        (1.5, (0.0, 0.0, 1.0)),  # orientation: along with the other
        (3.0, (1.0, 0.0, 0.0)),  # attraction: towards
        (4.5, (0.0, 1.0, 0.0)),  # beyond: on as before
    ],
    ids=["repulsion", "orientation", "attraction", "beyond"],
)
@pytest.mark.parametrize("start", [5.0, 9.9], ids=["inside", "edge"])
def test_what_each_zone_asks_for(apart, heading, start):
    x = vectors((start, 5, 5), ((start + apart) % 10.0, 5, 5))
    _, v = quiet().step(x, vectors((0, 1, 0), (0, 0, 1)), 0.1)
    assert v[0].tolist() == pytest.approx(heading, abs=1e-12)


def test_who_is_crowded_minds_nobody_else_and_zones_add_up_otherwise():
    x = vectors((5, 5, 5), (5.5, 5, 5), (5, 8, 5))
    _, v = quiet().step(x, vectors((0, 0, 1), (0, 1, 0), (0, 0, 1)), 0.1)
    assert v[0].tolist() == pytest.approx((-1.0, 0.0, 0.0), abs=1e-12)
    x = vectors((5, 5, 5), (6.5, 5, 5), (5, 8, 5))
    weighted = quiet(zones=Zones(1.0, 2.0, 4.0, 0.0, 0.5))
    _, v = weighted.step(x, vectors((0, 0, 1), (0, 0, 1), (0, 0, 1)), 0.1)
    assert v[0].tolist() == pytest.approx((0.0, 1 / math.sqrt(1.25), 0.5 / math.sqrt(1.25)), abs=1e-12)


@pytest.mark.parametrize(("blind", "seen"), [(0.0, True), (44.0, True), (46.0, False), (150.0, False)])
def test_nobody_is_seen_in_the_cone_behind(blind, seen):
    x = vectors((5, 5, 5), (3, 7, 5))  # 45 degrees off straight behind
    _, v = quiet(zones=Zones(0.5, 1.0, 4.0, blind)).step(x, vectors((1, 0, 0), (0, 0, 1)), 0.1)
    toward = (-math.sqrt(0.5), math.sqrt(0.5), 0.0)
    assert v[0].tolist() == pytest.approx(toward if seen else (1.0, 0.0, 0.0), abs=1e-12)


def test_agents_at_one_place_and_pulls_that_cancel_leave_headings():
    x = vectors((5, 5, 5), (5, 5, 5))
    _, v = quiet().step(x, vectors((1, 0, 0), (0, 1, 0)), 0.1)
    torch.testing.assert_close(v, vectors((1, 0, 0), (0, 1, 0)))
    x = vectors((5, 5, 5), (5.5, 5, 5), (4.5, 5, 5))
    _, v = quiet().step(x, vectors((0, 1, 0), (0, 1, 0), (0, 1, 0)), 0.1)
    assert v[0].tolist() == pytest.approx((0.0, 1.0, 0.0), abs=1e-12)


@pytest.mark.parametrize(
    ("angle", "chord"), [(0.2, 0.2), (1.0, 0.284861), (2.0, 0.171481), (3.0, 0.017616), (math.pi, 0.0)]
)
def test_turns(angle, chord):
    u, w = vectors((1, 0, 0)), vectors((math.cos(angle), math.sin(angle), 0))
    for turn, expected in (("nlerp", chord), ("slerp", min(angle, 0.3))):
        after = turned(u, w, 0.3, turn)
        assert float(after.norm()) == pytest.approx(1.0, abs=1e-12)
        found = math.atan2(float(after[0, 1:].norm()), float(after[0, 0]))
        assert found == pytest.approx(expected, abs=DIGITS if turn == "nlerp" else 1e-9)
        if 0.1 < angle < 3.1:
            assert float(after[0, 1]) > 0


def test_slerp_is_in_the_plane_of_both():
    g = torch.Generator().manual_seed(0)
    u, w = (torch.nn.functional.normalize(torch.randn(50, 3, generator=g, dtype=torch.float64), dim=-1) for _ in "uw")
    after = turned(u, w, 0.1, "slerp")
    torch.testing.assert_close((torch.linalg.cross(u, w) * after).sum(-1), torch.zeros(50, dtype=torch.float64))


def test_schools_of_a_batch_know_nothing_of_one_another(monkeypatch):
    x, v = school(2, 3, 20)
    model = CouzinModel(10.0, 1.0, Zones(1.0, 2.0, 4.0, 30.0), 0.3, 0.0, turn="slerp")
    whole = model.step(x, v, 0.1)
    monkeypatch.setattr(zones_module, "AT_ONCE", 50)
    for i in range(2):
        for j in range(3):
            for all_of_them, alone in zip(whole, model.step(x[i, j], v[i, j], 0.1), strict=True):
                torch.testing.assert_close(all_of_them[i, j], alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("zones", [Zones(1.0, 2.0, 4.0, 30.0), Zones(0.5, 1.5, 2.0, 0.0, 0.3)], ids=["wide", "narrow"])
@pytest.mark.parametrize("share", [1.0, 1e-6], ids=["listed", "too-many"])
def test_lists_of_pairs_say_what_the_matrix_says(zones, share, monkeypatch):
    x, v = school(2, 120)
    x[0, :30] = x[0, 30:60]
    model = CouzinModel(10.0, 1.0, zones, 0.3, 0.0)
    whole = model.step(x, v, 0.1)
    for name, value in (("LISTED_FROM", 1), ("LISTED_SHARE", share), ("AT_ONCE", 100)):
        monkeypatch.setattr(zones_module, name, value)
    for matrix, listed in zip(whole, model.step(x, v, 0.1), strict=True):
        torch.testing.assert_close(listed, matrix, atol=1e-9, rtol=0)


def test_a_run_is_its_steps_and_a_generator_gives_it_again():
    preset = PRESETS["swarm"]
    x, v = preset.start(2, generator=torch.Generator().manual_seed(1))
    runs = [preset.model.run(x, v, 7, 0.1, save_every=3, generator=torch.Generator().manual_seed(2)) for _ in "ab"]
    assert torch.equal(runs[0].positions, runs[1].positions)
    assert runs[0].times.tolist() == pytest.approx([0.0, 0.3, 0.6])
    g = torch.Generator().manual_seed(2)
    for step in range(1, 7):
        x, v = preset.model.step(x, v, 0.1, generator=g)
        if step % 3 == 0:
            torch.testing.assert_close(runs[0].positions[step // 3], x, atol=1e-12, rtol=0)
            torch.testing.assert_close(runs[0].velocities[step // 3], v, atol=1e-12, rtol=0)
    assert float((x < 0).sum() + (x >= 25).sum()) == 0


def test_noise_is_a_vector_of_its_size():
    model = CouzinModel(10.0, 1.0, Zones(0.1, 0.2, 0.3, 0.0), 0.3, 0.05)
    x, v = torch.rand(20_000, 1, 3, dtype=torch.float64) * 10, vectors((1, 0, 0)).expand(20_000, 1, 3)
    _, after = model.step(x, v, 0.1, generator=torch.Generator().manual_seed(0))
    # Sideways it is 0.05 N(0, 1) over a length of 1 + O(0.05²); 8 standard errors of a standard deviation.
    assert float(after[..., 1].std()) == pytest.approx(0.05, rel=0.005 + 8 / math.sqrt(2 * 20_000))


def test_every_preset_begins_in_its_box():
    for name, preset in PRESETS.items():
        x, v = preset.start(3, generator=torch.Generator().manual_seed(0))
        assert x.shape == (3, preset.agents, 3)
        assert 0 <= float(x.min()) < float(x.max()) < preset.model.box
        torch.testing.assert_close(v.norm(dim=-1), torch.full(x.shape[:2], preset.model.speed, dtype=torch.float64))
        assert bool((rotation(x, v) > 0.9).all()) == (name == "torus")


def test_a_mill_is_as_wide_and_as_high_as_released():
    """Standard deviations over a radius of 2: 0.3 of radii, 0.6 of heights; 0.1 of angles and of climbs."""
    model, n = CouzinModel(40.0, 3.0, Zones(1.0, 2.0, 3.0, 0.0), 0.3, 0.0), 100
    x, v = model.mill(200, n, generator=torch.Generator().manual_seed(0), radius=2.0)
    apart, error = x - 20.0, 6 / math.sqrt(2 * 200 * n)
    r = apart[..., :2].norm(dim=-1)
    assert float(r.mean()) == pytest.approx(2.0, abs=6 * 0.3 / math.sqrt(200 * n))
    assert float(r.std()) == pytest.approx(0.3, rel=error)
    assert float(apart[..., 2].std()) == pytest.approx(0.6, rel=error)
    turn = torch.atan2(apart[..., 1], apart[..., 0]) - 2 * math.pi * torch.arange(n) / n
    assert float(torch.remainder(turn + math.pi, 2 * math.pi).std()) == pytest.approx(0.1, rel=error)
    climb = v[..., 2] / v[..., :2].norm(dim=-1)
    assert float(climb.std()) == pytest.approx(0.1, rel=error)
    # Round to the left, and at right angles to the way out, but for the climb.
    assert float((apart[..., :2] * v[..., :2]).sum(-1).abs().max()) < 1e-9
    assert bool((apart[..., 0] * v[..., 1] - apart[..., 1] * v[..., 0] > 0).all())


def test_a_remainder_is_never_the_box_itself():
    assert wrapped(torch.tensor([-1e-20, 10.0, 3.0]), 10.0).tolist() == [0.0, 0.0, 3.0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Zones(2.0, 1.0, 3.0, 0.0), "0 <= r_rep < r_ori <= r_att"),
        (lambda: Zones(1.0, 2.0, 3.0, 180.0), "blind_degrees"),
        (lambda: Zones(1.0, 2.0, 3.0, 0.0, 1.5), "ori_weight"),
        (lambda: quiet(box=-1.0), "box"),
        (lambda: quiet(max_turn=0.0), "max_turn"),
        (lambda: quiet(turn="lerp"), "turn: one of nlerp, slerp"),
        (lambda: CouzinModel(10.0, 0.0, Zones(1, 2, 3, 0), 0.3, 0.0), "speed"),
        (lambda: CouzinModel(10.0, 1.0, Zones(1, 2, 3, 0), 0.3, -1.0), "noise"),
        (lambda: quiet().step(torch.rand(3, 3) + 10, torch.ones(3, 3), 0.1), "outside of the box"),
        (lambda: quiet().step(torch.rand(3, 3), torch.zeros(3, 3), 0.1), "no speed"),
        (lambda: quiet().step(torch.rand(3, 3), torch.ones(2, 3), 0.1), "one shape and dtype"),
        (lambda: quiet().step(torch.rand(3, 3), torch.ones(3, 3), 0.0), "dt"),
        (lambda: quiet().run(torch.rand(3, 3), torch.ones(3, 3), 5, 0.1, save_every=0), "save_every: at least 1"),
        (lambda: quiet().run(torch.rand(3, 3), torch.ones(3, 3), 2.5, 0.1), "steps: a whole number .* got 2.5"),
        (lambda: quiet().run(torch.rand(3, 3), torch.ones(3, 3), -1, 0.1), "steps: at least 0"),
        (
            lambda: quiet().step(torch.rand(3, 3), torch.ones(3, 3), 5.1),
            "dt: .* go 5.1 in a step.*half of the box of 10",
        ),
        (lambda: quiet().swarm(5, generator=None), "generator: a school is drawn at random"),
        (lambda: PRESETS["swarm"].model.step(torch.rand(3, 3), torch.ones(3, 3), 0.1), "give a torch.Generator"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("generator", [0, np.random.default_rng(0)], ids=["seed", "numpy"])
def test_what_is_no_generator_is_named(generator):
    model, state = PRESETS["swarm"].model, (torch.rand(3, 3), torch.ones(3, 3), 0.1)
    for call in (
        lambda: model.step(*state, generator=generator),
        lambda: quiet().run(*state[:2], 3, 0.1, generator=generator),
        lambda: model.swarm(3, generator=generator),
        lambda: model.mill(3, generator=generator),
    ):
        with pytest.raises(TypeError, match=r"generator: a torch\.Generator, such as torch\.Generator"):
            call()


def test_counts_may_be_whole_floats():
    x, v = school(20)
    runs = [quiet().run(x, v, steps, 0.1, save_every=every) for steps, every in ((6, 2), (6.0, np.float64(2)))]
    assert torch.equal(runs[0].positions, runs[1].positions)
    for wrong in (True, "6", None):
        with pytest.raises(TypeError, match="steps: a whole number of at least 0 is expected"):
            quiet().run(x, v, wrong, 0.1)
