"""What verl itself writes is what the readers read."""

import json

import pytest

pytest.importorskip("verl", reason="needs the extra 'verl' in an environment of its own")

import numpy as np

from entrokit.runs import read_log

DATA = {"actor/entropy": 1.5, "critic/score/mean": np.float32(0.25), "response_length/clip_ratio": 0.125}

WRITTEN = {"entropy": [1.5, 1.5], "reward": [0.25, 0.25], "truncated": [0.125, 0.125]}


def test_the_file_logger(tmp_path, monkeypatch):
    pytest.importorskip("orjson")
    from verl.utils.tracking import FileLogger

    monkeypatch.setenv("VERL_FILE_LOGGER_ROOT", str(tmp_path))
    logger = FileLogger("project", "experiment")
    for step in (1, 2):
        logger.log(DATA, step)
    logger.finish()
    assert values(read_log(tmp_path / "project")) == WRITTEN


def test_the_console(tmp_path, capsys):
    from verl.utils.logger.aggregate_logger import LocalLogger

    for step in (1, 2):
        LocalLogger().log(DATA, step)
    (tmp_path / "console.log").write_text(capsys.readouterr().out)
    assert values(read_log(tmp_path / "console.log")) == WRITTEN


def test_rollout_dumps(tmp_path):
    from verl.trainer.ppo.ray_trainer import RayPPOTrainer

    for step in (1, 2):
        RayPPOTrainer._write_generations(
            ["1+1=", "2+2="], ["2", "5"], ["2", "4"], [1.0, 0.0], {"acc": [1.0, 0.0]}, str(tmp_path), step
        )
    found = list(read_log(tmp_path).completions())
    assert [(c.step, c.prompt, c.text, c.reward) for c in found[:2]] == [
        (1.0, "1+1=", "2", 1.0),
        (1.0, "2+2=", "5", 0.0),
    ]
    assert len(found) == 4
    assert json.loads((tmp_path / "1.jsonl").read_text().splitlines()[0])["gts"] == "2"


def values(log):
    return {name: log.get(name).values.tolist() for name in WRITTEN}
