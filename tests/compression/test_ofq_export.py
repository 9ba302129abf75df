"""What is packed of a quantised model: codes, steps and layouts, and parts that do not belong together."""

import math

import pytest
import torch
from torch import tensor

from entrokit.compression.ofq import (
    PackedWeight,
    StatsQuantizer,
    pack_weight,
    packed_state_dict,
    quantize_model,
    quantized_weights,
    unpacked_state_dict,
)
from entrokit.compression.packing import unpack_codes

from .ofq_cases import mlp


def test_packed_codes_are_the_codes():
    model = mlp()
    made = quantize_model(model, 3)
    weight = quantized_weights(model)["2.weight"]
    packed = pack_weight(weight.latent(), made["2.weight"])
    assert torch.equal(unpack_codes(packed.codes, 3, 9).long() - 4, weight.codes().long())
    # 5 rows of 9 codes: 27 bits in 4 bytes, and 4 bytes of a step.
    assert packed.nbytes == 5 * (4 + 4)
    assert torch.equal(packed.unpack(), model[2].weight)


def test_a_packed_state_survives_a_file(tmp_path):
    model = mlp()
    quantize_model(model, 2)
    state = packed_state_dict(model)
    torch.save(state, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=True)
    plain = mlp()
    plain.load_state_dict(unpacked_state_dict(loaded))
    x = torch.randn(4, 6)
    assert torch.equal(plain(x), model(x))


def test_what_was_never_packed_is_refused():
    model = mlp()
    with pytest.raises(
        ValueError, match=r"no weight of this state is packed.*is of no packed model.*packed_state_dict"
    ):
        unpacked_state_dict(model.state_dict())
    quantize_model(model, 2)
    with pytest.raises(
        ValueError, match=r"it has 0.parametrizations.weight.original, as a quantised model in training"
    ):
        unpacked_state_dict(model.state_dict())


def test_weights_that_became_nan_are_named_when_they_are_packed():
    model = mlp()
    quantize_model(model, 2)
    with torch.no_grad():
        quantized_weights(model)["2.weight"].parameter[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"packed_state_dict: 2.weight: .*1 of 45 weights are NaN"):
        packed_state_dict(model)


class TestParts:
    def state(self):
        model = mlp()
        quantize_model(model, 3)
        return packed_state_dict(model)

    @pytest.mark.parametrize("part", ["codes", "steps", "layout"])
    def test_a_part_that_is_missing_is_named(self, part):
        state = self.state()
        del state[f"2.weight:{part}"]
        with pytest.raises(ValueError, match=f"2.weight lacks 2.weight:{part}"):
            unpacked_state_dict(state)

    @pytest.mark.parametrize(
        ("part", "value", "message"),
        [
            ("steps", torch.ones(4), r"has 5 steps, one a row; got torch.float32 of shape \[4\]"),
            ("steps", torch.ones(5, 1), "one a row"),
            ("steps", torch.full((5,), math.nan), "NaN or inf"),
            (
                "codes",
                torch.zeros(5, 3, dtype=torch.uint8),
                r"uint8 of shape \[5, 4\]; got torch.uint8 of shape \[5, 3",
            ),
            ("codes", torch.zeros(5, 4), "got torch.float32"),
            ("layout", tensor([3, 1, 1, 9, 5]), "has 9 steps"),
            ("layout", tensor([1, 1, 1, 5, 9]), "from 2 to 8, got 1"),
            ("layout", tensor([3, 7, 1, 5, 9]), "offset 3.5"),
            ("layout", tensor([3, 1, 9, 5, 9]), "layout is none"),
            ("layout", tensor([3, 1, 1, 45]), "layout is none"),
        ],
    )
    def test_parts_that_do_not_belong_together_are_named(self, part, value, message):
        with pytest.raises(ValueError, match=f"2.weight.*{message}"):
            unpacked_state_dict(self.state() | {f"2.weight:{part}": value})

    def test_a_weight_alone(self):
        packed = pack_weight(torch.randn(2, 3), StatsQuantizer(2))
        with pytest.raises(ValueError, match="no weight is of shape"):
            PackedWeight(packed.codes, packed.steps, 2, 0.5, (6,), torch.float32)
        with pytest.raises(ValueError, match="torch.int8"):
            PackedWeight(packed.codes, packed.steps, 2, 0.5, (2, 3), torch.int8)
        with pytest.raises(ValueError, match="NaN or inf"):
            pack_weight(torch.full((2, 2), math.inf), StatsQuantizer(2))
