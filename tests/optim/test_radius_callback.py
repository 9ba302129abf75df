"""The radius in a trainer, its callback called by hand: what it draws, logs, forgets and refuses."""

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("transformers", reason="the callback is one of transformers")

from entrokit.optim.radius import callback as module
from entrokit.optim.radius import radius_callback

from .radius_network import backward, network


class Trainer:
    """Calls as `transformers.Trainer` does."""

    def __init__(self, callback, **arguments):
        self.callback, self.model = callback, network()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.args = SimpleNamespace(seed=3, **arguments)
        self.state = SimpleNamespace(global_step=0, log_history=[])

    def begin(self):
        self.callback.on_train_begin(self.args, self.state, None, model=self.model)
        return self

    def step(self, lr=0.1):
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad()
        backward(self.model)
        both = {"model": self.model, "optimizer": self.optimizer}
        self.callback.on_pre_optimizer_step(self.args, self.state, None, **both)
        self.optimizer.step()
        self.callback.on_optimizer_step(self.args, self.state, None, **both)
        self.state.global_step += 1

    def log(self):
        logs = {"loss": 1.0}
        self.state.log_history.append(dict(logs))
        self.callback.on_log(self.args, self.state, None, logs=logs)
        return logs


def test_rows_of_every_step_are_drawn_anew(monkeypatch):
    seeds, own = [], module.step_spreads

    def watched(*arguments, generator, **options):
        seeds.append(generator.initial_seed())
        return own(*arguments, generator=generator, **options)

    monkeypatch.setattr(module, "step_spreads", watched)
    trainer = Trainer(radius_callback(max_samples=2)).begin()
    for _ in range(3):
        trainer.step()
    assert seeds == [3_000_009, 3_000_010, 3_000_011]


def test_a_log_is_of_the_steps_since_the_last_and_of_this_run():
    callback = radius_callback(every=2)
    trainer = Trainer(callback).begin()
    for lr in (0.1, 0.1, 0.4):
        trainer.step(lr)
    assert [step for step, _ in callback.history] == [0, 2]
    r = [found.r for _, found in callback.history]
    logs = trainer.log()
    assert logs["radius/r_max"] == r[1] > r[0]
    assert logs["radius/r"] == pytest.approx(sum(r) / 2)
    assert trainer.state.log_history == [logs]
    assert "radius/r" not in trainer.log()
    # A run that broke off leaves nothing to the next one's log.
    trainer.step(), trainer.step()
    trainer.begin()
    assert "radius/r" not in trainer.log()


def test_a_quantile_is_below_the_largest():
    found = []
    for reduction in ("max", 0.5):
        callback = radius_callback(reduction=reduction)
        Trainer(callback).begin().step()
        found.append(callback.history[0][1].r)
    assert found[0] > found[1] > 0.0


@pytest.mark.parametrize("pieces", [{"deepspeed": "zero.json"}, {"fsdp": ["full_shard"]}])
def test_parameters_in_pieces_are_refused(pieces):
    trainer = Trainer(radius_callback(), **pieces)
    with pytest.raises(ValueError, match="FSDP and DeepSpeed hold parameters in pieces"):
        trainer.begin()
    assert not trainer.model._forward_pre_hooks


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"every": 2, "target_r": 1.0},
        {"max_samples": 0},
        {"class_dim": 0},
        {"method": "hessian"},
        {"reduction": "mean"},
        {"target_r": 0.0},
    ],
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        radius_callback(**options)
