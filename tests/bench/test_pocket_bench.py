"""The pocket bench trains what is missing and nothing twice."""

import importlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from entrokit.bench import PocketBench, compare, folder_name
from entrokit.training.settings import TrainSettings

pytest.importorskip("trl", reason="training needs the extra 'trl'")


def in_this_process(monkeypatch):
    """A process of a pool's imports for seconds; that it trains is seen where there is one."""
    # `entrokit.bench.compare` is also a function, which hides the module.
    pool = importlib.import_module("entrokit.bench.compare")
    monkeypatch.setattr(pool, "ProcessPoolExecutor", lambda workers, **_: ThreadPoolExecutor(workers))


def test_recipes_that_differ_in_rare_characters_have_folders_of_their_own():
    names = [folder_name(f"grpo+pear(end_of_thinking='{c}')") for c in "|/#"]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9.+=_-]+", n) for n in names)
    assert folder_name("grpo+steer(form='released')") == "grpo+steer_form=_released"


def test_runs_are_trained_once_and_read_again(character_checkpoint, tmp_path, monkeypatch):
    small = {
        "steps": 4,
        "updates": 2,
        "prompts": 4,
        "completions": 4,
        "max_completion_length": 4,
        "evaluation_prompts": 8,
    }
    settings = TrainSettings("grpo", str(tmp_path), model=character_checkpoint, **small)
    bench = PocketBench((3, 4), settings, jobs=1)
    first = bench.courses("grpo")["grpo"]
    assert [len(c.entropy) for c in first] == [1, 1]
    written = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("metrics.jsonl")}
    assert sorted(f.parent.name for f in written) == ["grpo-seed3", "grpo-seed4"]
    in_this_process(monkeypatch)
    both = bench.courses("grpo", "dapo")
    np.testing.assert_array_equal(both["grpo"][0].entropy, first[0].entropy)
    assert {f: f.stat().st_mtime_ns for f in written} == written
    assert (tmp_path / "dapo-seed4").exists()
    # What only listens makes no other run of it; what clips does.
    PocketBench((3,), replace(settings, radius_every=2, radius_rows=1), jobs=1).courses("grpo")
    with pytest.raises(ValueError, match=r"with radius_rows=8 instead of 1, radius_clip=None instead of 1\.0; choose"):
        PocketBench((3,), replace(settings, radius_every=1, radius_rows=1, radius_clip=1.0)).courses("grpo")
    assert {f: f.stat().st_mtime_ns for f in written} == written

    with pytest.raises(ValueError, match="grpo-seed3 holds a run with steps=4 instead of 8; choose another folder"):
        PocketBench((3,), replace(settings, steps=8)).courses("grpo")
    lines = (tmp_path / "grpo-seed3" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "grpo-seed3" / "metrics.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(ValueError, match="unfinished run; remove that folder"):
        bench.courses("grpo")


def test_a_run_without_evaluations_is_finished_at_its_last_step(character_checkpoint, tmp_path, monkeypatch):
    in_this_process(monkeypatch)
    small = {"steps": 5, "updates": 2, "prompts": 4, "completions": 4, "max_completion_length": 4}
    settings = TrainSettings("grpo", str(tmp_path), model=character_checkpoint, evaluation_prompts=0, **small)
    bench = PocketBench((3,), settings, jobs=1)
    bench.courses("grpo")
    bench.courses("grpo")
    metrics = tmp_path / "grpo-seed3" / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match="unfinished run; remove that folder"):
        bench.courses("grpo")


def test_a_policy_is_warmed_up_before_its_runs_and_for_no_others(character_checkpoint, monkeypatch, tmp_path):
    """Each process would otherwise make one for itself."""
    module, happened = sys.modules[PocketBench.__module__], []

    def trained(planned, *_):
        happened.append(sorted(planned))
        raise InterruptedError

    monkeypatch.setattr(module, "warm_pocket", lambda task, told: happened.append((task, told)))
    monkeypatch.setattr(module, "train_all", trained)
    for model in ("pocket", character_checkpoint):
        bench = PocketBench((3,), TrainSettings("grpo", str(tmp_path), task="sums", model=model), on_warm_up=print)
        with pytest.raises(InterruptedError):
            bench.runs("grpo")
    assert happened == [("sums", print), ["grpo-seed3"], ["grpo-seed3"]]


def test_a_comparison_does_not_go_into_a_runs_folder(tmp_path):
    """As a run's own config asks for, where it is the comparison's."""
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(FileExistsError, match="already holds a run"):
        compare(["grpo"], 1, TrainSettings("grpo", str(tmp_path)))
