"""Pruning by magnitude: densities exact to a weight, masks that hold, and what is refused."""

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from entrokit.dynamics.pruning import (
    density_of,
    prune_magnitude,
)

from .pruning_network import X, network, steps


@given(st.floats(0.03, 1.0))
def test_check_4_density_is_exact_to_a_weight(density):
    layers = {"0.weight": 54, "3.weight": 63}
    model = network()
    masks = prune_magnitude(model, density)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {n: round(density * k) for n, k in layers.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a layer may be emptied
        together = prune_magnitude(other := network(), density, "global")
    assert sum(int(mask.sum()) for mask in together.values()) == round(density * 117)
    assert density_of(other) == round(density * 117) / 117
    assert not hasattr(model[5], "weight_mask")


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_the_largest_weights_stay(scope):
    model = network()
    before = {f"{i}.weight": model[i].weight.detach().abs().clone() for i in (0, 3)}
    masks = prune_magnitude(model, 0.3, scope)
    together = [list(masks)] if scope == "global" else [[name] for name in masks]
    for names in together:
        stay = torch.cat([before[n][masks[n]] for n in names])
        go = torch.cat([before[n][~masks[n]] for n in names])
        assert float(stay.min()) > float(go.max())
    for i in (0, 3):
        assert torch.equal(model[i].weight != 0, masks[f"{i}.weight"])


def test_check_4_both_scopes_agree_for_one_layer():
    a, b = (prune_magnitude(network(), 0.4, scope, skip=("0", "5"))["3.weight"] for scope in ("uniform", "global"))
    assert torch.equal(a, b)
    layer = network()
    prune.l1_unstructured(layer[3], "weight", 63 - round(0.4 * 63))
    assert torch.equal(a, layer[3].weight_mask.bool())


def test_check_4_masked_weights_stay_zero_with_momentum_and_decay():
    model = network()
    masks = prune_magnitude(model, 0.2)
    start = model[0].weight_orig.detach().clone()
    steps(model)
    model(X)
    for name, mask in masks.items():
        weight = model.get_submodule(name.split(".")[0]).weight
        assert bool((weight[~mask] == 0).all())
        assert bool((weight[mask] != 0).all())
    assert not torch.equal(model[0].weight_orig.detach(), start)
    prune.remove(model[0], "weight")
    assert torch.equal(model[0].weight != 0, masks["0.weight"])


def test_pruning_goes_on_from_what_the_optimizer_left():
    model = network()
    first = prune_magnitude(model, 0.5)["0.weight"].clone()
    with torch.no_grad():
        model[0].weight_orig.copy_(torch.arange(54.0).view(9, 6) + 1)  # `weight` is still that of the last forward
    second = prune_magnitude(model, 0.25)["0.weight"]
    assert int(second.sum()) == round(0.25 * 54)
    assert not bool((second & ~first).any())
    kept = model[0].weight_orig.detach()
    assert float(kept[second].min()) > float(kept[first & ~second].max())
    assert density_of(model) == (round(0.25 * 54) + round(0.25 * 63)) / 117


def test_convolutions_half_precision_and_strides():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 2, 3), nn.Flatten(), nn.Linear(8, 3)
    ).half()
    model[0].weight = nn.Parameter(model[0].weight.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0))
    masks = prune_magnitude(model, 0.5)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"0.weight": 18, "2.weight": 36}


def test_a_layer_that_global_pruning_empties_is_named():
    model = network()
    with torch.no_grad():
        model[3].weight.mul_(1e-6)
    with pytest.warns(RuntimeWarning, match=r"nothing is left of 3\.weight"):
        prune_magnitude(model, 0.3, "global")


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    return model


def computed(how):
    def build():
        model = network()
        how(model[3])
        return model

    return build


def poisoned():
    model = network()
    with torch.no_grad():
        model[3].weight[0, 0] = math.nan
    return model


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (network, {"density": 0.0}, "density is the share"),
        (network, {"density": 1.01}, "density is the share"),
        (network, {"density": math.nan}, "density is the share"),
        (network, {"density": 0.5, "scope": "local"}, "scope is"),
        (network, {"density": 0.5, "skip": ["4"]}, "skip names '4'"),
        (network, {"density": 0.001}, "none of the 54 weights of 0 stays"),
        (lambda: nn.Linear(4, 2), {"density": 0.5}, "no layer to prune"),
        (nn.ReLU, {"density": 0.5}, "no layer to prune"),
        (tied, {"density": 0.5}, "the weight of 0 is tied"),
        (poisoned, {"density": 0.5}, "the weight of 3 holds NaN"),
        (computed(nn.utils.parametrizations.weight_norm), {"density": 0.5}, "the weight of 3 is computed from others"),
        (computed(nn.utils.spectral_norm), {"density": 0.5}, "the weight of 3 is computed from others"),
        (network, {"density": 0.5, "skip": "head"}, "skip names 'head'"),
        (lambda: nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2)), {"density": 0.5}, "0 has no weights yet"),
        (lambda: nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 2)), {"density": 0.5}, "0 has no weights yet"),
    ],
)
def test_what_cannot_be_pruned_is_refused_and_left(model, options, message):
    model = model()
    with pytest.raises(ValueError, match=message):
        prune_magnitude(model, **options)
    assert not any(name.endswith("_mask") for name, _ in model.named_buffers())


def test_what_is_sparser_already_is_refused():
    model = network()
    prune_magnitude(model, 0.2)
    with pytest.raises(ValueError, match="of 0 11 of 54 weights are left"):
        prune_magnitude(model, 0.5)
    with pytest.raises(ValueError, match="no layer has a mask"):
        density_of(network())


def test_to_the_same_density_again_nothing_changes():
    model = network()
    first = {name: mask.clone() for name, mask in prune_magnitude(model, 0.5).items()}
    again = prune_magnitude(model, 0.5)
    assert all(torch.equal(mask, again[name]) for name, mask in first.items())
