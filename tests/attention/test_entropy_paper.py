"""The entry's worlds: what they are made of, and that their claims are judged both ways."""

import pytest
import torch

from entrokit.papers import Budget, Finding
from entrokit.papers.attention import _copying, _source, _source_arms
from entrokit.papers.attention import entropy_guided_attention as entry
from entrokit.papers.attention._decoder import Decoder


def test_the_source_is_characters_of_modules_that_are_not_held_out():
    held_out = _source.characters(_source.HELD_OUT)
    assert not set(_source.TRAIN) & set(_source.HELD_OUT)
    assert held_out.min() >= 0
    assert held_out.max() < _source.VOCABULARY
    assert "def bisect_left(" in bytes(held_out.tolist()).decode()
    with pytest.raises(RuntimeError, match="no source of nowhere"):
        _source.characters(("nowhere",))
    even = torch.arange(128).repeat(50)
    assert _source.unigram_perplexity(even, even) == pytest.approx(128.0)


def test_initial_weights_have_gpt2_s_gain():
    torch.manual_seed(0)
    model = Decoder(_source_arms.ARMS["SM+GELU"], vocabulary=128, width=64, heads=4, layers=4, context=128)
    model.like_gpt2()
    wide, narrow = 0.02 * 12**0.5, 0.02 * 12**0.5 / 8**0.5
    block = model.blocks[0]
    for weight, std in (
        (model.leave.weight, wide),
        (block.attention.enter.weight, wide),
        (block.attention.leave.weight, narrow),
        (block.ffn[2].weight, narrow),
    ):
        # Within five standard errors of a deviation.
        assert float(weight.detach().std()) == pytest.approx(std, rel=5 / (2 * weight.numel()) ** 0.5)
    assert (block.attention.softmax.temperature == 1.0).all()
    assert not block.attention.softmax.log_temperature.requires_grad


@pytest.mark.parametrize("name", ["SM+LN", "EReg"])
def test_a_few_steps_on_the_source(name, monkeypatch):
    monkeypatch.setattr(_source_arms, "STEPS", 3)
    monkeypatch.setattr(_source_arms, "EVALUATED", 2)
    monkeypatch.setattr(_source_arms, "CONTEXT", 16)
    found = _source_arms.learn_source(name, 0)
    assert found == _source_arms.learn_source(name, 0)
    assert 20.0 < found["perplexity"] < 200.0
    assert sum(found["quarters"]) == pytest.approx(1.0)
    assert torch.tensor(found["heads"]).shape == (_source_arms.LAYERS, _source_arms.HEADS)


def test_a_loss_that_is_not_finite_has_no_perplexity(monkeypatch):
    monkeypatch.setattr(_source_arms, "STEPS", 6)
    monkeypatch.setattr(_source_arms, "CONTEXT", 16)
    monkeypatch.setattr(_source_arms, "RATE", 1e30)
    assert _source_arms.learn_source("SM", 0) == {"perplexity": None, "heads": None, "quarters": None}


def made_up(perplexity, top, bottom, seed):
    """A run of an arm; a little apart by seed, so that differences have a deviation."""
    apart = 1.0 + 0.001 * seed
    heads = [[1.0] * _source_arms.HEADS] * _source_arms.LAYERS
    rest = 1.0 - top * apart - bottom
    quarters = [bottom, rest, 0.0, top * apart]
    return {"perplexity": perplexity and perplexity * apart, "heads": heads, "quarters": quarters}


PAPER = {
    "SM+LN+GELU": (2.69, 0.05, 0.05),
    "SM+LN": (3.38, 0.05, 0.05),
    "SM+GELU": (3.20, 0.58, 0.05),
    "SM": (None, 0.45, 0.33),
    "SM+ScFuFFN": (3.478, 0.3, 0.05),
    "SM(t)+ScFuFFN": (3.4, 0.3, 0.05),
    "EReg": (3.21, 0.02, 0.05),
}


def judged(monkeypatch, arms):
    def every(budget):
        return {name: [made_up(*arms[name], seed) for seed in budget.seeds] for name in _source_arms.ARMS}

    monkeypatch.setattr(entry, "_every_arm", every)
    return [shown.passed for shown in entry.source(Budget((0, 1, 2))) if isinstance(shown, Finding)]


def test_the_paper_s_numbers_hold_and_arms_that_are_alike_fail(monkeypatch):
    assert judged(monkeypatch, PAPER) == [True] * 7
    assert judged(monkeypatch, dict.fromkeys(_source_arms.ARMS, (3.0, 0.3, 0.05))) == [False] * 7
    assert judged(monkeypatch, PAPER | {"SM+LN": (3.1, 0.05, 0.05)})[0] is False
    assert judged(monkeypatch, PAPER | {"SM": (3.6, 0.45, 0.33)})[:2] == [True, False]


def test_the_miniature_is_judged_by_every_seed(monkeypatch):
    def verdicts(accuracy, smallest):
        def copying(seed, weight, learnable=True):
            last = seed == 7
            return {"accuracy": accuracy if last else 1.0, "smallest": (smallest if last else 1.1) if weight else 0.5}

        monkeypatch.setattr(entry, "copying", copying)
        shown = entry.miniature(Budget(tuple(range(8))))
        return [one.passed for one in shown if isinstance(one, Finding)]

    assert verdicts(1.0, 1.0) == [True, True]
    assert verdicts(0.98, 1.0) == [False, True]
    assert verdicts(1.0, 0.8) == [True, False]


def test_a_copying_network_starts_by_chance(monkeypatch):
    monkeypatch.setattr(_copying, "STEPS", 2)
    found = _copying.copying(0, 1e-4)
    assert found["accuracy"] < 0.3
    assert found["smallest"] > 1.0
