"""The commands of docs/verl.md, composed with verl's own Hydra config and read as its worker reads them."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl needs its own environment: make test-parity")

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from verl.utils.config import omega_conf_to_dataclass

from entrokit.engines.plugins import plug_ins
from entrokit.engines.verl import recipe_of
from entrokit.engines.verl.config import refuse
from tests.docs.tutorial import FOLDER, follow

DOCS = (Path(__file__).parents[2] / "docs" / "verl.md").read_text()


def composed(overrides):
    GlobalHydra.instance().clear()
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=overrides)
    OmegaConf.resolve(config.actor_rollout_ref.actor)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    actor.validate(n_gpus=8, train_batch_size=config.data.train_batch_size)
    chosen = recipe_of(actor)
    refuse(chosen, actor)
    return chosen


def test_the_launch_command_asks_for_the_recipe_that_it_shows():
    block = re.search(r"```bash\n(python -m verl.trainer.main_ppo.*?)```", DOCS, re.S).group(1)
    command = shlex.split(block.replace("\\\n", " "))
    assert command[:3] == ["python", "-m", "verl.trainer.main_ppo"]
    assert str(composed(command[3:])) == "dapo+steer+forking-tokens"


def test_the_one_override_asks_for_one_method():
    (override,) = re.search(r"```text\n(.*?)```", DOCS, re.S).group(1).split()
    chosen = composed([override, "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8"])
    assert str(chosen) == "verl+steer"
    assert chosen.base.aggregation == "token-mean"


def test_our_plug_in_works_here():
    assert [p.problem for p in plug_ins() if p.name == "entrokit"] == [None]


def test_the_tutorial(tmp_path, monkeypatch):
    shutil.copy(FOLDER / "verl-file-logger.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    defined, _, commands = follow("verl")
    assert commands["entrokit diagnose verl-file-logger.jsonl"].startswith("collapse: entropy was spent")
    assert "verl plug-in entrokit (entrokit.engines.verl): works" in commands["entrokit doctor"]
    assert str(defined["chosen"]) == "dapo+kl-cov(ratio=0.01)"
    assert "write actor_rollout_ref.actor.loss_agg_mode=token-mean" in defined["message"]
    text = (FOLDER / "verl.md").read_text(encoding="utf-8")
    (override,) = re.search(r"```text\n(.*?)```", text, re.S).group(1).split()
    assert str(composed([override, *defined["OVERRIDES"][:3]])) == "verl+kl-cov"
    block = re.search(r"```bash\n(python -m verl.trainer.main_ppo.*?)```", text, re.S).group(1)
    assert str(composed(shlex.split(block.replace("\\\n", " "))[3:])) == str(defined["chosen"])
