"""Shared by all tests: one torch thread a worker, no telemetry, no network; processes that import this checkout."""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when a kernel is defined: it then runs on the CPU

import pytest
import torch
from hypothesis import settings

from .processes import checkout_path

os.environ["PYTHONPATH"] = checkout_path()  # of every process that a test starts
torch.set_num_threads(1)
settings.register_profile("entrokit", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("entrokit")


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def character_checkpoint(tmp_path_factory):
    from entrokit.engines.pocket import PocketConfig, character_tokenizer, fresh_model

    folder = tmp_path_factory.mktemp("character")
    fresh_model(PocketConfig(width=32, layers=1, heads=2)).save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return str(folder)
