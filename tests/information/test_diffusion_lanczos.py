"""The estimated spectrum against the exact one: wide and narrow kernels, many equal eigenvalues, few points."""

import math

import pytest
import torch

from entrokit.information.spectral import (
    diffusion_eigenvalues,
    diffusion_lanczos,
    diffusion_spectral_entropy,
    estimate_diffusion_spectrum,
    spectral_entropy,
)

from ..rounding import bound


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def activations(n, clusters=10):
    g = generator(n)
    centre = 2.0 * torch.randn(clusters, 8, generator=g)
    inner = centre[torch.randint(clusters, (n,), generator=g)] + torch.randn(n, 8, generator=g)
    return torch.relu(inner @ torch.randn(8, 64, generator=g)) + 0.1 * torch.randn(n, 64, generator=g)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("of_median", [1.0, 0.5, 0.25, 0.1])
def test_it_is_within_one_percent_of_the_exact_entropy(of_median, alpha):
    x = activations(1500)
    sigma = of_median * float(torch.pdist(x).median())
    exact = diffusion_eigenvalues(x, sigma=sigma, alpha=alpha)
    found = estimate_diffusion_spectrum(x, sigma=sigma, alpha=alpha, generator=generator())
    for t in (1, 2, 5):
        assert float(found.entropy(t)) == pytest.approx(float(spectral_entropy(exact, t)), rel=0.01, abs=1e-4)
    assert float((found.eigenvalues * found.weights).sum()) == pytest.approx(float(exact.sum()), rel=bound(1.0, 1500))


def test_more_equal_eigenvalues_than_the_block_is_wide():
    x = 1000.0 * torch.eye(100).repeat_interleave(8, 0)
    found = estimate_diffusion_spectrum(x, sigma=1.0, block=32, generator=generator())
    assert float(found.entropy()) == pytest.approx(math.log2(100), rel=0.01)
    far = estimate_diffusion_spectrum(1000.0 * torch.arange(500.0)[:, None], sigma=1.0, generator=generator())
    assert float(far.entropy()) == pytest.approx(math.log2(500), rel=1e-6)


def test_where_the_blocks_span_everything_it_is_exact():
    x = activations(60)
    found = estimate_diffusion_spectrum(x, sigma=5.0, block=20, steps=9, generator=generator())
    exact = diffusion_eigenvalues(x, sigma=5.0)
    assert float(found.entropy()) == pytest.approx(float(spectral_entropy(exact)), rel=1e-5)
    for n in (1, 2, 5):
        few = estimate_diffusion_spectrum(x[:n], sigma=5.0)
        assert float(few.entropy()) == pytest.approx(float(diffusion_spectral_entropy(x[:n], sigma=5.0)), abs=1e-5)
    assert float(estimate_diffusion_spectrum(torch.ones(200, 3)).entropy()) == pytest.approx(0.0, abs=1e-5)


def test_tiles_do_not_show(monkeypatch):
    x = activations(300)
    whole = estimate_diffusion_spectrum(x, sigma=5.0, alpha=0.5, steps=3, generator=generator())
    monkeypatch.setattr(diffusion_lanczos, "_TILE", 77)
    tiled = estimate_diffusion_spectrum(x, sigma=5.0, alpha=0.5, steps=3, generator=generator())
    # Eigenvalues are at most 1, and three steps multiply by 300 columns each.
    torch.testing.assert_close(tiled.eigenvalues, whole.eigenvalues, atol=3 * bound(1.0, 300), rtol=0)
    assert float(tiled.entropy()) == pytest.approx(float(whole.entropy()), rel=1e-4)


def test_a_narrow_kernel_far_from_the_origin_keeps_its_digits():
    x = 1e4 + activations(400).double() * 100.0
    sigma = 0.3 * float(torch.pdist(x).median())
    found = estimate_diffusion_spectrum(x, sigma=sigma, generator=generator())
    assert float(found.entropy()) == pytest.approx(float(diffusion_spectral_entropy(x, sigma=sigma)), rel=0.01)


def test_bad_knobs_are_named():
    with pytest.raises(ValueError, match="block and steps must be at least 1, got 0, 8"):
        estimate_diffusion_spectrum(torch.randn(4, 2), block=0)
