"""`policy_loss`: one call for a loop of one's own, equal to `Recipe.loss` over `Rollouts`."""

import re

import pytest
import torch

from entrokit.rlvr import Context, PolicyStats, Rollouts, StepMeans, Totals, policy_loss, recipe
from entrokit.rlvr.cards import examples
from entrokit.rlvr.intervention import implements

from .cases import batch, built, perturbed

EVERY = [
    *examples(),
    "grpo+steer(min_weight=0.3)+forking-tokens(rho=0.4)+clip-b(mu=0.2)",
    "dapo+steer(min_weight=0.3)+forking-tokens(rho=0.5)+reference-kl(beta=0.1, estimator='k2')",
]
ON_REWARDS = [s for s in EVERY if any(implements(i, "reward") for i in recipe(s).interventions)]
OTHERS = [s for s in EVERY if s not in ON_REWARDS]


def context():
    return Context(step=2, total_steps=9, generator=torch.Generator().manual_seed(5))


def arguments(r, b, values, **more):
    """What a user has at hand who estimates advantages with the recipe's base."""
    others = {k: v for k, v in values.items() if k not in ("logp", "entropy")}
    old = {k: v for k, v in b.behaviour.columns().items() if k != "logp"}
    return {
        "logp": values["logp"],
        "old_logp": b.behaviour.logp,
        "advantages": r.base.advantage(b, context()),
        "mask": b.trained,
        "entropy": values["entropy"],
        "statistics": others,
        "old_statistics": old,
        "context": context(),
    } | more


def needed(b):
    names = ("group", "reward", "correct", "rewards", "reference_logp", "prompt_logp", "prompt_mask", "tokens")
    return {name: getattr(b, name) for name in names}


@pytest.mark.parametrize("spec", OTHERS)
def test_it_is_the_recipe_s_loss_over_rollouts(spec):
    r, b = built(spec), batch()
    leaves = {k: v.clone().requires_grad_() for k, v in perturbed(b).items()}
    ours = policy_loss(r, **arguments(r, b, leaves, **needed(b)))
    # A pure mask says nothing of what lies behind the last trained token.
    attention = b.trained.flip(1).cumsum(1).flip(1) > 0
    b = Rollouts.from_columns(b.columns() | {"real": attention})
    c = context()
    A = r.advantages(b, c)
    theirs = r.loss(PolicyStats(**leaves), b, A, r.prepare_step(b, A, r.prepare(b, A, c), c))
    torch.testing.assert_close(ours.loss, theirs.loss, atol=1e-12, rtol=1e-12)
    assert ours.metrics.keys() == theirs.metrics.keys()
    for name, value in ours.metrics.items():
        torch.testing.assert_close(value, theirs.metrics[name], atol=1e-12, rtol=1e-12, msg=name)
    one, other = (torch.autograd.grad(x.loss, list(leaves.values()), allow_unused=True) for x in (ours, theirs))
    for a, e in zip(one, other, strict=True):
        torch.testing.assert_close(a, e, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("spec", OTHERS)
def test_what_a_recipe_does_not_need_can_be_left_out_and_what_it_needs_is_named(spec):
    """Arguments are handed over one by one, as errors ask for them, until none does."""
    r, b = built(spec), batch()
    given = arguments(r, b, perturbed(b), old_statistics=None, statistics={}, entropy=None)
    columns, statistics = needed(b), perturbed(b)
    for _ in range(8):
        message = complaint(r, given)
        if message is None:
            return
        words = set(re.findall(r"\w+", message))
        asked = [name for name in (*columns, *statistics) if name in words and name != "logp"]
        assert asked, message
        given |= {name: columns[name] for name in asked if name in columns}
        given["statistics"] = given["statistics"] | {n: statistics[n] for n in asked if n in statistics}
    pytest.fail("it never had enough")


def complaint(r, given):
    """What `policy_loss` says that it lacks; None where it has enough."""
    try:
        assert torch.isfinite(policy_loss(r, **given).loss)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("spec", ON_REWARDS)
def test_recipes_that_act_on_rewards_say_what_to_call_instead(spec):
    r, b = built(spec), batch()
    with pytest.raises(ValueError, match="acts on rewards, before advantages.*Recipe.rewarded, estimate"):
        policy_loss(r, **arguments(r, b, perturbed(b), **needed(b)))


def test_a_few_lines_suffice():
    g = torch.Generator().manual_seed(0)
    logp = (-torch.rand(2, 3, generator=g)).requires_grad_()
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    old, A = logp.detach() - 0.1, torch.tensor([1.0, -1.0])
    loss = policy_loss("dapo", logp=logp, old_logp=old, advantages=A, mask=mask).loss
    ratio = torch.tensor(0.1).exp()
    assert float(loss) == pytest.approx(float((-ratio * 2 + ratio * 3) / 5))
    loss.backward()
    assert logp.grad[0, 2] == 0
    assert logp.grad.abs().sum() > 0


def test_parts_of_a_step_add_up_with_its_totals():
    r, b = recipe("dapo+steer(min_weight=0.3, scope='micro')"), batch()
    v = perturbed(b)
    totals = Totals(tokens=b.trained.sum(), rows=len(b))
    plain = recipe("dapo")
    whole = policy_loss(plain, **arguments(plain, b, v)).loss
    parts = 0
    for rows in (slice(0, 3), slice(3, 8)):
        part = Rollouts.from_columns({k: x[rows] for k, x in b.columns().items()})
        given = arguments(plain, b, v)
        cut = {k: x[rows] for k, x in given.items() if isinstance(x, torch.Tensor)}
        parts = parts + policy_loss(plain, **cut, totals=totals).loss
        assert len(part)
    torch.testing.assert_close(parts, whole, atol=1e-12, rtol=1e-12)
    assert torch.isfinite(policy_loss(r, **arguments(r, b, v)).loss)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"old_logp": torch.zeros(8, 5)}, r"old_logp: expected the shape of logp, \[8, 6\], got \[8, 5\]"),
        ({"mask": torch.ones(8)}, r"mask: expected the shape of logp, \[8, 6\], got \[8\]"),
        ({"advantages": torch.ones(6)}, r"advantages: expected shape \[8, 6\] or \[8\], got \[6\]"),
        ({"entropy": torch.ones(8)}, r"'entropy' must have the shape of logp, \[8, 6\], got \[8\]"),
        ({"statistics": {"entropi": torch.ones(8, 6)}}, "no statistic is called 'entropi'; valid names are"),
        ({"old_logp": torch.ones(8, 6)}, r"behaviour.logp: is above 0.*natural log-probabilities"),
        ({"mask": torch.full((8, 6), 0.5)}, "mask: expected True and False, or 1 and 0"),
        ({"advantages": torch.full((8,), torch.nan)}, "advantages: is NaN or infinite at a token of the mask"),
        ({"logp": torch.full((8, 6), torch.nan)}, "logp: is NaN or infinite at a token of the mask"),
        ({"logp": torch.zeros(8)}, r"logp: expected shape \[B, T\], got \[8\]"),
        ({"old_logp": [0.0]}, "old_logp: expected a tensor, got list"),
        ({"enropy": torch.zeros(8, 6)}, "there is no argument 'enropy'"),
        ({"group": torch.zeros(3, dtype=torch.long)}, r"group: expected shape \[8\], got \[3\]"),
        ({"sampler_weight": torch.full((8, 6), torch.nan)}, "sampler_weight: is NaN, infinite or below 0"),
    ],
)
def test_bad_input_is_named(change, message):
    r, b = recipe("grpo+entropy-bonus(coef=0.1)"), batch()
    with pytest.raises(ValueError, match=message):
        policy_loss(r, **arguments(r, b, perturbed(b), **change))


def test_what_was_not_prepared_is_named_or_prepared_on_the_spot():
    for spec in (
        "grpo+steer",
        "dapo+kl-cov(ratio=0.2)",
        "grpo+clip-b",
        "grpo+adaptive-clip",
        "dapo+forking-tokens",
        "grpo+tea",
    ):
        r, b = recipe(spec), batch()
        A, current = r.advantages(b), PolicyStats(**perturbed(b))
        with pytest.raises(ValueError, match="was not prepared; hand over what Recipe.prepare"):
            r.loss(current, b, A, {})
        torch.testing.assert_close(r.loss(current, b, A).loss, r.loss(current, b, A, r.prepare(b, A)).loss)


def test_a_memory_that_nobody_keeps_is_refused():
    b = batch()
    r = recipe("grpo+siren")
    given = arguments(r, b, perturbed(b))
    with pytest.raises(ValueError, match="siren remembers from step to step: build the recipe once"):
        policy_loss("grpo+siren", **given)
    seen = StepMeans()
    seen.add(policy_loss(r, **given))
    r.observe(seen.take(), context())
    assert r.interventions[0].found > 0


def test_statistics_may_come_as_they_were_computed():
    b = batch()
    v = perturbed(b)
    r = recipe("grpo+siren(anchor=0.3)")
    plain = arguments(r, b, v)
    by_object = arguments(r, b, v, statistics=PolicyStats(**v), entropy=None)
    named = plain["statistics"] | {"nucleus_entropy@0.8": v["nucleus_entropy"]}
    named.pop("nucleus_entropy")
    for given in (by_object, plain | {"statistics": named}):
        torch.testing.assert_close(policy_loss(r, **given).loss, policy_loss(r, **plain).loss)
