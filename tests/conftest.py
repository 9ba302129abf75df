"""Shared by all tests: one torch thread a worker, no telemetry, no network, a cache of their own;
processes that import this checkout."""

import gc
import os
import random
import tempfile

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when a kernel is defined: it then runs on the CPU

if "ENTROKIT_CACHE" not in os.environ:  # workers inherit it, and train a pocket policy once
    _cache = tempfile.TemporaryDirectory(prefix="entrokit-cache-", ignore_cleanup_errors=True)
    os.environ["ENTROKIT_CACHE"] = _cache.name

import numpy as np
import pytest
import torch
from hypothesis import settings

from .processes import checkout_path

os.environ["PYTHONPATH"] = checkout_path()  # of every process that a test starts
THREADS = int(os.environ["OMP_NUM_THREADS"])
settings.register_profile("entrokit", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("entrokit")


def pytest_collection_finish():
    """What was imported is no garbage: a trainer collects after every run, and would walk through all of it."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """Otherwise extensions take it for leaked, and say so at length."""
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Before fixtures of any scope, and whatever ran before: the same draws in every order."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture(autouse=True)
def _fixed_seed():
    """Again, since fixtures of a module draw for their first test alone."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture(scope="session")
def character_checkpoint(tmp_path_factory):
    from entrokit.training.pocket import PocketConfig, character_tokenizer, fresh_model

    folder = tmp_path_factory.mktemp("character")
    fresh_model(PocketConfig(width=32, layers=1, heads=2)).save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return str(folder)
