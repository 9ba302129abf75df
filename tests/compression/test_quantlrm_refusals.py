"""QuantLRM: what is refused, by name, with the model as it was."""

import math

import pytest
import torch
from torch import nn

from entrokit.compression.quantlrm import QuantLRM, round_to_nearest

from .fine_tuned import pair, same, state, text

HOW = QuantLRM(3, 8, n_grid=2)


def without(name):
    def change(base, tuned):
        del base[name]

    return change


def with_nan(base, tuned):
    tuned.layers[1].mlp.down_proj.weight.data[0, 0] = math.nan


def nan_in_base(base, tuned):
    base["layers.1.mlp.down_proj.weight"][0, 0] = math.nan


def reshaped(base, tuned):
    base["layers.0.mlp.down_proj.weight"] = torch.zeros(3, 3)


def identical(base, tuned):
    base.update(state(tuned))


def tied(base, tuned):
    tuned.layers[1].mlp.up_proj.weight = tuned.layers[0].mlp.up_proj.weight


def tied_to_the_head(base, tuned):
    tuned.lm_head.weight = nn.Parameter(torch.zeros(16, 16))
    tuned.layers[0].self_attn.q_proj.weight = tuned.lm_head.weight


def meta(base, tuned):
    tuned.layers[0].mlp.up_proj = nn.Linear(16, 32, device="meta")


def wrapped(base, tuned):
    class Sharded(torch.Tensor):
        pass

    layer = tuned.layers[0].mlp.up_proj
    layer.weight = nn.Parameter(layer.weight.data.as_subclass(Sharded))


def whole_numbers(base, tuned):
    base["layers.0.mlp.up_proj.weight"] = torch.zeros(32, 16, dtype=torch.int8)


def adapters(base, tuned):
    tuned.peft_config = {}


def no_blocks(base, tuned):
    tuned.layers = nn.Linear(2, 2)


def two_lists(base, tuned):
    tuned.encoder = nn.ModuleList([nn.Linear(8, 8)])


def odd_chain(base, tuned):
    tuned.layers[1].register_forward_pre_hook(lambda m, args: (args[0] * 1.5,), prepend=True)


def late_nan(base, tuned):
    """Only what the last block computes is broken."""
    down = tuned.layers[1].mlp.down_proj
    down.forward = lambda x: x[..., :16] * math.nan


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            without("layers.0.mlp.up_proj.weight"),
            ValueError,
            r"1 tensors: layers.0.mlp.up_proj.weight \(not in the base",
        ),
        (reshaped, ValueError, r"layers.0.mlp.down_proj.weight \(base \[3, 3\], tuned \[16, 32\]\)"),
        (identical, ValueError, "no weight was updated"),
        (with_nan, ValueError, "layers.1.mlp.down_proj.weight: 1 of 512 weights are NaN"),
        (nan_in_base, ValueError, "layers.1.mlp.down_proj.weight: 1 of 512 weights of the base model"),
        (tied, ValueError, "layers.0.mlp.up_proj.weight and layers.1.mlp.up_proj.weight are one tensor"),
        (tied_to_the_head, ValueError, "layers.0.self_attn.q_proj.weight and lm_head.weight are one tensor"),
        (meta, ValueError, "layers.0.mlp.up_proj.weight: is on the meta device"),
        (wrapped, TypeError, "layers.0.mlp.up_proj.weight: is Sharded"),
        (whole_numbers, TypeError, "layers.0.mlp.up_proj.weight: of the base model is torch.int8"),
        (adapters, ValueError, "merge them first"),
        (no_blocks, ValueError, "no list of blocks"),
        (two_lists, ValueError, r"several lists of blocks, \['encoder', 'layers'\]"),
        (odd_chain, ValueError, "layers.1: is not given what the block before it gives"),
        (late_nan, ValueError, "layers.1: gives NaN or infinity on the calibration text"),
    ],
)
def test_models_are_left_as_they_were(change, error, message):
    base, tuned = pair()
    given = base.state_dict()
    change(given, tuned)
    before = {name: value.clone() for name, value in tuned.state_dict().items() if not value.is_meta}
    with pytest.raises(error, match=message):
        HOW.quantize(tuned, given, [text()])
    now = tuned.state_dict()
    for name, value in before.items():
        torch.testing.assert_close(now[name], value, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "no calibration text"),
        ([torch.empty(0, 5, dtype=torch.int64)], ValueError, "no calibration text"),
        ([text(1, 1)], ValueError, "every sequence is one token"),
        ([text(3, 1), text(2, 1)], ValueError, "every sequence is one token"),
        ([{"input_ids": text(1, 4), "attention_mask": torch.tensor([[1, 0, 0, 0]])}], ValueError, "one token"),
        ([{"input_ids": text(1, 4), "attention_mask": torch.ones(1, 3)}], ValueError, "attention_mask .* differ"),
        ([text().float()], TypeError, r"calib_batches\[0\]: input_ids are integers .* got torch.float32"),
        ([{"labels": text()}], TypeError, "got NoneType"),
        ([text()[0]], ValueError, r"input_ids are \[batch, positions\], got \[10\]"),
        (text(), TypeError, r"e.g. \[input_ids\]; got one batch"),
    ],
)
def test_calibration_text_is_checked(batches, error, message):
    base, tuned = pair()
    before = state(tuned)
    with pytest.raises(error, match=message):
        HOW.quantize(tuned, base.state_dict(), batches)
    assert same(tuned, before)


def test_ids_outside_of_the_vocabulary():
    base, tuned = pair()
    tuned.get_input_embeddings = lambda: tuned.embed_tokens
    with pytest.raises(ValueError, match="ids from 0 to 128, and the vocabulary has 128"):
        HOW.quantize(tuned, base.state_dict(), [torch.tensor([[0, 128]])])


def test_group_sizes_that_do_not_divide_are_refused_at_once():
    base, tuned = pair()
    before = state(tuned)
    for quantise in (
        lambda: QuantLRM(3, 12).quantize(tuned, base.state_dict(), [text()]),
        lambda: round_to_nearest(tuned, 3, 12),
    ):
        with pytest.raises(
            ValueError, match=r"q_proj.weight: 16 input channels are no multiple of group_size 12; 8, 16 or None"
        ):
            quantise()
    assert same(tuned, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 1}, "from 2 to 8, got 1"),
        ({"bits": 9}, "from 2 to 8, got 9"),
        ({"n_grid": 0}, "n_grid"),
        ({"peak": 0.9}, "peak"),
        ({"grouped_heads": "max"}, "skip or mean"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        QuantLRM(**options)
    if "bits" in options:
        with pytest.raises(ValueError, match=message):
            round_to_nearest(pair()[1], options["bits"], 8)


@pytest.mark.parametrize(
    ("base", "importance", "message"),
    [
        (None, None, "give base_state.*pseudo_fine_tune.*one of both"),
        ({}, "activations", "one of both"),
        (None, "updates", "importance is 'activations' or tensors by name, got 'updates'"),
        (None, {}, "layers.0: .*no importance is given of layers.0.self_attn.q_proj.weight"),
        (None, {"layers.0.self_attn.q_proj.weight": torch.ones(3)}, r"importance has shape \[3\]"),
    ],
)
def test_where_importance_comes_from(base, importance, message):
    _, tuned = pair()
    before = state(tuned)
    with pytest.raises(ValueError, match=message):
        HOW.quantize(tuned, base, [text()], importance=importance)
    assert same(tuned, before)


def test_blocks_that_are_not_there_or_not_called():
    base, tuned = pair()
    with pytest.raises(ValueError, match=r"blocks='h' is no list of modules with linear layers; there are \['layers'"):
        HOW.quantize(tuned, base.state_dict(), [text()], blocks="h")
    tuned.spare = nn.ModuleList([nn.Linear(8, 8)])
    with pytest.raises(ValueError, match="1 of 1 blocks are not called"):
        HOW.quantize(tuned, {"spare.0.weight": torch.zeros(8, 8)}, [text()], blocks="spare")
