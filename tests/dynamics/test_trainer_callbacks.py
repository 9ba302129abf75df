"""Callbacks of the `transformers` trainer, in one run that accumulates gradients: charges, and how far it went."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from entrokit.dynamics.laziness import LazinessTracker, laziness_callback
from entrokit.dynamics.noether import noether_callback

from .noether_network import X, Y, network


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network(torch.float32)

    def forward(self, x, labels):
        logits = self.body(x)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    torch.manual_seed(0)
    model, charges = Classifier(), noether_callback(tolerance=1e-2)
    tracker = LazinessTracker(model.body, X[:6].float(), "0.weight", hidden=model.body[:4])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    arguments = transformers.TrainingArguments(
        str(tmp_path_factory.mktemp("run")), max_steps=4, logging_steps=2, warmup_steps=2, save_strategy="no",
        report_to=[], use_cpu=True, per_device_train_batch_size=2, gradient_accumulation_steps=2, disable_tqdm=True,
    )  # fmt: skip
    rows = [{"x": x.float(), "labels": y} for x, y in zip(X, Y, strict=True)]
    start = model.body[0].weight.detach().clone()
    distance = laziness_callback(tracker)
    callbacks = [charges, distance]
    trainer = transformers.Trainer(
        model, arguments, train_dataset=rows, optimizers=(optimizer, None), callbacks=callbacks
    )
    trainer.train()
    return model, charges, distance, start


def test_charges_of_a_run(trained):
    model, callback, *_ = trained
    assert callback.monitor.steps == 4
    assert callback.monitor.broken() == {}
    assert [row["step"] for row in callback.history[:2]] == [2.0, 4.0]
    last = callback.history[1]
    name = "rescale(body.2.weight, body.2.bias / body.4.weight)"
    square = sum(
        float(p.detach().square().sum()) for p in (model.body[2].weight, model.body[2].bias, model.body[4].weight)
    )
    assert abs(last[f"noether/{name}/residual"]) < 1e-6 * square / 0.05
    assert last[f"noether/{name}/kinetic"] != 0.0


def test_how_far_a_run_went(trained):
    model, _, callback, start = trained
    assert [row["step"] for row in callback.history] == [2.0, 4.0]
    assert len(callback.tracker.history) == 3
    assert callback.tracker.history[0]["weight_change"] == 0.0
    moved = float((model.body[0].weight.detach() - start).norm())
    assert callback.history[-1]["weight_change"] == pytest.approx(moved, rel=1e-6)
    assert 0 < callback.history[-1]["representation_alignment"] <= 1 + 1e-9
    assert model.training


def test_a_tracker_with_a_start_keeps_it():
    pytest.importorskip("transformers")
    model = network()
    tracker = LazinessTracker(model, X[:3], "0.weight")
    tracker.snapshot()
    callback = laziness_callback(tracker)
    with torch.no_grad():
        model[0].weight.add_(1.0)
    callback.on_train_begin(None, None, None)
    assert len(tracker.history) == 1


@pytest.mark.parametrize("callback", [noether_callback, lambda: laziness_callback(None)])
def test_without_transformers_the_error_says_what_to_install(monkeypatch, callback):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="entrokit"):
        callback()
