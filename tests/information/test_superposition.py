"""Effective features: the sheet's numbers and identities, streams, gradients; the autoencoder and the toy models."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.information.superposition import (
    EffectiveFeatureMeter,
    TiedSparseAutoencoder,
    effective_features,
    fit_sae,
    sparse_autoencoder_loss,
    superposition_ratio,
    toy_models,
)

Z = torch.tensor([[1, 0, 0, 2], [0, 3, 0, 0], [2, 0, 0, 1], [0, 1, 0, 0]], dtype=torch.float64)
codes = st.integers(0, 10**6).map(
    lambda seed: torch.rand(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
)


def test_check_1_worked_numbers():
    assert float(effective_features(Z)) == pytest.approx(2.971004, abs=1e-6)
    assert float(effective_features(Z).log()) == pytest.approx(1.088900, abs=1e-6)
    assert float(superposition_ratio(Z, 2)) == pytest.approx(1.485502, abs=1e-6)
    for order, expected in ((0, 3.0), (2, 2.941176), (math.inf, 2.5)):
        assert float(effective_features(Z, order)) == pytest.approx(expected, abs=1e-6)


@given(codes)
def test_check_2_identities(z):
    F = float(effective_features(z))
    assert float(effective_features(7.0 * z)) == pytest.approx(F)
    assert float(effective_features(z.flip(0)[:, torch.randperm(6)])) == pytest.approx(F)
    p = z.sum(0) / z.sum()
    halves = torch.cat([z[:, :1] / 2, z[:, :1] / 2, z[:, 1:]], 1)
    assert float(effective_features(halves)) == pytest.approx(F * 2 ** float(p[0]))
    orders = [float(effective_features(z, q)) for q in (0, 0.5, 1, 2, 50, math.inf)]
    assert all(a >= b - 1e-9 for a, b in pairwise(orders))
    assert 1 <= F <= 6


def test_uniform_and_single_shares():
    assert float(effective_features(torch.ones(3, 64, dtype=torch.float64))) == pytest.approx(64.0, abs=1e-9)
    assert float(effective_features(torch.eye(64)[:1])) == 1.0


@given(codes, st.integers(1, 4))
def test_check_3_streams_and_convolutions(z, cut):
    meter = EffectiveFeatureMeter(n_neurons=3)
    meter.update(z[:cut])
    half = meter.state_dict()
    meter = EffectiveFeatureMeter(n_neurons=3)
    meter.load_state_dict(half)
    meter.update(z[cut:])
    found = meter.compute()
    assert found["F"] == pytest.approx(float(effective_features(z)), abs=1e-10)
    assert found["psi"] == pytest.approx(found["F"] / 3)
    assert found["hill2"] == pytest.approx(float(effective_features(z, 2)))
    assert found["live"] == 6
    image = z.reshape(5, 6, 1, 1).expand(5, 6, 2, 3)
    assert float(effective_features(image.movedim(1, -1))) == pytest.approx(found["F"])
    meter.reset()
    with pytest.raises(RuntimeError, match="call update"):
        meter.compute()


def test_check_4_parameters_and_losses():
    torch.manual_seed(0)
    model, x = TiedSparseAutoencoder(5, 20).double(), torch.randn(7, 5, dtype=torch.float64)
    assert sum(p.numel() for p in model.parameters()) == 20 * 5 + 20
    z, x_hat = model(x)
    torch.testing.assert_close(x_hat, z @ model.weight)
    assert float(sparse_autoencoder_loss(x, z, x_hat, 0.0)) == pytest.approx(float(((x - x_hat) ** 2).sum() / 7))
    summed = sparse_autoencoder_loss(x, z, x_hat, 0.3)
    averaged = sparse_autoencoder_loss(x, z, x_hat, 0.3 * 20 / 5, "mean")
    assert float(summed) == pytest.approx(5 * float(averaged), abs=1e-9)
    with pytest.raises(ValueError, match="'sum' or 'mean'"):
        sparse_autoencoder_loss(x, z, x_hat, 0.3, "none")


def test_check_5_the_gradient():
    z = (Z + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(effective_features, (z,))
    F = effective_features(z)
    F.backward()
    p = z.detach().sum(0) / z.detach().sum()
    expected = -(F.detach() / z.detach().sum()) * (p.log() + F.detach().log())
    torch.testing.assert_close(z.grad, expected.expand(4, 4))


def test_the_autoencoder_finds_orthogonal_features_and_keeps_its_best_epoch():
    generator = torch.Generator().manual_seed(0)
    f = torch.where(torch.rand(2000, 6, generator=generator) < 0.7, 0.0, torch.rand(2000, 6, generator=generator))
    fit = fit_sae(f, expansion=2, l1=0.02, max_epochs=60, lr=1e-2, generator=generator)
    assert fit.fvu < 0.1
    assert float(effective_features(fit.encode(f))) == pytest.approx(6.0, abs=1.0)
    with torch.no_grad():
        z, x_hat = fit.model(f)
        assert float(sparse_autoencoder_loss(f, z, x_hat, 0.02)) <= 1.05 * min(fit.losses)
    again = fit_sae(f, expansion=2, l1=0.02, max_epochs=60, lr=1e-2, generator=torch.Generator().manual_seed(0))
    assert len(again.losses) <= 60


def test_training_stops_when_the_loss_no_longer_falls():
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="unexplained"):
        fit = fit_sae(x, l1=5.0, lr=1e-2, batch_size=64, max_epochs=800, patience=3)
    assert 3 < len(fit.losses) < 800
    assert min(fit.losses[-3:]) > min(fit.losses[:-3])


def test_normalising_is_recorded_and_undoes_scale():
    x = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="unexplained"):
        a, b = (fit_sae(c * x, normalize="rms", max_epochs=3) for c in (1.0, 100.0))
    assert b.scale == pytest.approx(100 * a.scale)
    torch.testing.assert_close(a.encode(x), b.encode(100 * x), atol=1e-4, rtol=1e-4)
    assert a.fvu == pytest.approx(b.fvu, rel=1e-3)


def test_a_collapsed_autoencoder_is_told():
    x = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=r"all but 0: lower l1"):
        fit_sae(x, l1=1000.0, lr=0.1, max_epochs=20)
    with pytest.warns(UserWarning, match="collapsed"):
        assert float(effective_features(torch.zeros(3, 2))) == 0.0
    meter = EffectiveFeatureMeter(2)
    meter.update(torch.zeros(3, 2))
    with pytest.warns(UserWarning, match="collapsed"):
        found = meter.compute()
    assert (found["F"], found["psi"], found["live"]) == (0.0, 0.0, 0.0)
    assert math.isnan(found["entropy"])


def test_no_codes_are_no_collapse():
    for measure in (effective_features, lambda z: superposition_ratio(z, 2)):
        with pytest.raises(ValueError, match=r"no codes in shape \[0, 4\]"):
            measure(torch.empty(0, 4))
    meter = EffectiveFeatureMeter(2)
    meter.update(torch.empty(0, 4))
    with pytest.raises(RuntimeError, match="nothing to compute from"):
        meter.compute()
    meter.update(torch.ones(1, 4))
    before = meter.compute()
    meter.update(torch.empty(0, 4))
    assert meter.compute() == before


def test_toy_models_without_sparsity_drop_all_but_the_important_features():
    dense, sparse = toy_models([0.0, 0.95], generator=torch.Generator().manual_seed(0))
    assert dense.weight.shape == (5, 20)
    assert dense.effective_features() < sparse.effective_features()
    assert dense.weight.square().sum(0)[:3].min() > dense.weight.square().sum(0)[10:].max()
    assert dense.frobenius_ratio() > 0
    acts = sparse.activations(300, torch.Generator().manual_seed(0))
    assert acts.shape == (300, 5)
    assert float((acts == 0).all(1).double().mean()) == pytest.approx(0.95**20, abs=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_features(torch.tensor([math.nan])), "finite codes"),
        (lambda: effective_features(Z, -1), "order must be >= 0"),
        (lambda: superposition_ratio(Z, 0), "n_neurons"),
        (lambda: EffectiveFeatureMeter(0), "n_neurons"),
        (lambda: EffectiveFeatureMeter(1).update(torch.tensor(1.0)), "expected finite codes"),
        (lambda: EffectiveFeatureMeter(1).load_state_dict({"n_neurons": 2, "mass": None}), "of 2 neurons, not 1"),
        (lambda: fit_sae(torch.ones(5, 2)), "all samples are equal"),
        (lambda: fit_sae(torch.randn(5)), r"samples \[S, N\]"),
        (lambda: fit_sae(torch.randn(5, 2), expansion=0), "must be above 0"),
        (lambda: fit_sae(torch.randn(5, 2), normalize="max"), "'max'"),
        (lambda: TiedSparseAutoencoder(0, 2), "sizes must be"),
        (lambda: toy_models([1.0]), r"in \[0, 1\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_meter_refuses_another_dictionary():
    meter = EffectiveFeatureMeter(2)
    meter.update(Z)
    with pytest.raises(ValueError, match="codes of 3 features after some of 4"):
        meter.update(Z[:, :3])
