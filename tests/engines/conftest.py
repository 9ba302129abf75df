import pytest

pytest.importorskip("trl", reason="the TRL engine needs the extra 'trl'")

import torch
from trl import GRPOConfig
from trl.trainer import grpo_trainer

from entrokit.rlvr.tasks.countdown import countdown
from entrokit.training.pocket import PocketConfig, character_tokenizer, fresh_model

from .options import QUIET
from .vllm_standin import StandIn

TINY = PocketConfig(width=32, layers=1, heads=2)


@pytest.fixture(scope="session")
def task():
    return countdown(train_size=64, eval_size=8)


def tiny_policy(folder):
    """A tiny policy on disk, sharp enough that its entropies differ from token to token."""
    model = fresh_model(TINY)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2.0)
    model.save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def config(tmp_path):
    """A `GRPOConfig` for the tiny policy; options by keyword."""

    def make(**options):
        defaults = {
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 8,
            "learning_rate": 1e-3,
            "max_steps": 4,
        }
        return GRPOConfig(**(QUIET | defaults | options))

    return make


@pytest.fixture
def stand_in(monkeypatch):
    """`GRPOConfig(use_vllm=True, vllm_mode="colocate")` samples from a stand-in for vLLM."""
    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", StandIn)
    monkeypatch.setattr(grpo_trainer, "is_vllm_available", lambda: True, raising=False)


def length_reward(completions, **kwargs):
    """Varied rewards for random text: TRL's advantages are then not all zero."""
    return [(sum(map(ord, c)) % 7) / 7 for c in completions]
