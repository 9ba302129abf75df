"""What `RadiusClip` keeps of a model's inputs, until when, and how it lets go of the model."""

import copy
import gc
import math
import weakref

import pytest
import torch
from torch import nn

from entrokit.optim.radius import RadiusClip

from .radius_network import X, Y, adamw, backward, network


def test_a_copy_of_the_model_takes_no_batch_along():
    model = network()
    optimizer = RadiusClip(adamw(model, 0.1), model)
    backward(model)
    assert len(optimizer._seen.calls) == 1
    twin = copy.deepcopy(model)
    (hook,) = twin._forward_pre_hooks.values()
    assert not hook.calls
    # Nobody would ever clear what a copy that is trained on its own remembers.
    backward(twin)
    assert not hook.calls


def hooks(model):
    return [*model._forward_pre_hooks, *(h for p in model.parameters() for h in p._post_accumulate_grad_hooks or ())]


@pytest.mark.parametrize("how", ["close", "collect"])
def test_it_lets_go_of_the_model(how):
    model = network()
    optimizer = RadiusClip(adamw(model, 0.1), model)
    x = X.clone()
    backward(model, x)
    assert hooks(model)
    if how == "close":
        optimizer.close()
        with pytest.raises(RuntimeError, match="RadiusClip: it was closed; call"):
            optimizer.step()
        optimizer.step(inputs=X)
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
        optimizer.close()
    else:
        del optimizer
        gc.collect()
    assert not hooks(model)
    kept = weakref.ref(x)
    del x
    model.zero_grad()
    gc.collect()
    assert kept() is None


def test_a_closed_one_stays_closed_in_a_copy():
    model = network()
    optimizer = RadiusClip(adamw(model, 0.1), model)
    optimizer.close()
    assert not hooks(copy.deepcopy(optimizer).model)


def test_a_copy_watches_its_own_model():
    model = network()
    optimizer = RadiusClip(adamw(model, 30.0), model)
    twin = copy.deepcopy(optimizer)
    backward(twin.model)
    twin.step()
    assert twin.last.of == 6
    assert twin.last.scale < 1.0
    assert optimizer.last is None
    assert len(hooks(twin.model)) == len(hooks(model)) + 1  # the copied hook, which is detached


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("set_to_none", [False, True])
def test_a_skipped_step_s_samples_do_not_count(late, set_to_none):
    model = network()
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=0.1), model)
    for x in (X[:2], X[:3]):
        # Gradients may be reset before the model is called, or between that and its backward pass.
        if not late:
            optimizer.zero_grad(set_to_none)
        loss = nn.functional.cross_entropy(model(x), Y[: len(x)])
        if late:
            optimizer.zero_grad(set_to_none)
        loss.backward()
    optimizer.step()
    assert optimizer.last.of == 3


def test_a_gradient_scaler_skips_a_step_and_its_samples():
    model = network(torch.float32)
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=0.1), model)
    scaler = torch.amp.GradScaler("cpu")
    of = []
    for factor in (1.0, math.inf, 1.0):
        optimizer.zero_grad()
        scaler.scale(factor * nn.functional.cross_entropy(model(X.float()), Y)).backward()
        scaler.step(optimizer)
        scaler.update()
        of.append((optimizer.last.of, optimizer.state_dict()["radius"]["steps"]))
    assert of == [(6, 1), (6, 1), (6, 2)]


def test_micro_batches_beyond_what_is_remembered_do_not_upset_the_count():
    model = network()
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=0.1), model)
    for _ in range(70):
        backward(model)
    loss = nn.functional.cross_entropy(model(X[:2]), Y[:2])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    assert optimizer.last.of == 2


def test_a_group_that_is_added_is_followed():
    model = network()
    optimizer = RadiusClip(torch.optim.SGD(model[0].parameters(), lr=0.1), model)
    optimizer.add_param_group({"params": model[2].parameters()})
    model[0].requires_grad_(False)
    backward(model, X[:2])
    optimizer.zero_grad()
    backward(model, X[:3])
    optimizer.step()
    assert optimizer.last.of == 3
