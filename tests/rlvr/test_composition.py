"""Two interventions together: the product of their weights on the intersection of their keeps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import Context, PolicyStats, Rollouts, Totals, aggregate, recipe
from entrokit.rlvr.update import Update

from .cases import batch, perturbed

STEER = "steer(min_weight=0.3)"
FORKING = "forking-tokens(0.2)"
KEEPS = "clip-b(mu=0.2)"


def inputs(seed):
    b = batch(seed=seed)
    return b, PolicyStats(**perturbed(b, seed=seed + 1))


def loss_of(spec, b, current):
    r = recipe(spec)
    A = r.advantages(b)
    return r.loss(current, b, A, r.prepare(b, A)).loss


def weighing_of(base, spec, b, current):
    """Weight and keep that an intervention gives by itself."""
    r = recipe(f"{base}+{spec}")
    A = r.advantages(b)
    prepared = r.prepare(b, A)
    update = Update(current.masked(b.trained), b.behaviour.masked(b.trained), A, b.trained, prepared=prepared)
    (own,) = r.interventions
    clip = r.surrogate.clip(update)
    found = own.weight(update, clip, {k.removeprefix(f"{own.name}/"): v for k, v in prepared.items()})
    weight = torch.ones_like(A) if found.weight is None else found.weight
    return weight, b.trained if found.keep is None else found.keep & b.trained


@given(st.integers(0, 500))
@pytest.mark.parametrize("base", ["grpo", "dapo", "dr_grpo"])
def test_weights_multiply_keeps_intersect_and_only_keeps_leave_the_denominator(base, seed):
    b, current = inputs(seed)
    composed = loss_of(f"{base}+{STEER}+{FORKING}+{KEEPS}", b, current)
    weight, keep = torch.ones(b.tokens.shape, dtype=torch.float64), b.trained
    for spec in (STEER, FORKING, KEEPS):
        w, k = weighing_of(base, spec, b, current)
        weight, keep = weight * w, keep & k
    plain = recipe(base)
    A = plain.advantages(b)
    update = Update(current.masked(b.trained), b.behaviour.masked(b.trained), A, b.trained)
    rows = len(b) * keep.any(1).sum().double() / b.trained.any(1).sum()
    by_hand = aggregate(plain.surrogate.loss(update) * weight, keep, plain.base.aggregation, Totals(rows=rows))
    torch.testing.assert_close(composed, by_hand, atol=1e-12, rtol=1e-12)


@given(st.integers(0, 500))
def test_order_does_not_matter(seed):
    b, current = inputs(seed)
    parts = [STEER, FORKING, KEEPS, "reference-kl(beta=0.1)", "adaptive-clip(pivot=0.5)", "redistribute-advantage(0.5)"]
    forth, back = (loss_of("+".join(["dapo", *order]), b, current) for order in (parts, parts[::-1]))
    torch.testing.assert_close(forth, back, atol=1e-12, rtol=1e-12)


def test_knobs_by_position():
    assert str(recipe("grpo+steer+forking-tokens(0.3)")) == "grpo+steer+forking-tokens(rho=0.3)"


@pytest.mark.parametrize(
    "spec",
    [
        "grpo+steer(min_weight=0.3, scope='step')",
        "dapo+clip-cov(ratio=0.3, low=0.0, high=9.0, scope='step')",
        "dapo+forking-tokens(rho=0.4, scope='step')+clip-b(mu=0.2)",
        "dapo+adaptive-clip(pivot=0.5, scope='step')",
    ],
)
def test_scope_step_is_scope_generation_of_the_step_s_rows(spec):
    """Prepared over half of a batch and cut into micro-batches, against a generation batch of those rows alone."""
    b, current = inputs(3)
    r, whole = recipe(spec), recipe(spec.replace(", scope='step'", ""))
    A = r.advantages(b)
    prepared = r.prepare(b, A)
    rows = torch.arange(4, 8)
    step, step_A = Rollouts.from_columns({k: v[rows] for k, v in b.columns().items()}), A[rows]
    generator = torch.Generator().manual_seed(1)
    context = Context(generator=generator)
    before = {k: v[rows] if v.dim() else v for k, v in prepared.items() if "clip-b" not in k}
    alone = whole.prepare(step, step_A, context)
    before |= {k: v for k, v in alone.items() if k.startswith("clip-b/")}
    generator.manual_seed(1)
    ours = r.prepare_step(step, step_A, before, context)
    assert set(ours) == set(alone)
    totals = Totals(tokens=step.trained.sum(), rows=4)
    stats = PolicyStats(**{k: v[rows] for k, v in current.columns().items()})
    expected = whole.loss(stats, step, step_A, alone, totals).loss
    parts = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        part = Rollouts.from_columns({k: v[i : i + 1] for k, v in step.columns().items()})
        own = {k: v[i : i + 1] if v.dim() else v for k, v in ours.items()}
        one = PolicyStats(**{k: v[i : i + 1] for k, v in stats.columns().items()})
        parts = parts + r.loss(one, part, step_A[i : i + 1], own, totals).loss
    torch.testing.assert_close(parts, expected, atol=1e-12, rtol=1e-12)
