"""Composition and parsing. What every recipe owes is the battery of `entrokit.testing`: tests/testing."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from entrokit.rlvr import (
    BASES,
    INTERVENTIONS,
    Intervention,
    Rollouts,
    Weighting,
    recipe,
    stages_of,
)
from entrokit.rlvr.interventions.forking_tokens import ForkingTokens
from entrokit.rlvr.interventions.steer import Steer
from entrokit.testing.intervention_invariances import influence_of_other_tokens
from entrokit.testing.rollouts_trial import take_step

from .cases import batch, perturbed, run


def test_equal_rewards_give_a_zero_gradient():
    b = batch()
    b = Rollouts.from_columns({**b.columns(), "reward": torch.full((8,), 0.5, dtype=torch.float64)})
    for spec in [*BASES, "grpo+steer", "dapo+forking-tokens", "dapo+clip-cov"]:
        _, gradient = run(recipe(spec), b, perturbed(b))
        assert gradient.abs().max() < 1e-9, spec


@pytest.mark.parametrize("method", ["kl-cov(ratio=0.2{})", "siren(coef=0.5, quantile=0.5, anchor=0.3{})"])
def test_cutting_the_batch_changes_nothing(method):
    """Unlike with the released scope, a micro-batch; that it holds for every method is the battery's `cut`."""
    b = batch()
    losses = {}
    for scope in ("", ", scope='micro'"):
        r = recipe(f"grpo+{method.format(scope)}")
        losses[scope] = [float(take_step(r, b, perturbed(b), parts).loss) for parts in (1, 4)]
    assert losses[""][0] == pytest.approx(losses[""][1], rel=1e-12)
    assert losses[", scope='micro'"][0] != pytest.approx(losses[", scope='micro'"][1], rel=1e-3)


def test_strings_and_objects_build_the_same_recipe():
    by_name = recipe("grpo+steer(min_weight=0.5)+forking-tokens(rho=0.3)")
    by_object = recipe("grpo", Steer(min_weight=0.5), ForkingTokens(rho=0.3))
    assert str(by_name) == str(by_object) == "grpo+steer(min_weight=0.5)+forking-tokens(rho=0.3)"
    assert recipe(by_name) is by_name
    assert str(recipe(recipe("grpo"), Steer())) == "grpo+steer"


def test_underscores_hyphens_and_numbers_are_read():
    r = recipe(" dr-grpo( clip_high = 1e+0 ) + forking_tokens(rho=2e-1) ")
    assert str(r) == "dr_grpo(clip_high=1.0)+forking-tokens"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("grpp", "unknown base 'grpp'; did you mean 'grpo'.*Valid names: .*dr_grpo, grpo"),
        ("grpo+ster", "unknown intervention 'ster'; did you mean 'steer'.*Valid names: .*aepo-kl, aepo-reward"),
        ("hapo(0.3)", "hapo takes no knobs; it stands for 'dapo"),
        ("hapo(alpha=0.3)", "hapo takes no knobs; it stands for 'dapo"),
        ("grpo+nothing-like-it", "unknown intervention 'nothing-like-it' Valid|unknown intervention"),
        ("steer", "a recipe's base comes first"),
        ("grpo+dapo", "followed by interventions"),
        ("grpo+steer+steer", "steer stands in it twice"),
        ("grpo+steer(min_wait=1)", "has no knob 'min_wait'; did you mean 'min_weight'"),
        ("grpo(clip=0.1)", "grpo has no knob 'clip'"),
        ("grpo(clip_low=-0.1)", r"clip_low must be a number in \[0, 1\], got -0.1"),
        ("grpo(clip_low=True)", r"clip_low must be a number in \[0, 1\], got True"),
        ("grpo+steer(min_weight='much')", "min_weight must be a number"),
        ("grpo(0.3)", "grpo takes no knob by position; write name=value .clip_low"),
        ("grpo+steer(0.3, min_weight=0.2)", "steer is given min_weight twice"),
        ("grpo+forking-tokens(*[0.2])", "cannot read the knobs"),
        ("hapo(tau=0.1)", "hapo takes no knobs; it stands for"),
        ("cispo+adaptive-clip", "adaptive-clip moves the bounds of a PPO clip, and the base's surrogate is CISPO"),
        ("gspo+redistribute-advantage", "redistribute-advantage needs the bounds of a PPO clip"),
        ("grpo(clip_low=0.6)+adaptive-clip", "would widen clip_low=0.6 to 1.2"),
        ("grpo+kl-cov+adaptive-clip", "kl-cov and adaptive-clip each bring a surrogate"),
        ("grpo+steer(min_weight=__import__('os'))", "cannot read the knobs"),
        ("grpo+steer(min_weight=0.3", "brackets do not match"),
        ("grpo++steer", "cannot read the part ''"),
        ("", "cannot read the part ''"),
    ],
)
def test_a_wrong_recipe_says_what_would_be_right(spec, message):
    with pytest.raises(ValueError, match=message):
        recipe(spec)


def test_arguments_of_the_wrong_kind():
    with pytest.raises(TypeError, match="expected an Intervention, got str"):
        recipe("grpo", "steer")


def test_two_surrogates_in_one_recipe_are_refused():
    class Other(INTERVENTIONS["kl-cov"]):
        name: ClassVar[str] = "other"

    with pytest.raises(ValueError, match="kl-cov and other each bring a surrogate"):
        recipe("grpo+kl-cov", Other())


@dataclass
class Doubling(Intervention):
    """A user's own intervention with a memory, as CONTRIBUTING shows it."""

    name: ClassVar[str] = "doubling"
    factor: float = 2.0
    seen: int = 0

    def weight(self, update, clip, prepared):
        return Weighting(weight=torch.full_like(update.advantages, self.factor))

    def observe(self, metrics, context):
        self.seen += 1

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_an_intervention_of_ones_own_composes_and_keeps_its_state():
    b = batch()
    r = recipe("grpo", Doubling())
    torch.testing.assert_close(run(r, b, perturbed(b))[1], 2 * run(recipe("grpo"), b, perturbed(b))[1])
    assert stages_of(r.interventions[0]) == ["weight", "observe"]
    r.observe({}, None)
    fresh = recipe("grpo", Doubling())
    fresh.load_state_dict(r.state_dict())
    assert fresh.interventions[0].seen == 1
    with pytest.raises(ValueError, match=r"saved state is that of \['doubling'\], not of \['steer'\]"):
        recipe("grpo+steer").load_state_dict(r.state_dict())


@pytest.mark.parametrize(
    "spec",
    [
        "gspo",
        "grpo+forking-tokens(rho=0.4)",
        "dapo+steer(min_weight=0.3, scope='micro')",
        "grpo+adaptive-clip(pivot=0.5, scope='micro')",
        "grpo+kl-cov(ratio=0.2, scope='micro')",
        "grpo+tea",
        "grpo+siren(anchor=0.0)",
    ],
)
def test_where_a_token_depends_on_others_the_recipe_says_so(spec):
    assert not recipe(spec).separable
    assert influence_of_other_tokens(recipe(spec)) > 1e-6


def test_most_recipes_are_separable_and_an_unknown_intervention_is_not():
    assert recipe("grpo+steer+kl-cov+reference-kl").separable

    @dataclass
    class Mine(Intervention):
        name: ClassVar[str] = "mine"

    assert not recipe("grpo", Mine()).separable
