"""AWM's models in each other's places: a pull that is 0 at every step, and a loss that trains nothing."""

import copy

import pytest
import torch
from torch import nn

from entrokit.generative.awm import AWMLoss, update_average

G = torch.Generator().manual_seed(0)
REST = (torch.randn(4, 2, generator=G), torch.ones(4), torch.rand(4, 3, generator=G), torch.randn(4, 3, 2, generator=G))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.base, self.head = nn.Linear(2, 4), nn.Linear(4, 2)

    def forward(self, x, t):
        return self.head(self.base(x))


def frozen(model):
    return copy.deepcopy(model).requires_grad_(False)


def sharing(model):
    """Another module around a part that the first one trains."""
    other = Net()
    other.head = model.head
    return other


@pytest.mark.parametrize("of", [lambda model: model, sharing, copy.copy], ids=["itself", "shared-part", "shallow-copy"])
def test_an_anchor_that_moves_with_the_model_is_refused(of):
    model = Net()
    with pytest.raises(ValueError, match="ref_model is the model itself, or shares parameters.*deepcopy"):
        AWMLoss(beta=0.1)(model, of(model), *REST)
    both = AWMLoss(beta=0.1, beta_ema=1.0)
    with pytest.raises(ValueError, match="ema_model is the model itself, or shares parameters"):
        both(model, frozen(model), *REST, ema_model=of(model))


def test_a_function_that_is_its_own_anchor_is_refused():
    model = Net()

    def velocity(x, t):
        return model(x, t)

    with pytest.raises(ValueError, match="ref_model is the model itself"):
        AWMLoss(beta=0.1)(velocity, velocity, *REST)


def test_what_does_not_train_may_be_shared():
    """An adapter's frozen base, and a reference that no weight asks for."""
    model = Net()
    model.base.requires_grad_(False)
    other = Net()
    other.base = model.base
    AWMLoss(beta=0.1)(model, other, *REST)[0].backward()
    assert model.head.weight.grad is not None
    AWMLoss(beta=0.0, beta_ema=0.1)(model, model, *REST, ema_model=other)


@pytest.mark.parametrize("as_function", [False, True])
def test_a_model_and_its_reference_swapped_are_told(as_function):
    model = Net()
    still = frozen(model)
    first = (lambda x, t: still(x, t)) if as_function else still
    with pytest.raises(ValueError, match="velocity has no gradient.*swapped.*the model comes first"):
        AWMLoss(beta=0.1)(first, model, *REST)


def test_numbers_alone_need_no_gradient():
    model = Net()
    with torch.no_grad():
        for pair in ((model, frozen(model)), (frozen(model), model)):
            assert torch.isfinite(AWMLoss(beta=0.1)(*pair, *REST)[0])
    assert not AWMLoss(beta=0.1)(lambda x, t: 0 * x, lambda x, t: x, *REST)[0].requires_grad


def test_an_average_and_its_model_swapped_are_told():
    model = Net()
    average = frozen(model)
    kept = copy.deepcopy(average.state_dict())
    with pytest.raises(ValueError, match="swapped, the average comes first"):
        update_average(model, average, 0.5)
    assert all(torch.equal(kept[name], value) for name, value in average.state_dict().items())
    update_average(average, model, 0.5)
    update_average(copy.deepcopy(model), model, 0.5)
    update_average(nn.Tanh(), nn.Tanh(), 0.5)
