"""Batch-norm statistics estimated anew: averages over examples, and what is left where that fails."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from entrokit.dynamics.pruning import (
    linear_mode_connectivity,
    refresh_batch_norm,
)

from .normed_networks import LOADER, X, Y, seeded, trained


def test_the_refresh_is_that_of_torch_where_batches_are_equal_and_nothing_drops_out():
    loader = DataLoader(TensorDataset(X, Y), batch_size=20)
    ours, theirs = trained(0), trained(0)
    refresh_batch_norm(ours, loader)
    update_bn(loader, theirs)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(ours[1], name), getattr(theirs[1], name), rtol=1e-9, atol=1e-12)


def test_the_refresh_is_the_mean_over_examples_and_leaves_dropout_off():
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(5, momentum=0.3)).double()
    refresh_batch_norm(model, [*LOADER, (X[:1] + 100.0, Y[:1])])
    torch.testing.assert_close(model[1].running_mean, X.mean(0), rtol=1e-9, atol=1e-12)
    variance = sum(len(x) * x.var(0) for x, _ in LOADER) / 60
    torch.testing.assert_close(model[1].running_var, variance, rtol=1e-9, atol=1e-12)
    assert model.training
    assert model[1].training
    assert model[1].momentum == 0.3


def test_a_refresh_that_fails_leaves_momentum_and_mode():
    model = trained(0)
    model[1].momentum, kept = 0.3, copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError):
        refresh_batch_norm(model, [LOADER[0], (torch.randn(4, 6).double(), Y[:4])])
    assert model[1].momentum == 0.3
    assert model[1].training
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_batches_of_one_example_have_no_variance():
    model = trained(0)
    kept = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="batch of two"):
        refresh_batch_norm(model, [(X[:1], Y[:1])] * 3)
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_without_batch_norm_there_is_nothing_to_refresh():
    model = nn.Linear(5, 3)
    refresh_batch_norm(model, iter([]))
    a, b = (seeded(lambda: nn.Linear(5, 3).double(), seed) for seed in (0, 1))
    assert linear_mode_connectivity(a, b, LOADER, metric="loss") == linear_mode_connectivity(
        a, b, LOADER, metric="loss", refresh_bn=False
    )
