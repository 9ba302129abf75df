"""What a monitor can be attached to: models, optimizers, trainers; and what is refused."""

import pytest
import torch
from torch import nn

from entrokit.dynamics.noether import (
    NoetherMonitor,
    Part,
    Symmetry,
)

from .noether_network import largest, network, watched


def test_symmetries_that_are_not_trained_as_a_whole_are_left_out():
    model = network()
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD([*model[1:4].parameters(), model[4].bias], lr=0.05)
    monitor = NoetherMonitor(model, optimizer)
    assert monitor.left_out["scale(0.weight, 0.bias)"] == "0.weight is not trained by this optimizer"
    assert monitor.left_out["rescale(2.weight, 2.bias / 4.weight)"] == "4.weight is not trained by this optimizer"
    watched(model, optimizer, 1, monitor)
    assert set(monitor.charges()) == {"rescale(1.weight, 1.bias / 2.weight)", "translation(4.bias)"}


def test_before_the_first_step_there_is_nothing_to_say():
    model = network()
    monitor = NoetherMonitor(model, torch.optim.SGD(model.parameters(), lr=0.05))
    assert monitor.charges() == monitor.residuals() == monitor.summary() == monitor.broken() == {}


class Wrapped:
    def __init__(self, optimizer):
        self.optimizer = optimizer


def test_an_optimizer_may_be_wrapped():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    assert largest(watched(model, optimizer, 1, NoetherMonitor(model, Wrapped(optimizer)))) < 1e-12


def test_other_optimizers_and_groups_that_are_none_are_refused():
    model = network()
    sgd = torch.optim.SGD(model.parameters(), lr=0.05)
    with pytest.raises(TypeError, match="the law is that of torch.optim.SGD, and AdamW moves by another"):
        NoetherMonitor(model, torch.optim.AdamW(model.parameters()))
    with pytest.raises(TypeError, match="and AdamW moves by another"):
        NoetherMonitor(model, Wrapped(Wrapped(torch.optim.AdamW(model.parameters()))))
    with pytest.raises(ValueError, match="Nesterov"):
        NoetherMonitor(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True))
    with pytest.raises(ValueError, match="no symmetry to monitor; left out: none was found, give groups"):
        NoetherMonitor(nn.Linear(2, 1), torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.05))
    with pytest.raises(ValueError, match="no symmetry to monitor"):
        NoetherMonitor(model, sgd, [])
    with pytest.raises(ValueError, match=r"scale\(head\): the model has no parameter 'head'"):
        NoetherMonitor(model, sgd, [Symmetry("scale", (Part("head"),))])
    with pytest.raises(ValueError, match=r"0\.weight: axis 0 of shape \[6, 5\] is not 4 blocks"):
        NoetherMonitor(model, sgd, [Symmetry("scale", (Part("0.weight", 4),))])
