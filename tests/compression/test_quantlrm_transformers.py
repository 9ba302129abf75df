"""QuantLRM on a causal language model of `transformers`: grouped heads, tied head, padding, generation."""

import copy

import pytest
import torch
from torch import nn

from entrokit.compression.quantlrm import PackedLinear, QuantLRM, pseudo_fine_tune, round_to_nearest

from ..rounding import assert_within
from .fine_tuned import same, state

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def llama():
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(config)


def ids(batch=2, length=12):
    return torch.randint(1, 64, (batch, length), generator=torch.Generator().manual_seed(0))


def test_a_model_without_a_tuned_one_is_quantised_packed_and_generates(llama):
    model = copy.deepcopy(llama)
    before = state(model)
    tuned = pseudo_fine_tune(model, [ids()] * 3, learning_rate=1e-3)
    assert same(model, before)
    packed = copy.deepcopy(model)
    settings = {"bits": 4, "group_size": 16, "n_grid": 3, "grouped_heads": "mean"}
    report = QuantLRM(**settings).quantize(model, tuned, [ids()])
    QuantLRM(**settings, pack=True).quantize(packed, tuned, [ids()])
    assert len(report.groups) == 8
    assert report.skipped == ()
    assert sum(isinstance(m, PackedLinear) for m in packed.modules()) == 14
    assert torch.equal(model.lm_head.weight, before["lm_head.weight"])
    with torch.no_grad():
        assert_within(packed(ids()).logits, model(ids()).logits, 1e-5)
    made = packed.generate(ids(1, 4), max_new_tokens=3, do_sample=False)
    assert made.shape == (1, 7)
    fresh = copy.deepcopy(llama)
    round_to_nearest(fresh, 4, 16, pack=True)
    fresh.load_state_dict(packed.state_dict())
    assert fresh.lm_head.weight is fresh.model.embed_tokens.weight, "what is tied stays tied"
    with torch.no_grad():
        assert torch.equal(fresh(ids()).logits, packed(ids()).logits)


def test_a_cache_that_is_asked_for_changes_nothing(llama):
    how = QuantLRM(3, 16, n_grid=2, clip=False)
    reports = [
        how.quantize(copy.deepcopy(llama), None, [{"input_ids": ids(), **given}], importance="activations")
        for given in ({}, {"use_cache": True})
    ]
    assert [g.history for g in reports[0].groups] == [g.history for g in reports[1].groups]


def test_gpt_2_is_told_what_it_has():
    kernel = transformers.pytorch_utils.Conv1D(8, 4)
    with pytest.raises(ValueError, match=r"no list of blocks .*Conv1D of transformers, .*put a Linear in"):
        round_to_nearest(nn.ModuleDict({"h": nn.ModuleList([kernel])}), 3, 4)


def test_padding_on_the_left_does_not_count(llama):
    short, long = copy.deepcopy(llama), copy.deepcopy(llama)
    padded = torch.cat([torch.zeros(2, 4, dtype=torch.int64), ids()], 1)
    mask = (padded != 0).long()
    how = QuantLRM(3, 16, n_grid=2, grouped_heads="mean")
    one = how.quantize(short, None, [ids()], importance="activations")
    other = how.quantize(long, None, [{"input_ids": padded, "attention_mask": mask}], importance="activations")
    assert one.tokens == other.tokens == 24
    for a, b in zip(one.groups, other.groups, strict=True):
        # Rotary positions start at another place, and attention knows differences of them alone.
        assert a.history == pytest.approx(b.history, rel=1e-3)


def test_a_group_size_that_does_not_divide_is_named(llama):
    with pytest.raises(
        ValueError, match=r"model.layers.0.self_attn.q_proj.weight: 32 input .* group_size 128; 32 or None"
    ):
        QuantLRM(3, 128).quantize(llama, None, [ids()], importance="activations")
