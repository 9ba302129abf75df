"""EntropyGuard in a real trainer: when it speaks, when it stops, what it leaves behind, and that it harms nothing."""

import json
import logging
import math
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the guard of trainers needs transformers")

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from entrokit.engines import guard as module
from entrokit.engines.guard import STATE, EntropyGuard
from tests.processes import TORCHRUN, run

from .conftest import length_reward
from .guarded import collapsing, trainer


def said(caplog):
    return [r for r in caplog.records if r.name == module.__name__]


def test_it_stops_a_collapse_and_leaves_a_checkpoint(tmp_path, caplog):
    guard = EntropyGuard(stop_on="collapse", patience=3, every=1)
    t = trainer(tmp_path, guard, collapsing)
    t.train()
    step = t.state.global_step
    assert step < 60
    assert guard.stopped.name == "collapse"
    assert get_last_checkpoint(str(tmp_path)) == str(tmp_path / f"checkpoint-{step}")
    last = said(caplog)[-1]
    assert last.entrokit_verdict == "collapse"
    assert last.entrokit_step == step
    assert "training is stopped at step" in last.getMessage()
    assert "What to do:" in last.getMessage()


@pytest.mark.parametrize(("own", "engine"), [({"sampled/entropy": 1.0}, "entrokit-trl"), ({}, None)])
def test_a_run_of_our_trainer_is_told_its_options(tmp_path, own, engine):
    guard = EntropyGuard(stop_on="collapse", every=1)
    trainer(tmp_path, guard, lambda step: collapsing(step) | own, max_steps=2).train()
    assert guard.guard.engine == engine


@pytest.mark.parametrize("patience", [1, 4])
def test_patience_is_looks_in_a_row(tmp_path, patience):
    guard = EntropyGuard(stop_on="collapse", patience=1, every=1)
    first = trainer(tmp_path / "one", guard, collapsing)
    first.train()
    patient = trainer(tmp_path / "two", EntropyGuard(stop_on="collapse", patience=patience, every=1), collapsing)
    patient.train()
    assert patient.state.global_step == first.state.global_step + patience - 1


def test_patience_that_a_run_does_not_exhaust_lets_it_end(tmp_path):
    guard = EntropyGuard(stop_on="collapse", patience=60, every=1)
    t = trainer(tmp_path, guard, collapsing)
    t.train()
    assert t.state.global_step == 60
    assert guard.stopped is None
    assert get_last_checkpoint(str(tmp_path)) is None


def test_what_is_not_to_stop_is_said_once(tmp_path, caplog):
    t = trainer(tmp_path, EntropyGuard(stop_on="mismatch", every=1), collapsing)
    t.train()
    assert t.state.global_step == 60
    verdicts = [r.entrokit_verdict for r in said(caplog)]
    assert verdicts[-1] == "collapse"
    assert all(a != b for a, b in pairwise(verdicts))


def test_no_checkpoint_where_none_is_wanted(tmp_path):
    t = trainer(tmp_path, EntropyGuard("collapse", patience=1, every=1, save_before_stop=False), collapsing)
    t.train()
    assert t.state.global_step < 60
    assert get_last_checkpoint(str(tmp_path)) is None


def test_a_healthy_run_is_left_alone_bit_for_bit(tmp_path, caplog):
    def healthy(step):
        return {"entropy": 0.6 - 0.002 * step, "reward": 0.2 + 0.005 * step}

    torch.manual_seed(0)
    alone = trainer(tmp_path / "alone", None, healthy)
    alone.train()
    torch.manual_seed(0)
    guarded = trainer(tmp_path / "guarded", EntropyGuard(stop_on="any", patience=1, every=1), healthy)
    guarded.train()
    assert guarded.state.global_step == 60
    assert not said(caplog)
    for a, b in zip(alone.model.parameters(), guarded.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_resumed_run_goes_on_with_its_verdict(tmp_path, caplog):
    """Stopped from outside in the middle: the streak and the verdict are those that it had."""
    options = {"save_strategy": "steps", "save_steps": 1}
    whole = EntropyGuard(stop_on="collapse", patience=8, every=1)
    t = trainer(tmp_path / "whole", whole, collapsing, **options)
    t.train()
    ended = t.state.global_step
    caplog.clear()
    again = trainer(tmp_path / "again", EntropyGuard(stop_on="collapse", patience=8, every=1), collapsing, **options)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{ended - 3}"))
    assert again.state.global_step == ended
    assert [r.entrokit_verdict for r in said(caplog)] == ["collapse"]
    assert "training is stopped" in said(caplog)[0].getMessage()


def test_after_a_stop_only_what_comes_then_counts(tmp_path):
    guard = EntropyGuard(stop_on="collapse", patience=1, every=1)
    t = trainer(tmp_path, guard, collapsing)
    t.train()
    stopped = t.state.global_step
    state = json.loads((tmp_path / f"checkpoint-{stopped}" / "trainer_state.json").read_text())
    assert state["stateful_callbacks"][STATE]["attributes"]["stopped"] == stopped
    go_on = trainer(tmp_path, EntropyGuard(stop_on="collapse", patience=1, every=1), lambda step: {"entropy": 0.01})
    go_on.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{stopped}"))
    assert go_on.state.global_step == 60


def test_a_checkpoint_of_before_the_guard_can_be_resumed_with_it(tmp_path):
    before = trainer(tmp_path, None, collapsing, max_steps=8, save_strategy="steps", save_steps=8)
    before.train()
    guard = EntropyGuard(stop_on="collapse", patience=1, every=1)
    t = trainer(tmp_path, guard, collapsing, save_strategy="steps", save_steps=10)
    t.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert guard.stopped is not None
    assert (tmp_path / f"checkpoint-{t.state.global_step}").is_dir()


def test_secrets_of_hooks_are_in_no_checkpoint(tmp_path, free_url):
    guard = EntropyGuard("collapse", patience=1, every=1, notify=f"{free_url}/SECRET")
    trainer(tmp_path, guard, collapsing).train()
    states = list(Path(tmp_path).rglob("trainer_state.json"))
    assert states
    assert all("SECRET" not in f.read_text() for f in states)


@pytest.fixture
def free_url():
    """Where nobody listens."""
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}"


def test_transformers_hides_the_loss_that_is_nan_and_not_the_gradient(tmp_path):
    """What the guard relies on: if this changes, its docstring does."""
    t = trainer(tmp_path, None, bad_from=20, max_steps=25)
    t.train()
    rows = {row["step"]: row for row in t.state.log_history if "grad_norm" in row}
    assert math.isfinite(rows[21]["loss"])
    assert not math.isfinite(rows[21]["grad_norm"])


@pytest.mark.parametrize("filtered", [True, False])
def test_it_stops_at_nan_within_its_patience_whatever_is_filtered(tmp_path, filtered):
    guard = EntropyGuard(patience=3, every=10)
    t = trainer(tmp_path, guard, bad_from=20, logging_nan_inf_filter=filtered)
    t.train()
    assert guard.stopped.name == "broken-numbers"
    # A single point might be recovered from: the rule waits for the second, and patience begins there.
    assert t.state.global_step == 23
    assert get_last_checkpoint(str(tmp_path)) is not None


def test_a_learning_rate_of_a_thousand_ends_in_nan_and_is_stopped(tmp_path):
    guard = EntropyGuard(patience=2, every=5)
    t = trainer(tmp_path, guard, learning_rate=1e3, max_grad_norm=1e30, optim="sgd")
    t.train()
    assert guard.stopped.name == "broken-numbers"
    assert t.state.global_step < 60


def test_weights_of_nan_do_not_push_out_a_good_checkpoint(tmp_path, caplog):
    guard = EntropyGuard(patience=3)
    t = trainer(tmp_path, guard, bad_from=20, save_strategy="steps", save_steps=15, save_total_limit=1)
    t.train()
    assert guard.stopped.name == "broken-numbers"
    assert get_last_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint-15")
    assert "they are not saved" in said(caplog)[-1].getMessage()


def test_an_entropy_that_trl_logs_as_none_was_nan(tmp_path):
    guard = EntropyGuard(patience=2)
    rows = {True: {"entropy": None, "reward": 0.3}, False: {"entropy": 0.5, "reward": 0.3}}
    t = trainer(tmp_path, guard, lambda step: rows[step > 30])
    t.train()
    assert guard.stopped.name == "broken-numbers"
    assert t.state.global_step < 36


def test_without_a_norm_of_gradients_the_weights_are_looked_at(tmp_path, monkeypatch):
    seen = []
    guard = EntropyGuard(stop_on="mismatch")
    monkeypatch.setattr(guard.guard, "add", lambda step, row: seen.append(row["loss"]))

    class WithoutNorm(TrainerCallback):
        def on_log(self, args, state, control, logs, **kwargs):
            logs.pop("grad_norm", None)

    t = trainer(tmp_path, None, bad_from=20, max_steps=25)
    t.add_callback(WithoutNorm())
    t.add_callback(guard)
    t.train()
    assert math.isfinite(seen[10])
    assert math.isnan(seen[22])


def test_what_breaks_in_the_guard_breaks_no_training(tmp_path, monkeypatch, caplog):
    def broken(*arguments, **options):
        raise ZeroDivisionError("of a rule")

    monkeypatch.setattr("entrokit.diagnose.guard.diagnose", broken)
    t = trainer(tmp_path, EntropyGuard(every=1), collapsing, max_steps=15)
    t.train()
    assert t.state.global_step == 15
    assert "could not judge step" in said(caplog)[0].getMessage()
    assert said(caplog)[0].levelno == logging.WARNING


def test_words_are_those_of_the_trainer(tmp_path):
    guard = EntropyGuard(stop_on="collapse", every=1)
    trainer(tmp_path, guard, max_steps=1, learning_rate=0.25).train()
    assert guard.guard.config["learning_rate"] == 0.25
    assert guard.guard.engine is None


@pytest.mark.parametrize("wrong", [{"patience": 0}, {"every": 0}, {"stop_on": "colapse"}, {"notify": "ftp://x/y"}])
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValueError, match="patience|every|colapse|http"):
        EntropyGuard(**wrong)


def test_several_processes_stop_together_and_save(tmp_path):
    script, out = Path(__file__).with_name("guarded.py"), tmp_path / "out.json"
    told = run([*TORCHRUN, str(script), str(tmp_path / "run"), str(out)], out)
    assert told["verdict"] == "collapse"
    # The others learn of it at the end of the next step.
    assert told["ends"] == [told["step"] + 1] * 2
    assert get_last_checkpoint(str(tmp_path / "run")) == str(tmp_path / "run" / f"checkpoint-{told['ends'][0]}")


def test_it_judges_what_trl_logs(checkpoint, config, task):
    from transformers import AutoTokenizer
    from trl import GRPOTrainer

    guard = EntropyGuard(every=1)
    t = GRPOTrainer(
        checkpoint,
        reward_funcs=length_reward,
        args=config(),
        train_dataset=task.train,
        processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
        callbacks=[guard],
    )
    t.train()
    found = guard.guard.judge()
    assert guard.guard.engine == "trl"
    assert found.facts.log.kind == "rl"
    assert {"entropy", "reward", "grad_norm", "loss", "length"} <= found.facts.log.series.keys()
    assert found.facts.log.series["entropy"].steps.tolist() == [1, 2, 3, 4]
    assert found.verdict == "insufficient-data"
