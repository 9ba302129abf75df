import random

import pytest
import torch

from entrokit.rlvr.tasks.countdown import ALPHABET
from entrokit.rlvr.tasks.sums import SumsDemonstrations
from entrokit.training import pocket
from entrokit.training.pocket import PocketConfig, character_tokenizer, pocket_policy, warm_up_batch

SMALL = PocketConfig(width=32, layers=1, heads=2, steps=5, batch=8)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTROKIT_CACHE", str(tmp_path))
    return tmp_path


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def same(a, b):
    return all(torch.equal(p, b[n]) for n, p in a.items())


def test_one_token_a_character_and_back():
    tokenizer = character_tokenizer()
    ids = tokenizer(ALPHABET)["input_ids"]
    assert len(ids) == len(ALPHABET)
    assert tokenizer.decode(ids) == ALPHABET
    assert (
        tokenizer.decode([tokenizer.pad_token_id, *ids, tokenizer.eos_token_id], skip_special_tokens=True) == ALPHABET
    )


def test_the_second_call_reads_the_cache(cache):
    calls = []
    first, _ = pocket_policy(SMALL, progress=lambda *a: calls.append(a))
    assert [c[0] for c in calls] == [1, 2, 3, 4, 5]
    second, _ = pocket_policy(SMALL, progress=lambda *a: pytest.fail("warmed up again"))
    assert same(weights(first), weights(second))
    assert (cache / f"pocket-{SMALL.key}" / "model.safetensors").exists()


def test_the_key_is_the_config():
    assert PocketConfig().key == PocketConfig().key
    assert PocketConfig(seed=1).key != PocketConfig().key
    assert PocketConfig(demonstrations=SumsDemonstrations()).key != PocketConfig().key
    with pytest.raises(ValueError, match="multiple of heads"):
        PocketConfig(width=30, heads=4)


@pytest.mark.parametrize("damage", ["truncate", "garbage", "missing", "nan"])
def test_a_corrupt_cache_is_said_set_aside_and_made_again(cache, damage, caplog):
    first, _ = pocket_policy(SMALL)
    file = cache / f"pocket-{SMALL.key}" / "model.safetensors"
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "garbage":
        file.write_bytes(b"\xff" * 5000)
    elif damage == "missing":
        file.unlink()
    else:
        from safetensors.torch import save_model

        with torch.no_grad():
            first.model.embed_tokens.weight[0, 0] = float("nan")
        save_model(first, str(file))
    again, _ = pocket_policy(SMALL)
    assert "cannot be read" in caplog.text
    assert "made again" in caplog.text
    assert all(torch.isfinite(p).all() for p in again.parameters())
    assert list(cache.glob("*.corrupt-*"))
    assert same(weights(again), weights(pocket_policy(SMALL)[0]))


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(cache, monkeypatch, caplog):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pocket.os, "replace", full)
    model, _ = pocket_policy(SMALL)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert "could not cache" in caplog.text
    assert list(cache.iterdir()) == []


def test_warm_up_trains_on_attempts_alone():
    tokenizer = character_tokenizer()
    inputs, labels = warm_up_batch(PocketConfig(batch=32), random.Random(0), tokenizer)
    for row, label in zip(inputs, labels, strict=True):
        learned = tokenizer.decode(label[label != -100])
        shown = tokenizer.decode(row[(label == -100) & (row != tokenizer.pad_token_id)])
        assert shown.endswith(":")
        assert learned.endswith("<eos>")
        assert set(learned.removesuffix("<eos>")) <= set("0123456789+-*()")
