"""What a config says of its recipe is what `rlvr` would say, though `rlvr` is not asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrokit.diagnose.logged_recipe import BASES_BEFORE, DECODES_BEFORE, base_of, changes_sampling
from entrokit.rlvr import BASES, INTERVENTIONS, PRESETS, recipe

EXAMPLES = sorted({example for method in INTERVENTIONS.values() for example in method.card.examples})


def test_the_names_of_before_exist():
    assert set(BASES) >= BASES_BEFORE
    for name in DECODES_BEFORE:
        assert recipe(name if name in PRESETS else f"grpo+{name}").decodes


@pytest.mark.parametrize("text", [*EXAMPLES, "dapo(clip_high=0.3)+steer", "dr-grpo", " rloo + steer"])
def test_a_string_is_read_as_the_recipe_that_it_is(text):
    chosen = recipe(text)
    assert recipe(base_of({"recipe": text})).base_part == chosen.base_part
    assert changes_sampling({"recipe": text}) == bool(chosen.decodes)


def test_what_training_wrote_goes_before_the_string():
    config = {"recipe": "their-preset", "base": "their_base(knob=1e-3)", "decodes": ["their-sampling"]}
    assert base_of(config) == "their_base(knob=1e-3)"
    assert changes_sampling(config)
    assert not changes_sampling(config | {"recipe": "hapo", "decodes": []})


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"recipe": None},
        {"recipe": "hapo"},
        {"recipe": "unheard-of+steer"},
        {"recipe": "grpo(((+steer"},
        {"base": ["dapo"]},
        {"base": "dapo\x1b[31m"},
        {"base": "dapo(knob='\x1b]0;owned\x07')"},
        {"base": "dapo+steer"},
        {"base": "d" * 100_000},
    ],
)
def test_what_cannot_be_a_base_is_grpo(config):
    assert base_of(config) == "grpo"


@given(st.text())
def test_whatever_a_string_holds_a_remedy_stays_one_line(text):
    for config in ({"recipe": text}, {"base": text}):
        assert base_of(config).isprintable()
        changes_sampling(config)
