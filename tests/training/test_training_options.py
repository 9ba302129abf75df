"""What a real model needs of a run: adapters, precision, checkpointing, and progress from the first second."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from entrokit.diagnose import accounts_of
from entrokit.rlvr.tasks import load_task
from entrokit.runs import Notes, Run
from entrokit.runs.layout import ACCOUNT
from entrokit.training import arguments, session
from entrokit.training.session import resume, train
from entrokit.training.settings import TrainSettings

SMALL = {"steps": 4, "prompts": 4, "completions": 4, "evaluation_prompts": 6}


def settings(model, out, **options):
    return TrainSettings("grpo", str(out), model=str(model), **SMALL | options)


@pytest.fixture
def trainers(monkeypatch):
    """The trainers that were made, in order."""
    found, init = [], session._Training.__init__

    def kept(self, *args, **kwargs):
        init(self, *args, **kwargs)
        found.append(self.trainer)

    monkeypatch.setattr(session._Training, "__init__", kept)
    return found


def test_adapters_alone_are_trained_and_written(character_checkpoint, tmp_path, trainers):
    train(settings(character_checkpoint, tmp_path / "run", lora=3, account_every=2, save_every=2))
    before = AutoModelForCausalLM.from_pretrained(character_checkpoint).state_dict()
    moved = {n for n, p in trainers[0].model.named_parameters() if p.requires_grad}
    assert moved
    assert all("lora_" in name for name in moved)
    linear = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in moved} == set(linear)
    for name, weight in trainers[0].model.get_base_model().state_dict().items():
        if "lora_" not in name:
            assert torch.equal(weight, before[name.replace(".base_layer", "")]), name
    adapters = load_file(tmp_path / "run" / "checkpoint" / "adapter_model.safetensors")
    assert len(adapters) == len(moved)
    assert all(3 in weight.shape for weight in adapters.values())
    config = Run.load(tmp_path / "run").config
    assert (config["lora"], config["learning_rate"]) == (3, 1e-4)
    assert resume(tmp_path / "run").steps == 4


def every_other(completions, **kwargs):
    return [float(i % 2) for i in range(len(completions))]


@pytest.mark.parametrize(("asked", "sampled"), [(1, 1), (0, 4), (12, 4)])
def test_an_account_looks_at_the_rows_that_were_asked_for(character_checkpoint, tmp_path, asked, sampled):
    """Of four in a step; more than there are is all of them."""
    options = {"account_every": 1, "account_rows": asked, "evaluation_prompts": 0, "updates": 4}
    task = replace(load_task("countdown", train_size=16, eval_size=1), reward=every_other, correct=None)
    train(settings(character_checkpoint, tmp_path / "run", **options), task=task)
    accounts = accounts_of(tmp_path / "run" / ACCOUNT, Notes())
    assert {(a.rows, a.sampled) for a in accounts} == {(4, sampled)}


def radii(folder):
    return [tuple(Run.load(folder).series(f"radius/{name}")[1]) for name in ("r", "scale")]


def test_steps_are_measured_in_radii_and_clipped_where_that_was_asked_for(character_checkpoint, tmp_path, trainers):
    """Updates of one prompt each; of the same steps, the clipped run's first is the measured run's."""
    task = replace(load_task("countdown", train_size=16, eval_size=1), reward=every_other, correct=None)
    options = {"evaluation_prompts": 0, "updates": 4, "learning_rate": 1e-2}
    for name, asked in {
        "none": {},
        "measured": {"radius_every": 1, "radius_rows": 0},
        "some": {"radius_every": 1, "radius_rows": 2},
        "clipped": {"radius_every": 1, "radius_rows": 0, "radius_clip": 0.05},
    }.items():
        train(settings(character_checkpoint, tmp_path / name, **options, **asked), task=task)
    assert trainers[0].radius is None
    r, scale = radii(tmp_path / "measured")
    assert max(r) > 0.05
    assert set(scale) == {1.0}
    assert [found.rows for _, found in trainers[1].radius.history] == [4] * 4
    assert [found.rows for _, found in trainers[2].radius.history] == [2] * 4
    same = [trainers[i].model.state_dict() for i in (0, 1, 3)]
    assert all(torch.equal(weight, same[1][name]) for name, weight in same[0].items())
    assert not all(torch.equal(weight, same[2][name]) for name, weight in same[0].items())
    proposed = [found for _, found in trainers[3].radius.history]
    assert proposed[0].r == trainers[1].radius.history[0][1].r
    for found in proposed:
        assert found.scale == pytest.approx(min(1.0, 0.05 / found.r), rel=1e-6)


@pytest.mark.parametrize(("name", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_weights_have_the_dtype_that_was_asked_for(character_checkpoint, tmp_path, trainers, name, dtype):
    train(settings(character_checkpoint, tmp_path / "run", dtype=name))
    assert {p.dtype for p in trainers[0].model.parameters()} == {dtype}


def test_auto_is_the_dtype_on_disk(character_checkpoint, tmp_path, trainers):
    folder = tmp_path / "half"
    shutil.copytree(character_checkpoint, folder)
    AutoModelForCausalLM.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    for name in ("auto", "float32"):
        train(settings(folder, tmp_path / name, dtype=name))
    assert [next(t.model.parameters()).dtype for t in trainers] == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize("asked", [True, False, None])
def test_activations_are_computed_twice_where_that_is_asked_for(character_checkpoint, tmp_path, trainers, asked):
    train(settings(character_checkpoint, tmp_path / "run", gradient_checkpointing=asked))
    expected = torch.cuda.is_available() if asked is None else asked
    assert trainers[0].model.is_gradient_checkpointing is expected


def test_checkpointing_changes_no_number(character_checkpoint, tmp_path):
    for asked in (True, False):
        train(settings(character_checkpoint, tmp_path / str(asked), gradient_checkpointing=asked))
    a, b = (Run.load(tmp_path / str(asked)).series("entropy") for asked in (True, False))
    assert a == b
    assert a[1]


def test_evaluation_is_shown_from_the_first_moment(character_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(arguments, "_EVALUATION_ROWS", 8)
    seen, heard = [], []

    def on_metrics(step, metrics):
        heard.append(len(seen))

    train(settings(character_checkpoint, tmp_path / "run"), on_metrics, on_evaluation=lambda *n: seen.append(n))
    once = [(0, 24), (8, 24), (16, 24), (24, 24)]
    assert seen == once * 2
    assert heard[0] == 4  # the first metrics are those of the evaluation
    assert len(Run.load(tmp_path / "run").rollouts(0, evaluation=True)) == 24


def test_no_evaluation_where_none_is_asked_for(character_checkpoint, tmp_path):
    seen = []
    train(
        settings(character_checkpoint, tmp_path / "run", evaluation_prompts=0),
        on_evaluation=lambda *n: seen.append(n),
    )
    assert not seen
    assert Run.load(tmp_path / "run").series("eval_entropy")[1] == []


def test_more_held_out_prompts_than_a_task_holds_by_itself(character_checkpoint, tmp_path, trainers):
    train(settings(character_checkpoint, tmp_path / "run", evaluation_prompts=300, completions=2, prompts=2, updates=1))
    assert len(trainers[0].eval_dataset) == 300


@pytest.mark.parametrize(("steps", "written"), [(1, [1]), (2, [2]), (3, [2, 3])])
def test_metrics_of_a_last_batch_that_is_not_whole(character_checkpoint, tmp_path, steps, written):
    train(settings(character_checkpoint, tmp_path / "run", steps=steps, updates=2, evaluation_prompts=0))
    assert Run.load(tmp_path / "run").series("entropy")[0] == written


def test_whoever_is_told_of_an_evaluation_finds_it_written(character_checkpoint, tmp_path):
    found = []

    def listen(step, metrics):
        if "eval_entropy" in metrics:
            found.append(len(Run.load(tmp_path / "run").rollouts(step, evaluation=True)))
            raise KeyboardInterrupt

    assert train(settings(character_checkpoint, tmp_path / "run"), listen).interrupted
    assert found == [6 * 4]
