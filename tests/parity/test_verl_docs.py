"""The commands of docs/verl.md, composed with verl's own Hydra config and read as its worker reads them."""

import re
import shlex
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
