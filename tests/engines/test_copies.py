"""A copy of a model that a trainer has used computes with its own weights."""

import copy
import functools
import pickle
import types

import pytest
import torch
from transformers import AutoTokenizer

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.engines.trl.head import KEYWORD, HeadRequest, attach_head
from entrokit.training.pocket import fresh_model

from .conftest import TINY, length_reward

IDS = torch.arange(12).view(2, 6)


def asked(model):
    request = HeadRequest(IDS[:, 3:], torch.ones(2, 3, dtype=torch.bool), 1.0, frozenset({"logp"}))
    return model(input_ids=IDS, attention_mask=torch.ones_like(IDS), **{KEYWORD: request})["logp"]


def doubled(model):
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2.0)


def test_a_snapshot_does_not_follow_the_live_policy(checkpoint, config, task):
    t = EntropyGRPOTrainer(
        checkpoint, reward_funcs=length_reward, args=config(max_steps=1), train_dataset=task.train, recipe="grpo"
    )
    t.train()
    snapshot = copy.deepcopy(t.model).eval()
    before, before_asked = snapshot(IDS).logits.clone(), asked(snapshot).clone()
    doubled(t.model)
    assert torch.equal(snapshot(IDS).logits, before)
    assert torch.equal(asked(snapshot), before_asked)
    assert (t.model(IDS).logits - before).abs().max() > 0.1
    assert all(g is not None for g in torch.autograd.grad(snapshot(IDS).logits.sum(), list(snapshot.parameters())))


@pytest.mark.parametrize("native", [False, True], ids=["head", "native logits"])
def test_a_second_trainer_on_the_same_model_has_a_reference_of_its_own(config, task, checkpoint, monkeypatch, native):
    if native:
        from entrokit.engines.trl import head

        def unknown(*args):
            raise head.UnknownHeadError("it is asked for native logits here")

        monkeypatch.setattr(head, "head_parameters", unknown)
    model = fresh_model(TINY)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
    for _ in range(2):
        t = EntropyGRPOTrainer(
            model,
            reward_funcs=length_reward,
            args=config(max_steps=3, learning_rate=0.05),
            train_dataset=task.train,
            processing_class=tokenizer,
            recipe="grpo+reference-kl(beta=0.1)",
        )
        t.train()
        kls = [row["kl"] for row in t.state.log_history if "kl" in row]
        assert kls[-1] > 1e-4


def test_attaching_twice_is_attaching_once_and_a_model_stays_picklable():
    model = fresh_model(TINY).eval()
    attach_head(model)
    first = model.forward
    attach_head(model)
    assert model.forward == first
    again = pickle.loads(pickle.dumps(model.state_dict()))
    assert again.keys() == model.state_dict().keys()


@pytest.mark.parametrize("bound", [True, False], ids=["a method", "a partial"])
def test_what_others_put_in_the_place_of_forward_stays(bound):
    """As accelerate's hooks and Liger's patches do."""
    model = fresh_model(TINY).eval()
    calls = []

    def instead(self, *args, **kwargs):
        calls.append(self)
        return type(self).forward(self, *args, **kwargs)

    model.forward = types.MethodType(instead, model) if bound else functools.partial(instead, model)
    attach_head(model)
    assert torch.equal(model(IDS).logits, type(model).forward(model, IDS).logits)
    assert calls == [model]
    twin = copy.deepcopy(model)
    before = twin(IDS).logits.clone()
    assert calls[-1] is twin
    doubled(model)
    assert torch.equal(twin(IDS).logits, before)


def test_a_method_of_something_else_stays_its_own():
    model = fresh_model(TINY).eval()

    class Counter:
        def __init__(self, forward):
            self.forward, self.calls = forward, 0

        def call(self, *args, **kwargs):
            self.calls += 1
            return self.forward(*args, **kwargs)

    counter = Counter(model.forward)
    model.forward = counter.call
    attach_head(model)
    model(IDS)
    assert counter.calls == 1


def test_in_half_precision_a_second_trainer_has_a_reference_of_its_own(config, task, checkpoint, monkeypatch):
    """accelerate wraps TRL's forward then."""
    from trl import GRPOTrainer

    from entrokit.engines.trl import head

    def unknown(*args):
        raise head.UnknownHeadError("it is asked for native logits here")

    monkeypatch.setattr(head, "head_parameters", unknown)
    model = fresh_model(TINY)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
    options = {"max_steps": 3, "learning_rate": 0.05, "bf16": True}
    common = {"reward_funcs": length_reward, "train_dataset": task.train, "processing_class": tokenizer}
    GRPOTrainer(model, args=config(**options), **common).train()
    t = EntropyGRPOTrainer(model, args=config(**options), recipe="grpo+reference-kl(beta=0.1)", **common)
    t.train()
    assert [row["kl"] for row in t.state.log_history if "kl" in row][-1] > 1e-4
