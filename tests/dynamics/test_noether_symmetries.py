"""Symmetries: found in a model's structure, held against gradients and against finite moves."""

import math

import pytest
import torch
from torch import nn

from entrokit.dynamics.noether import Part, Symmetry, check_symmetry, find_symmetries, symmetry_breaking

from .noether_network import classified


def test_moves_and_gradients_see_what_is_no_symmetry():
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))
    parameters, gradients, loss = classified(model, torch.randn(16, 4, dtype=torch.float64))
    claimed = (
        Symmetry("scale", (Part("0.weight", 6),)),
        Symmetry("rescale", (Part("0.weight", 6), Part("0.bias", 6), Part("2.weight", 6, 1, -1))),
        Symmetry("translation", (Part("0.weight", 4, 1),)),
    )
    for symmetry in claimed:
        assert float(symmetry_breaking(symmetry, parameters, gradients).max()) > 0.05
        assert check_symmetry(loss, symmetry, parameters) > 1e-6
    found = [symmetry.name for symmetry in find_symmetries(model)]
    assert found == ["translation(2.weight)", "translation(2.bias)"]


def test_the_change_of_the_loss_is_the_gradient_along_the_generator():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    parameters, gradients, loss = classified(model, torch.randn(16, 4, dtype=torch.float64))
    pair = Symmetry("rescale", (Part("0.weight", 6), Part("2.weight", 6, 1, -1)))
    inner = sum((pair.generator(p, parameters[p.name]) * p.rows(gradients[p.name])).sum() for p in pair.parts)
    s = 1e-5
    assert check_symmetry(loss, pair, parameters, s) == pytest.approx(abs(float(inner)) * s, rel=1e-3)
    moved = Symmetry("translation", (Part("0.bias"),))
    assert check_symmetry(loss, moved, parameters, s) == pytest.approx(
        abs(float(gradients["0.bias"].sum())) * s, rel=1e-3
    )


@pytest.mark.parametrize("fails", [False, True])
def test_a_check_leaves_parameters_bit_for_bit(fails):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    parameters, _, loss = classified(model, torch.randn(8, 4, dtype=torch.float64))
    kept, calls = {name: p.detach().clone() for name, p in parameters.items()}, []

    def fragile():
        calls.append(1)
        if fails and len(calls) == 2:
            raise RuntimeError("out of memory")
        return loss()

    symmetry = find_symmetries(model, kinds=("rescale",))[0]
    if fails:
        with pytest.raises(RuntimeError, match="out of memory"):
            check_symmetry(fragile, symmetry, parameters, 0.3)
    else:
        check_symmetry(fragile, symmetry, parameters, 0.3)
    assert all(torch.equal(kept[name], p) for name, p in parameters.items())


def test_breaking_is_a_cosine_and_rounding_is_not_breaking():
    scale = Symmetry("scale", (Part("w", 3),))
    w = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    g = torch.tensor([[0.0, 5.0], [3.0, 4.0], [1.0, 1.0]])
    assert symmetry_breaking(scale, {"w": w}, {"w": g}).tolist() == pytest.approx([0.0, 1.0, 0.0])
    # A gradient of 1e-9 among those of size 1 is what rounding leaves, whichever way it points.
    g = torch.tensor([[1e-9, 0.0], [-4.0, 3.0], [0.0, 0.0]])
    assert float(symmetry_breaking(scale, {"w": w}, {"w": g}).max()) < 1e-5
    assert symmetry_breaking(scale, {"w": w}, {"w": torch.zeros(3, 2)}).tolist() == [0.0, 0.0, 0.0]
    assert bool(symmetry_breaking(scale, {"w": w}, {"w": g * math.nan}).isnan().any())


def test_blocks_of_weights_that_are_not_contiguous():
    w = torch.randn(6, 4).T
    part = Part("w", 2, 1)
    assert torch.equal(part.rows(w), torch.stack([w[:, :3].T.reshape(-1), w[:, 3:].T.reshape(-1)]))
    assert torch.equal(part.rows(w), part.rows(w.contiguous()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float64(dtype):
    w = (300.0 * torch.ones(2, 4)).to(dtype)
    g = torch.tensor([[300.0, -300.0, 300.0, -300.0], [300.0, 300.0, 300.0, 300.0]]).to(dtype)
    found = symmetry_breaking(Symmetry("scale", (Part("w", 2),)), {"w": w}, {"w": g})
    assert found.tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Symmetry("rotation", (Part("w"),)), "kind scale, rescale or translation, got 'rotation'"),
        (lambda: Symmetry("scale", ()), "needs parts of one number of blocks"),
        (lambda: Symmetry("scale", (Part("w", 2), Part("b", 3))), r"one number of blocks, got \[2, 3\]"),
        (lambda: Symmetry("rescale", (Part("w"), Part("b"))), r"of a rescaling \+1 and -1, got \[1\]"),
        (lambda: Symmetry("scale", (Part("w", sign=-1),)), r"got \[-1\]"),
        (lambda: Part("w", 4).rows(torch.ones(6, 2)), r"w: axis 0 of shape \[6, 2\] is not 4 blocks"),
        (lambda: Part("w", 1, 2).rows(torch.ones(6, 2)), r"w: a parameter of shape \[6, 2\] has no blocks on axis 2"),
        (lambda: Part("w", 0).rows(torch.ones(6, 2)), "has no blocks"),
        (lambda: Part("w").rows(torch.ones(0, 2)), "has no blocks"),
        (lambda: Part("w").rows(torch.ones(())), "has no blocks"),
        (lambda: find_symmetries(nn.Linear(2, 2), kinds=("rotation",)), r"got \['rotation'\]"),
        (lambda: check_symmetry(lambda: torch.ones(()), Symmetry("scale", (Part("w"),)), {}, 0.0), "not 0, got 0.0"),
        (lambda: check_symmetry(lambda: torch.ones(()), Symmetry("scale", (Part("w"),)), {}, math.nan), "finite"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_block_that_overflowed_says_nothing_of_the_others():
    scale = Symmetry("scale", (Part("w", 3),))
    w, g = torch.ones(3, 2), torch.tensor([[3.0, 4.0], [1.0, -1.0], [0.0, 0.0]])
    for bad in (math.inf, math.nan):
        g[2, 0] = bad
        found = symmetry_breaking(scale, {"w": w}, {"w": g}).tolist()
        assert found[:2] == pytest.approx([7 / 50**0.5, 0.0])
        assert math.isnan(found[2])


def test_a_move_that_is_rounded_away_is_no_check():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).bfloat16()
    kept = [p.detach().clone() for p in model.parameters()]
    parameters, x = dict(model.named_parameters()), torch.randn(8, 4).bfloat16()
    claimed = Symmetry("scale", (Part("0.weight"),))
    with pytest.raises(ValueError, match=r"0.weight is torch.bfloat16, in which a move by s=0.001 is rounded away"):
        check_symmetry(lambda: model(x).float().square().sum(), claimed, parameters)
    assert all(torch.equal(p, own) for p, own in zip(model.parameters(), kept, strict=True))
    assert check_symmetry(lambda: model(x).float().square().sum(), claimed, parameters, 0.1) > 0
    with torch.no_grad():
        model[0].weight.zero_()
    assert check_symmetry(lambda: model(x).float().square().sum(), claimed, parameters) == 0.0
