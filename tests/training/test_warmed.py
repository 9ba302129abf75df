"""The pocket policy that comes with the package is what its recipe gives, and is taken for nothing else."""

import hashlib
import json
import math
import random
from dataclasses import replace
from itertools import islice

import pytest
import torch

from entrokit.rlvr.tasks.countdown import CountdownDemonstrations
from entrokit.rlvr.tasks.sums import SumsDemonstrations
from entrokit.training import models, pocket, warmed
from entrokit.training.pocket import PocketConfig, at_hand, character_tokenizer, fresh_model, pocket_policy

FILE = warmed.weights_of(PocketConfig().key)
HOW = "`python scripts/warm_policy.py` makes it anew"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTROKIT_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def recipe():
    assert FILE is not None, f"the package's policy is of another warm-up: {HOW}"
    return json.loads(FILE.with_suffix(".json").read_text(encoding="utf-8"))


def test_the_demos_policy_is_there_without_a_warm_up(cache, recipe):
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == recipe["sha256"]
    assert at_hand(PocketConfig())
    models.warm_pocket("countdown", lambda *step: pytest.fail("warmed up"))
    model, _ = pocket_policy(progress=lambda *step: pytest.fail("warmed up"))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training
    assert list(cache.iterdir()) == []


def test_it_is_as_good_as_its_recipe_says(recipe):
    """The loss of new demonstrations; 2e-4: ten thousand tokens' rounding, at logits of 30 and 1e-6 of them a layer."""
    config = replace(PocketConfig(), batch=1024)
    model, tokenizer = pocket_policy()
    inputs, labels = pocket.warm_up_batch(config, random.Random(1000), tokenizer)
    with torch.no_grad():
        loss = model(input_ids=inputs, attention_mask=(inputs != tokenizer.pad_token_id).long(), labels=labels).loss
    assert loss.item() == pytest.approx(recipe["held_out"]["loss"], abs=2e-4)


def test_the_warm_up_begins_as_the_one_that_made_it(recipe):
    """In float64, but for what is float32: the weights that it starts from, and each loss, near 3, as it is given.

    The norm of all parameters sees what a loss does not: ten times the weight decay moves it by 2e-5.
    """
    config, expected = PocketConfig(), recipe["prefix"]
    model = fresh_model(config).double()
    steps = pocket.warm_up(model, character_tokenizer(config.demonstrations.alphabet), config)
    losses = [loss.item() for loss in islice(steps, len(expected["losses"]))]
    norm = math.sqrt(sum(p.detach().square().sum().item() for p in model.parameters()))
    assert losses == pytest.approx(expected["losses"], abs=8 * 2.0**-22), f"the warm-up has changed: {HOW}"
    assert norm == pytest.approx(expected["norm"], rel=2.0**-22), f"the warm-up has changed: {HOW}"


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1}, {"steps": 2199}, {"learning_rate": 1e-3}, {"width": 64}, {"demonstrations": SumsDemonstrations()},
        {"demonstrations": CountdownDemonstrations(right=0.6)},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_other_settings_are_other_policies(other):
    config = replace(PocketConfig(), **other)
    assert warmed.weights_of(config.key) is None
    assert not at_hand(config)


def test_other_demonstrations_and_another_warm_up_are_other_policies(monkeypatch):
    key = PocketConfig().key
    with monkeypatch.context() as changed:
        changed.setattr(pocket, "_VERSION", -1)
        assert PocketConfig().key != key
    sample = CountdownDemonstrations.sample
    monkeypatch.setattr(CountdownDemonstrations, "sample", lambda own, rng: sample(own, rng)[::-1])
    assert PocketConfig().key != key


def test_a_task_whose_policy_is_not_at_hand_is_warmed_up_once(monkeypatch):
    small = PocketConfig(width=32, layers=1, heads=2, steps=3, batch=8, demonstrations=SumsDemonstrations())
    monkeypatch.setattr(models, "pocket_config", lambda task: small)
    told = []
    for _ in range(2):
        models.warm_pocket("sums", lambda step, steps, loss: told.append((step, steps)))
    assert told == [(1, 3), (2, 3), (3, 3)]
