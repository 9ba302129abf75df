"""QuantLRM: bases that are none of this model, and what is said of them."""

import copy

import pytest

from entrokit.compression.quantlrm import QuantLRM, round_to_nearest

from .fine_tuned import pair, same, state, text

HOW = QuantLRM(3, 8, n_grid=1, clip=False)


def test_a_base_in_the_memory_of_the_tuned_model_is_told_to_be_copied():
    _, tuned = pair()
    before = state(tuned)
    with pytest.raises(ValueError, match=r"share their memory in all of 14 tensors, .*copy.deepcopy\(model.state_dict"):
        HOW.quantize(tuned, tuned.state_dict(), [text()])
    assert same(tuned, before)


def test_a_base_that_shares_what_was_frozen_is_one():
    base, tuned = pair()
    frozen = {name: value for name, value in tuned.state_dict().items() if "layers.0" in name}
    report = HOW.quantize(tuned, {**state(base), **frozen}, [text()])
    assert report.stats.x_min > 0.0


def test_a_model_is_no_state_and_a_state_no_model():
    base, tuned = pair()
    with pytest.raises(TypeError, match=r"^QuantLRM.quantize: a model \(nn.Module\) is expected, got OrderedDict"):
        HOW.quantize(tuned.state_dict(), base.state_dict(), [text()])
    with pytest.raises(TypeError, match="^round_to_nearest: a model .* got OrderedDict"):
        round_to_nearest(tuned.state_dict(), 3, 8)
    with pytest.raises(TypeError, match=r"of the base model a mapping .* its state_dict\(\); got CharacterLM"):
        HOW.quantize(tuned, base, [text()])


@pytest.mark.parametrize(
    ("rename", "said"),
    [
        (lambda name: f"base_model.model.{name}", "names such as base_model.model.layers.0.self_attn.q_proj.weight$"),
        (lambda name: name.replace("proj", "proj.base_layer"), "names such as layers.0.self_attn.q_proj.base_layer.w"),
        (lambda name: str(len(name)), "names such as [0-9]+, [0-9]+$"),
    ],
)
def test_names_that_a_base_has_instead_are_shown(rename, said):
    base, tuned = pair()
    other = {rename(name): value for name, value in base.state_dict().items()}
    with pytest.raises(ValueError, match=f"q_proj.weight .not in the base model.*; the base has {said}"):
        HOW.quantize(tuned, other, [text()])
    with pytest.raises(ValueError, match="; the base has no tensors$"):
        HOW.quantize(tuned, {}, [text()])


def test_a_base_of_another_precision_is_warned_of():
    base, tuned = pair()
    half = copy.deepcopy(base).half().state_dict()
    message = r"precision in 14 tensors: layers.0.self_attn.q_proj.weight \(base torch.float16, tuned .* and 9 more"
    with pytest.warns(UserWarning, match=message):
        HOW.quantize(tuned, half, [text()])
