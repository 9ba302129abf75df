"""What one intervention makes must not be thrown away by another; what a string says can be read back."""

import numpy as np
import pytest

from entrokit.rlvr import INTERVENTIONS, PRESETS, recipe
from entrokit.rlvr.intervention import implements
from entrokit.rlvr.interventions.covariance import ClipCov
from entrokit.rlvr.interventions.pear import Pear
from entrokit.rlvr.interventions.steer import Steer


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("grpo+canon+arm", "arm takes the place of the advantages that canon makes.*take one of them"),
        ("grpo+empg+weighted-grpo", "that empg makes.*write weighted-grpo before empg"),
        ("grpo+perplexity-shaping+token-group-average", "write token-group-average before perplexity-shaping"),
        ("grpo+pear+recap", "recap takes the place of the rewards that pear makes.*take one of them"),
        ("dapo+tool-reward+pear", "rewards that tool-reward makes.*write pear before tool-reward"),
        ("dapo+aepo-reward+canon", "write canon before aepo-reward"),
        ("grpo+pear+weighted-grpo", "makes advantages of who is right, not of the rewards that pear makes"),
        ("grpo+weighted-grpo+tool-reward", "not of the rewards that tool-reward makes"),
    ],
)
def test_a_stage_that_would_be_overwritten_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        recipe(spec)


@pytest.mark.parametrize("spec", ["grpo+canon+position-shaping", "grpo+recap+tool-reward", "dapo+pear+arm", *PRESETS])
def test_what_builds_upon_it_is_welcome(spec):
    assert str(recipe(spec))


def test_whoever_replaces_a_stage_implements_it():
    replacing = {name: cls.replaces for name, cls in INTERVENTIONS.items() if cls.replaces is not None}
    assert replacing == {
        "canon": "advantage",
        "arm": "advantage",
        "weighted-grpo": "advantage",
        "token-group-average": "advantage",
        "pear": "reward",
        "recap": "reward",
    }
    assert all(implements(INTERVENTIONS[name](), stage) for name, stage in replacing.items())


@pytest.mark.parametrize("marker", [")", "(", "a+b", "it's", '"', "\\", "'+\"(", "</think>\n"])
def test_quoted_text_may_hold_anything(marker):
    one = recipe("grpo", Pear(end_of_thinking=marker), Steer(min_weight=0.5))
    again = recipe(str(one))
    assert str(again) == str(one)
    assert again == one
    assert again.interventions[0].end_of_thinking == marker


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.array(0.5)])
def test_numbers_of_numpy_are_numbers(number):
    one = recipe("grpo", Steer(min_weight=number))
    assert str(one) == "grpo+steer(min_weight=0.5)"
    assert recipe(str(one)) == one
    assert (
        str(recipe("grpo", ClipCov(high=np.int64(7), scope=np.str_("step")))) == "grpo+clip-cov(high=7, scope='step')"
    )
    assert type(Steer(min_weight=number).min_weight) is float
    with pytest.raises(ValueError, match="min_weight must be a number"):
        Steer(min_weight=np.array([0.5, 0.6]))


def test_a_quote_that_never_ends_is_an_error():
    with pytest.raises(ValueError, match="cannot read the knobs|brackets do not match"):
        recipe("grpo+pear(end_of_thinking='x)")
