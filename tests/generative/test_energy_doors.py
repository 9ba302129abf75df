"""What energies' samplers and residuals say of arguments that are of the right kind and of the wrong size."""

import warnings

import pytest
import torch

from entrokit.generative.energy import sample_flow, sample_sde
from entrokit.generative.noising import VarianceExploding

from .energy_cases import VP

VE = VarianceExploding()


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sample", [sample_sde, sample_flow])
@pytest.mark.parametrize("scale", [50.0, 2.5, 0.4, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_noise_of_another_scale_is_told(sample, scale, dtype):
    with pytest.warns(UserWarning, match="noise has a root mean square of .*; unit noise is expected") as said:
        sample(lambda x, t: -x, (scale * normal(40, 2)).to(dtype), VP, steps=2)
    assert [told.filename for told in said] == [__file__]


@pytest.mark.parametrize("sample", [sample_sde, sample_flow])
def test_noise_that_chance_may_have_made_is_not(sample):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for noise in (normal(32, 2), 1.5 * normal(40, 2), 50 * normal(31, 2), torch.zeros(0, 2)):
            sample(lambda x, t: -x / VE.sigma(t)[:, None] ** 2, noise, VE, steps=2)
