"""Composition, parsing, and what every recipe owes: independence of micro-batches, padding and order."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from entrokit.rlvr import (
    BASES,
    INTERVENTIONS,
    Context,
    Intervention,
    PolicyStats,
    Rollouts,
    Totals,
    Weighting,
    recipe,
    stages_of,
)
from entrokit.rlvr.interventions.forking_tokens import ForkingTokens
from entrokit.rlvr.interventions.steer import Steer

from .cases import EVERY, batch, built, perturbed, run, step


def of_an_engine(b):
    """With a row of which nothing is trained on, as a truncated completion may be."""
    train = b.trained.clone()
    train[2] = False
    return Rollouts.from_columns(b.columns() | {"train": train})


def plain_numbers(state):
    """A state's tensors as lists, so that any two states are compared to rounding."""
    if isinstance(state, dict):
        return {k: plain_numbers(v) for k, v in state.items()}
    if isinstance(state, (list, tuple)):
        return [plain_numbers(v) for v in state]
    return plain_numbers(state.tolist()) if isinstance(state, torch.Tensor) else state


def assert_same(one, other, spec):
    """Loss, gradient, metrics and state of two steps."""
    torch.testing.assert_close(one[:2], other[:2], atol=1e-9, rtol=1e-9)
    assert one[2].keys() == other[2].keys()
    for name, value in one[2].items():
        assert value == pytest.approx(other[2][name], rel=1e-9, abs=1e-9), (spec, name)
    assert_same_state(plain_numbers(one[3]), plain_numbers(other[3]), spec)


def assert_same_state(one, other, where):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same_state(one[key], other[key], f"{where}: {key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same_state(a, b, f"{where}[{i}]")
    else:
        assert one == (pytest.approx(other, rel=1e-6, abs=1e-9) if isinstance(one, float) else other), where


@pytest.mark.parametrize("spec", [s for s in EVERY if all(i.scope != "micro" for i in recipe(s).interventions)])
def test_cutting_the_batch_changes_nothing(spec):
    r, b = built(spec), of_an_engine(batch())
    whole = step(r, b, perturbed(b), 1)
    for parts in (2, 4, 8):
        assert_same(step(r, b, perturbed(b), parts), whole, spec)


@pytest.mark.parametrize("spec", EVERY)
def test_padding_never_matters(spec):
    r, b = built(spec), of_an_engine(batch())
    values = perturbed(b)
    plain = step(r, b, values, 1)
    assert plain[1][:, ~b.trained].abs().max() == 0
    poisoned = {k: torch.where(b.trained, v, torch.nan) for k, v in values.items()}
    loss, gradient, metrics, state = step(r, b, poisoned, 1)
    assert_same((loss, gradient.nan_to_num(), metrics, state), plain, spec)


@pytest.mark.parametrize("spec", [s for s in EVERY if "clip-cov" not in s])
def test_order_of_rows_never_matters(spec):
    r, b = built(spec), batch()
    order = torch.tensor([3, 0, 7, 5, 1, 6, 2, 4])
    b = of_an_engine(b)
    moved = Rollouts.from_columns({k: v[order] for k, v in b.columns().items()})
    loss, gradient, metrics, state = step(r, b, perturbed(b), 1)
    other = step(r, moved, {k: v[order] for k, v in perturbed(b).items()}, 1)
    # A memory of completions holds them in the order in which they came.
    state = other[3] if "self-imitation" in spec else state
    assert_same(other, (loss, gradient[:, order], metrics, state), spec)


@pytest.mark.parametrize("spec", EVERY)
def test_interventions_do_alter_the_loss(spec):
    b = batch()
    base = str(recipe(spec).base_part)
    acting = [i for i in recipe(spec).interventions if set(stages_of(i)) & {"reward", "advantage", "weight", "penalty"}]
    if not acting:
        return
    _, gradient = run(built(spec), b, perturbed(b), 1)
    _, plain = run(recipe(base), b, perturbed(b), 1)
    assert (gradient - plain).abs().max() > 1e-4


def test_an_empty_mask_gives_zero_with_a_graph():
    for spec in EVERY:
        b = batch()
        b = Rollouts.from_columns({**b.columns(), "trained": torch.zeros_like(b.trained)})
        loss, gradient = run(built(spec), b, perturbed(b), 1)
        assert loss == 0, spec
        assert gradient.abs().max() == 0, spec


def test_equal_rewards_give_a_zero_gradient():
    b = batch()
    b = Rollouts.from_columns({**b.columns(), "reward": torch.full((8,), 0.5, dtype=torch.float64)})
    for spec in [*BASES, "grpo+steer", "dapo+forking-tokens", "dapo+clip-cov"]:
        _, gradient = run(recipe(spec), b, perturbed(b), 1)
        assert gradient.abs().max() < 1e-9, spec


def test_strings_and_objects_build_the_same_recipe():
    by_name = recipe("grpo+steer(min_weight=0.5)+forking-tokens(rho=0.3)")
    by_object = recipe("grpo", Steer(min_weight=0.5), ForkingTokens(rho=0.3))
    assert str(by_name) == str(by_object) == "grpo+steer(min_weight=0.5)+forking-tokens(rho=0.3)"
    assert recipe(by_name) is by_name
    assert str(recipe(recipe("grpo"), Steer())) == "grpo+steer"


@pytest.mark.parametrize("spec", EVERY)
def test_the_string_of_a_recipe_builds_it_again(spec):
    r = recipe(spec)
    assert str(recipe(str(r))) == str(r)
    assert recipe(str(r)) == r


def test_underscores_hyphens_and_numbers_are_read():
    r = recipe(" dr-grpo( clip_high = 1e+0 ) + forking_tokens(rho=2e-1) ")
    assert str(r) == "dr_grpo(clip_high=1.0)+forking-tokens"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("grpp", "unknown base 'grpp'; did you mean 'grpo'.*Valid names: cispo, dapo, dispo, dr_grpo, grpo, gspo"),
        ("grpo+ster", "unknown intervention 'ster'; did you mean 'steer'.*Valid names: aepo-kl, aepo-reward"),
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
    torch.testing.assert_close(run(r, b, perturbed(b), 1)[1], 2 * run(recipe("grpo"), b, perturbed(b), 1)[1])
    assert stages_of(r.interventions[0]) == ["weight", "observe"]
    r.observe({}, None)
    fresh = recipe("grpo", Doubling())
    fresh.load_state_dict(r.state_dict())
    assert fresh.interventions[0].seen == 1
    with pytest.raises(ValueError, match=r"saved state is that of \['doubling'\], not of \['steer'\]"):
        recipe("grpo+steer").load_state_dict(r.state_dict())


def gradient_at_a_token(r, b, values, row, column):
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    advantages = r.advantages(b)
    context = Context(generator=torch.Generator().manual_seed(5))
    prepared = r.prepare_step(b, advantages, r.prepare(b, advantages, context), context)
    totals = Totals(tokens=b.trained.sum(), rows=len(b), length=b.tokens.shape[1])
    loss = r.loss(PolicyStats(**leaves), b, advantages, prepared, totals).loss
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return torch.stack([g[row, column] for g in grads if g is not None])


def largest_influence_of_other_tokens(spec):
    r, b = built(spec), batch()
    ours, others = perturbed(b), perturbed(b, seed=2)
    for name in ("entropy", "nucleus_entropy"):
        others[name] = 2 * torch.rand(b.tokens.shape, dtype=torch.float64)
    gaps = []
    for row, column in b.trained.nonzero().tolist():
        mixed = {name: value.clone() for name, value in others.items()}
        for name, value in ours.items():
            mixed[name][row, column] = value[row, column]
        one, other = (gradient_at_a_token(r, b, v, row, column) for v in (ours, mixed))
        gaps.append((one - other).abs().max())
    return max(gaps)


@pytest.mark.parametrize("spec", [s for s in EVERY if recipe(s).separable])
def test_a_separable_recipe_gives_a_token_what_depends_on_it_alone(spec):
    assert largest_influence_of_other_tokens(spec) < 1e-12


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
    assert largest_influence_of_other_tokens(spec) > 1e-6


def test_most_recipes_are_separable_and_an_unknown_intervention_is_not():
    assert recipe("grpo+steer+kl-cov+reference-kl").separable

    @dataclass
    class Mine(Intervention):
        name: ClassVar[str] = "mine"

    assert not recipe("grpo", Mine()).separable
