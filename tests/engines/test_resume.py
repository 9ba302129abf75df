"""A run that was stopped anywhere goes on as the same run, from the newest checkpoint that is whole."""

import logging
import shutil
from pathlib import Path

import pytest
import torch

from entrokit.engines.trl.checkpoints import (
    MANIFEST,
    load_rank,
    newest_whole,
    save_rank,
    what_is_damaged,
    write_manifest,
)
from entrokit.rlvr import recipe
from entrokit.rlvr.selection import RunningRarePair

from ..processes import TORCHRUN, run
from .trainers import Counter, trainer, weights

TIMES = ("time", "runtime", "per_second")


def settings(out, **options):
    """Generation batches of four steps, epochs of eight, a log every three steps: nothing falls together."""
    return {
        "output_dir": str(out),
        "steps_per_generation": 4,
        "max_steps": 19,
        "logging_steps": 3,
        "save_strategy": "steps",
        "save_steps": 1,
        "num_iterations": 1,
    } | options


def log(t, after):
    rows = [row for row in t.state.log_history if row["step"] > after and "train_runtime" not in row]
    return [{k: v for k, v in row.items() if not any(word in k for word in TIMES)} for row in rows]


@pytest.fixture(scope="module")
def small(task):
    from dataclasses import replace

    return replace(task, train=task.train.select(range(16)))


@pytest.mark.parametrize("spec", ["grpo", "dapo+clip-cov(ratio=0.2, low=0.0, high=9.0)", "grpo+steer(scope='step')"])
def test_the_rest_is_bit_for_bit_the_same(spec, checkpoint, config, small, tmp_path):
    """After steps inside a generation batch, at its end, inside a log, and in later epochs."""
    whole = trainer(checkpoint, config, small, spec, options=settings(tmp_path / "whole"))
    whole.train()
    for step in (1, 6, 8, 11, 17):
        out = tmp_path / f"from{step}"
        out.mkdir()
        shutil.copytree(tmp_path / "whole" / f"checkpoint-{step}", out / f"checkpoint-{step}")
        again = trainer(checkpoint, config, small, spec, options=settings(out))
        torch.manual_seed(99)
        again.train(resume_from_checkpoint=True)
        ends = weights(again)
        assert all(torch.equal(p, ends[n]) for n, p in weights(whole).items()), step
        assert log(again, step) == log(whole, step), step


def test_epochs_have_orders_of_their_own_and_the_first_is_trl_s(checkpoint, config, small):
    t = trainer(checkpoint, config, small, options={"steps_per_generation": 4})
    sampler = t._get_train_sampler(small.train)
    first = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    assert sorted(second) == sorted(first)
    sampler.set_epoch(1)
    assert list(sampler) == second


def test_a_damaged_checkpoint_is_passed_over(checkpoint, config, small, tmp_path, caplog):
    out = tmp_path / "out"
    trainer(checkpoint, config, small, options=settings(out, max_steps=4)).train()
    whole = newest_whole(out)
    assert whole.name == "checkpoint-4"
    optimizer = whole / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-10])
    (out / "checkpoint-3" / MANIFEST).unlink()
    flipped = bytearray((out / "checkpoint-2" / "model.safetensors").read_bytes())
    flipped[-1] ^= 1
    (out / "checkpoint-2" / "model.safetensors").write_bytes(bytes(flipped))
    with caplog.at_level(logging.WARNING):
        assert newest_whole(out).name == "checkpoint-1"
    assert "checkpoint-4 cannot be resumed from: optimizer.pt is damaged" in caplog.text
    assert "checkpoint-3 cannot be resumed from: it was not finished" in caplog.text
    assert "checkpoint-2 cannot be resumed from: model.safetensors is damaged" in caplog.text
    again = trainer(checkpoint, config, small, options=settings(out, max_steps=4))
    with pytest.raises(ValueError, match=r"checkpoint-4 cannot be resumed from: optimizer.pt is damaged"):
        again.train(resume_from_checkpoint=str(whole))
    shutil.rmtree(out / "checkpoint-1")
    with pytest.raises(ValueError, match="holds no checkpoint that is known to be whole"):
        again.train(resume_from_checkpoint=True)


def test_old_checkpoints_go_only_once_the_new_one_is_whole(checkpoint, config, small, tmp_path, monkeypatch):
    out = tmp_path / "out"
    options = settings(out, max_steps=3, save_total_limit=1)
    trainer(checkpoint, config, small, options=options).train()
    assert [f.name for f in out.glob("checkpoint-*")] == ["checkpoint-3"]

    def killed(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("entrokit.engines.trl.resume.write_manifest", killed)
    more = trainer(checkpoint, config, small, options=options | {"max_steps": 5})
    with pytest.raises(KeyboardInterrupt):
        more.train(resume_from_checkpoint=True)
    assert newest_whole(out).name == "checkpoint-3"


def test_a_controllers_state_comes_back(checkpoint, config, small, tmp_path):
    options = settings(tmp_path / "out", max_steps=5)
    trainer(checkpoint, config, small, recipe("grpo", Counter()), options=options).train()
    again = trainer(checkpoint, config, small, recipe("grpo", Counter()), options=options | {"max_steps": 7})
    again.train(resume_from_checkpoint=True)
    assert again.recipe.interventions[0].seen == 7


def test_nothing_but_tensors_and_plain_values_is_read(tmp_path):
    save_rank(tmp_path, 0, {"a": torch.ones(2), "b": [1, "x", None]})
    state = load_rank(tmp_path, 0)
    assert state["b"] == [1, "x", None]
    assert load_rank(tmp_path, 1) is None
    torch.save({"a": Counter()}, tmp_path / "entrokit_rank1.pt")
    with pytest.raises(Exception, match="weights_only|Weights only"):
        load_rank(tmp_path, 1)
    write_manifest(tmp_path)
    assert what_is_damaged(tmp_path) is None
    (tmp_path / MANIFEST).write_text("[1]")
    assert "its manifest cannot be read" in what_is_damaged(tmp_path)


def test_prompts_that_are_chosen_again_and_again_go_on_too(checkpoint, config, small, tmp_path):
    def make(out):
        selector = RunningRarePair([1, 3] + [2] * 14, 4, width=1)
        options = settings(out, max_steps=14, per_device_train_batch_size=8)
        return trainer(checkpoint, config, small, "grpo", options=options, prompts=selector)

    whole = make(tmp_path / "whole")
    whole.train()
    for step in (3, 8, 10):
        out = tmp_path / f"from{step}"
        out.mkdir()
        shutil.copytree(tmp_path / "whole" / f"checkpoint-{step}", out / f"checkpoint-{step}")
        again = make(out)
        again.train(resume_from_checkpoint=True)
        assert log(again, step) == log(whole, step), step
        ends = weights(again)
        assert all(torch.equal(p, ends[n]) for n, p in weights(whole).items()), step


def test_two_processes_go_on_bit_for_bit(checkpoint, tmp_path):
    """From inside a generation batch, its end, and a later epoch; each rank has a state of its own."""
    script, out = Path(__file__).with_name("resumed.py"), tmp_path / "out.json"
    results = run([*TORCHRUN, str(script), checkpoint, str(tmp_path), str(out), "2", "4", "9"], out)
    whole = results.pop("whole")
    assert whole["processes"] == 2
    assert whole["state"]["siren"]["anchor"] > 0
    for step, again in results.items():
        assert again["weights"] == whole["weights"], step
        assert again["state"] == whole["state"], step
        after = [row for row in whole["log"] if row["step"] > int(step)]
        assert [row for row in again["log"] if row["step"] > int(step)] == after, step
    assert len({load_rank(tmp_path / "whole" / "checkpoint-2", rank)["rank"] for rank in (0, 1)}) == 2


def test_another_number_of_processes_is_another_run(checkpoint, config, small, tmp_path):
    out = tmp_path / "out"
    trainer(checkpoint, config, small, options=settings(out, max_steps=2)).train()
    folder = out / "checkpoint-2"
    save_rank(folder, 0, load_rank(folder, 0) | {"processes": 2})
    write_manifest(folder)
    again = trainer(checkpoint, config, small, options=settings(out, max_steps=4))
    with pytest.raises(ValueError, match=r"was saved by 2 processes, and this run has 1.*start a new run"):
        again.train(resume_from_checkpoint=True)


def test_machines_with_folders_of_their_own_are_told_so(checkpoint, config, small, tmp_path, monkeypatch, caplog):
    """At the first checkpoint, and at a resume, where a process without its state would let the others wait."""
    out = tmp_path / "out"
    with monkeypatch.context() as elsewhere, caplog.at_level(logging.WARNING):
        elsewhere.setattr("entrokit.engines.trl.resume.saved_ranks", lambda folder: set())
        trainer(checkpoint, config, small, options=settings(out, max_steps=1)).train()
    assert "checkpoint-1 lacks the state of processes [0]" in caplog.text
    caplog.clear()
    trainer(checkpoint, config, small, options=settings(out, max_steps=2)).train()
    assert "lacks the state" not in caplog.text
    folder = out / "checkpoint-2"
    (folder / "entrokit_rank0.pt").rename(folder / "entrokit_rank1.pt")
    write_manifest(folder)
    again = trainer(checkpoint, config, small, options=settings(out, max_steps=4))
    with pytest.raises(ValueError, match=r"checkpoint-2 lacks the state of process 0: .*output_dir must be one folder"):
        again.train(resume_from_checkpoint=True)
