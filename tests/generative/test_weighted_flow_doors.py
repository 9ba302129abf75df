"""Arguments in each other's places: a plan's sides, a diffusers model bare, a constructor that is not torchcfm's."""

import warnings

import pytest
import torch
from diffusers import UNet2DModel

from entrokit.generative.weighted_flow import (
    WeightedConditionalFlowMatcher,
    gibbs_weights,
    sinkhorn_potentials,
    tilt_diagnostics,
    weighted_flow_loss,
)

from .weighted_flow_cases import normal


def pairs(count, dimensions, seed):
    """A Gaussian, and one that lies apart and is wider."""
    return normal(count, dimensions, seed=seed), 2 * normal(count, dimensions, seed=seed + 1) + 3


def swaps(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    found = [told for told in caught if "they are swapped" in str(told.message)]
    assert all(told.filename == __file__ for told in found)
    return len(found)


@pytest.mark.parametrize("dimensions", [1, 2, 64])
def test_a_plan_with_source_and_target_exchanged_is_told(dimensions):
    x, y = pairs(300, dimensions, 0)
    fresh = pairs(64, dimensions, 2)
    eps = 2.0 * dimensions**0.5
    wrong, right = sinkhorn_potentials(y, x, eps), sinkhorn_potentials(x, y, eps)
    for plan, points, told in ((wrong, fresh, 1), (right, fresh[::-1], 1), (right, fresh, 0), (wrong, fresh[::-1], 0)):
        matcher = WeightedConditionalFlowMatcher(eps, potentials=plan)
        assert swaps(lambda m=matcher, p=points: m.weights(*p)) == told
        # Once a matcher, in its first batch.
        assert swaps(lambda m=matcher, p=points: m.loss(lambda t, x: x, *p)) == 0
        assert swaps(lambda f=plan, p=points: tilt_diagnostics(*p, eps, potentials=f)) == told


def test_laws_that_are_alike_and_few_points_are_not():
    """Of equal laws both orders are right: a hundred draws, none of which may be told."""
    for seed in range(100):
        x, y, a, b = (normal(24, 2, seed=10 * seed + i) for i in range(4))
        plan = sinkhorn_potentials(x, y, 2.0)
        assert swaps(lambda f=plan, a=a, b=b: WeightedConditionalFlowMatcher(2.0, potentials=f).weights(a, b)) == 0
    x, y = pairs(300, 2, 0)
    plan = sinkhorn_potentials(y, x, 2.0)
    assert swaps(lambda: WeightedConditionalFlowMatcher(2.0, potentials=plan).weights(x[:7], y[:7])) == 0
    own = (lambda points: points[:, 0], lambda points: points[:, 0])
    assert swaps(lambda: WeightedConditionalFlowMatcher(2.0, potentials=own).weights(x, y)) == 0


def unet():
    return UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
    )


@pytest.mark.parametrize(
    ("kept", "bare", "dtype"),
    [(torch.float32, True, torch.float32), (torch.float16, True, torch.float32), (torch.float32, False, torch.float64)],
    ids=["bare", "bare-half", "double"],
)
def test_what_a_model_of_diffusers_raises_says_how_it_is_called(kept, bare, dtype):
    model = unet().to(kept)
    x = normal(4, 1, 8, 8, dtype=dtype)
    with pytest.raises(RuntimeError) as raised:
        WeightedConditionalFlowMatcher(9.0).loss(model if bare else lambda t, x: model(x, 1000 * t).sample, x, x + 1)
    (note,) = raised.value.__notes__
    assert f"model(t [4], x [4, 1, 8, 8]), both {dtype} on cpu, which gets the time first" in note
    assert "`lambda t, x: unet(x, 1000 * t).sample`" in note


def test_the_constructor_of_torchcfm_is_told_apart():
    with pytest.raises(ValueError, match=r"got 0\.1; torchcfm's sigma is given by keyword, sigma="):
        WeightedConditionalFlowMatcher(1.0, 0.1)
    with pytest.raises(ValueError, match="eps: must be above 0, a number and no switch; got True"):
        WeightedConditionalFlowMatcher(True)


def test_the_loss_is_torchcfms_mean_times_the_elements_of_a_point():
    velocity, x, y = (normal(6, 3, 4, seed=seed) for seed in range(3))
    weight = gibbs_weights(x, y, 3.0)
    line = (weight * (velocity - (y - x)).square().flatten(1).mean(1)).mean()
    torch.testing.assert_close(weighted_flow_loss(velocity, y - x, weight), 12 * line, rtol=1e-12, atol=0)
