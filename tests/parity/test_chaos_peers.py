"""Entropies, dimensions and exponents beside those of other packages, on the examples of their own documents."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

# A peer that is there and does not load is a failure.
if find_spec("neurokit2") is None:
    pytest.skip("peers need their own environment: make test-parity", allow_module_level=True)

import antropy
import dysts.flows
import neurokit2
import nolds
from dysts.analysis import gp_dim
from dysts.analysis import kaplan_yorke_dimension as their_dimension

from entrokit.physics.chaos import (
    Lorenz,
    correlation_dimension,
    correlation_sum,
    from_dysts,
    kaplan_yorke_dimension,
    logistic,
    lyapunov_spectrum,
    map_lyapunov_spectrum,
    multiscale_entropy,
    sample_entropy,
)

SIGNALS = {
    "antropy: random": np.random.default_rng(42).random(1000),
    "antropy: sine": np.sin(2 * np.pi * np.arange(3000) / 100),
    "neurokit2: 5 Hz": neurokit2.signal_simulate(duration=2, frequency=5),
    "neurokit2: 5, 12, 40 Hz": neurokit2.signal_simulate(duration=2, frequency=[5, 12, 40]),
    "nolds: walk": np.cumsum(np.random.default_rng(0).normal(size=600)),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_sample_entropy_is_everybodys(name):
    x = SIGNALS[name]
    # A tolerance that no difference of the periodic signals meets but for rounding.
    tolerance = 0.2 * float(np.std(x)) + 1e-7
    found = float(sample_entropy(x, tolerance=tolerance))
    assert found == pytest.approx(antropy.sample_entropy(x, 2, tolerance), rel=1e-9, abs=1e-12)
    assert found == pytest.approx(neurokit2.entropy_sample(x, dimension=2, tolerance=tolerance)[0], rel=1e-9, abs=1e-12)
    assert found == pytest.approx(nolds.sampen(x, 2, tolerance), rel=1e-9, abs=1e-12)


def test_the_numbers_in_antropys_documents():
    x = SIGNALS["antropy: random"]
    assert float(sample_entropy(x, tolerance=0.2 * np.std(x))) == pytest.approx(2.2017, abs=5e-5)
    x = SIGNALS["antropy: sine"]
    assert float(sample_entropy(x, tolerance=0.2 * np.std(x))) == pytest.approx(0.1633, abs=5e-5)
    assert float(sample_entropy(np.arange(1000))) == pytest.approx(0.0, abs=5e-5)


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("fuzzy", [False, True])
def test_neurokits_lengths_and_fuzziness(m, fuzzy):
    x = SIGNALS["nolds: walk"]
    tolerance = 0.2 * float(np.std(x, ddof=1))
    theirs = neurokit2.entropy_sample(x, dimension=m, tolerance=tolerance, fuzzy=fuzzy)[0]
    assert float(sample_entropy(x, m, tolerance, fuzzy=fuzzy)) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("fuzzy", [False, True])
def test_neurokits_multiscale_entropy(fuzzy):
    x = SIGNALS["neurokit2: 5, 12, 40 Hz"]
    index, info = neurokit2.entropy_multiscale(x, dimension=2, scale=12, fuzzy=fuzzy)
    found = multiscale_entropy(x, 2, info["Tolerance"], scales=12, composite=False, fuzzy=fuzzy)
    np.testing.assert_allclose(found.values.numpy(), info["Value"], rtol=1e-9)
    assert float(found.index) == pytest.approx(index, rel=1e-9)


def test_neurokits_composite_kind_does_not_average():
    """Its series of an offset are every τ-th point, not block means, so that it is another quantity."""
    x = SIGNALS["nolds: walk"]
    tolerance = 0.2 * float(np.std(x, ddof=1))
    theirs = neurokit2.entropy_multiscale(x, dimension=2, scale=[2, 3], tolerance=tolerance, method="CMSEn")[1]["Value"]
    decimated = [
        np.mean([float(sample_entropy(x[k : 600 // s * s : s], 2, tolerance)) for k in range(s)]) for s in (2, 3)
    ]
    np.testing.assert_allclose(theirs, decimated, rtol=1e-9)
    averaged = multiscale_entropy(x, 2, tolerance, scales=[2, 3], fuzzy=False, edge="drop").values.numpy()
    assert np.all(np.abs(averaged - theirs) > 0.01)


def test_noldss_correlation_dimension_counts_points_with_themselves():
    x = SIGNALS["nolds: walk"]
    radii = np.std(x, ddof=1) * np.geomspace(0.1, 0.5, 24)
    theirs = nolds.corr_dim(x, 3, rvals=[float(r) for r in radii], fit="poly")
    states = torch.from_numpy(x).unfold(0, 3, 1)
    share = correlation_sum(states, radii).numpy()
    with_themselves = np.polyfit(np.log(radii), np.log(share + 1 / (len(states) - 1)), 1)[0]
    assert theirs == pytest.approx(with_themselves, rel=1e-9)
    unit = float(states.std(correction=0))
    own = correlation_dimension(states, r_min=radii[0] / unit, r_max=radii[-1] / unit)
    assert own == pytest.approx(np.polyfit(np.log(radii), np.log(share), 1)[0], rel=1e-9)
    assert own > theirs


@pytest.mark.parametrize("r", [2.5, 3.4, 3.7, 4.0])
def test_noldss_logistic_maps_are_as_chaotic(r):
    """Their own test: of a hundred points the sign is known."""
    data = np.fromiter(nolds.datasets.logistic_map(0.1, 100, r=r), dtype="float64")
    theirs = max(nolds.lyap_e(data, emb_dim=6, matrix_dim=2))
    found = float(map_lyapunov_spectrum(logistic(r), [0.1], 2000, transient=100))
    assert np.sign(theirs) == np.sign(found)


def test_a_flow_of_dysts_is_our_flow():
    theirs, ours = from_dysts(dysts.flows.Lorenz()), Lorenz()
    x = torch.tensor([[1.0, 2.0, 20.0], [-3.0, 0.5, 11.0]], dtype=torch.float64)
    torch.testing.assert_close(theirs(x), ours(x), rtol=1e-3, atol=1e-2)
    found = lyapunov_spectrum(theirs, ours.start, 0.01, 300)
    own = lyapunov_spectrum(Lorenz(beta=float(dysts.flows.Lorenz().beta)), ours.start, 0.01, 300)
    torch.testing.assert_close(found, own, rtol=1e-9, atol=1e-9)


def test_their_dimension_exceeds_the_phase_space():
    spectrum = [0.03, 0.005, -0.0015]
    with pytest.warns(UserWarning, match="never crosses zero"):
        theirs = float(their_dimension(spectrum))
    assert theirs > 20
    assert float(kaplan_yorke_dimension(spectrum)) == 3
    known = [0.9056, 0, -14.5723]
    assert float(kaplan_yorke_dimension(known)) == pytest.approx(float(their_dimension(known)))


def test_their_gp_dim_is_no_correlation_dimension():
    line = np.random.default_rng(0).random((1500, 1))
    assert float(np.ravel(gp_dim(line))[0]) > 1.4
    assert correlation_dimension(line) == pytest.approx(1.0, abs=0.1)
