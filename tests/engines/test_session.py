import json
import shutil
import sys

import pytest

from entrokit.runs import Run, RunWriteError, RunWriter
from entrokit.training.session import resume, train
from entrokit.training.settings import TrainSettings


def settings(checkpoint, out, **options):
    return TrainSettings("grpo", out=str(out), model=checkpoint, prompts=4, completions=4, **({"steps": 8} | options))


def test_a_disk_that_fills_up_ends_the_run_by_name_and_loses_nothing(checkpoint, tmp_path, monkeypatch):
    write = RunWriter.metrics
    calls = []

    def sometimes_full(self, step, values):
        calls.append(step)
        if len(calls) > 2:
            raise RunWriteError("could not write metrics.jsonl: No space left on device")
        write(self, step, values)

    monkeypatch.setattr(RunWriter, "metrics", sometimes_full)
    with pytest.raises(RunWriteError, match="No space left"):
        train(settings(checkpoint, tmp_path / "run"))
    run = Run.load(tmp_path / "run")
    assert run.series("entropy")[0] == [4]
    assert run.rollout_steps() == [0]


def test_a_folder_with_a_run_is_refused_before_anything_is_loaded(checkpoint, tmp_path):
    RunWriter(tmp_path, {"recipe": "dapo"})
    with pytest.raises(FileExistsError, match="never overwritten"):
        train(settings("no/such/model", tmp_path))


def test_the_same_seed_is_the_same_run(checkpoint, tmp_path):
    for name in ("a", "b"):
        train(settings(checkpoint, tmp_path / name))
    a, b = (Run.load(tmp_path / name) for name in ("a", "b"))
    for metric in ("entropy", "reward", "eval_entropy", "grad_norm"):
        assert a.series(metric) == b.series(metric), metric
        assert a.series(metric)[1]
    assert a.rollouts(0) == b.rollouts(0)
    train(settings(checkpoint, tmp_path / "c", seed=1))
    assert Run.load(tmp_path / "c").series("entropy") != a.series("entropy")


def test_recorded_completions_are_those_that_were_sampled(checkpoint, tmp_path):
    train(settings(checkpoint, tmp_path / "run"))
    run = Run.load(tmp_path / "run")
    rows = run.rollouts(0)
    assert (run.config["base"], run.config["decodes"]) == ("grpo", [])
    assert len(rows) == 16
    assert [r["group"] for r in rows] == [i // 4 for i in range(16)]
    for row in rows:
        text = "".join(row["tokens"])
        assert text.replace("<pad>", "").replace("<eos>", "") == row["completion"]  # a random policy samples pads
        assert row["truncated"] == (not text.endswith("<eos>"))
        assert len(row["tokens"]) == len(row["entropy"]) == len(row["logp"])
        assert all(h > 0 for h in row["entropy"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: must be at least 1"),
        ({"completions": 1}, "a group needs at least 2"),
        ({"updates": 7}, "must divide the generation batch"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings("grpo", out="x", **options)


def test_a_stopped_session_goes_on_as_the_same_run(checkpoint, tmp_path):
    """Stopped inside a generation batch and between logs; every file then equals the undisturbed run's."""
    options = {"steps": 12, "save_every": 3, "account_every": 4, "rollouts_every": 1}
    train(settings(checkpoint, tmp_path / "whole", **options))
    stopped = tmp_path / "stopped"

    def stop(step, metrics):
        if step == 8 and "entropy" in metrics:
            raise KeyboardInterrupt

    assert train(settings(checkpoint, stopped, **options), stop).interrupted
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "entr')  # as a kill would leave it
    outcome = resume(stopped)
    assert (outcome.steps, outcome.interrupted) == (12, False)
    a, b = (Run.load(tmp_path / name) for name in ("whole", "stopped"))
    for metric in ("entropy", "reward", "eval_entropy", "grad_norm", "loss"):
        assert a.series(metric) == b.series(metric), metric
    assert a.rollout_steps() == b.rollout_steps() == [0, 4, 8]
    assert [a.rollouts(s) for s in (4, 8)] == [b.rollouts(s) for s in (4, 8)]
    assert a.rollouts(12, evaluation=True) == b.rollouts(12, evaluation=True)
    assert (a.folder / "entropy_account.jsonl").read_text() == (b.folder / "entropy_account.jsonl").read_text()
    seconds = [row["seconds"] for row in b.metrics]
    assert seconds == sorted(seconds)


def test_a_run_without_checkpoints_cannot_go_on(checkpoint, tmp_path):
    train(settings(checkpoint, tmp_path / "run", steps=4))
    with pytest.raises(ValueError, match="no whole checkpoint to go on from; runs keep them with save_every"):
        resume(tmp_path / "run")
    RunWriter(tmp_path / "other", {"recipe": "grpo", "colour": "red"})
    with pytest.raises(ValueError, match="its config holds 'colour', which this version"):
        resume(tmp_path / "other")


@pytest.fixture
def with_code(checkpoint, tmp_path):
    """The tiny policy, with Python code of its own that leaves a mark wherever it runs."""
    folder = tmp_path / "with_code"
    shutil.copytree(checkpoint, folder)
    mark = tmp_path / "ran"
    (folder / "own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import Qwen3Config, Qwen3ForCausalLM\n"
        f"Path({str(mark)!r}).touch()\n"
        "class OwnConfig(Qwen3Config):\n    model_type = 'own'\n"
        "class OwnModel(Qwen3ForCausalLM):\n    config_class = OwnConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder), mark


def test_a_models_own_code_runs_only_when_that_is_asked_for(with_code, tmp_path):
    folder, mark = with_code
    with pytest.raises(ValueError, match=r"brings Python code of its own, which was not run.*--trust-remote-code"):
        train(settings(folder, tmp_path / "no"))
    assert not mark.exists()
    train(settings(folder, tmp_path / "yes", steps=4, trust_remote_code=True, save_every=4))
    assert mark.exists()


def test_a_run_cannot_give_its_own_model_leave_when_it_is_resumed(with_code, tmp_path):
    folder, mark = with_code
    out = tmp_path / "run"
    train(settings(folder, out, steps=4, trust_remote_code=True, save_every=4))
    mark.unlink()
    assert Run.load(out).config["trust_remote_code"] is True
    for name in [n for n in sys.modules if "transformers_modules" in n]:
        del sys.modules[name]
    with pytest.raises(ValueError, match="--trust-remote-code"):
        resume(out)
    assert not mark.exists()
    resume(out, trust_remote_code=True)
    assert mark.exists()
