"""`StepMeans`: what an optimiser step is to loggers and controllers."""

import pytest
import torch

from entrokit.rlvr import PolicyStats, Rollouts, StepMeans, recipe
from entrokit.rlvr.recipe import RecipeLoss

from .cases import batch, perturbed


def result(value, tokens, **scalars):
    numbers = {k: torch.tensor(v) for k, v in scalars.items()}
    means = {"x": torch.tensor(value), "clipped_fraction": torch.tensor(0.0)}
    return RecipeLoss(torch.zeros(()), means, torch.tensor(tokens), numbers)


def plain():
    b = batch()
    return PolicyStats(logp=b.behaviour.logp), type(b).from_columns(
        {k: v for k, v in b.columns().items() if k != "reference_logp"}
    )


def test_every_token_weighs_alike_and_scalars_stay_as_they_are():
    seen, (current, rollouts) = StepMeans(), plain()
    for value, tokens in ((1.0, 3), (7.0, 0), (4.0, 1)):
        seen.add(result(value, tokens, scale=0.1), current, rollouts)
    assert seen.take() == pytest.approx({"x": 7 / 4, "clip_ratio/region_mean": 0.0, "scale": 0.1})
    assert seen.take() == {}, "it has begun anew"


def test_a_scalar_that_all_share_comes_out_to_the_bit():
    seen, (current, rollouts) = StepMeans(), plain()
    for _ in range(3):
        seen.add(result(1.0, 1, scale=0.1), current, rollouts)
    assert seen.take()["scale"] == float(torch.tensor(0.1))
    seen.add(result(1.0, 1, scale=0.25), current, rollouts)
    seen.add(result(1.0, 1, scale=0.75), current, rollouts)
    assert seen.take()["scale"] == 0.5, "of two generation batches in one step"


def test_ranks_are_summed_before_anything_is_divided():
    seen, (current, rollouts) = StepMeans(), plain()
    seen.add(result(2.0, 3), current, rollouts)
    other = {"x": 10.0 * 1, "clip": 0.0, "tokens": 1.0}
    assert seen.take(lambda own: own + torch.tensor(list(other.values())))["x"] == pytest.approx(16 / 4)


def test_nothing_trained_on_is_nothing_seen():
    seen, (current, rollouts) = StepMeans(), plain()
    assert seen.take() == {}
    seen.add(result(3.0, 0, scale=1.0), current, rollouts)
    assert seen.take() == {}


def test_worked_numbers_of_a_recipe():
    """Means are over trained tokens alone; entropy, k3 and the clipped share are those of the batch."""
    b = batch()
    v = perturbed(b)
    r = recipe("grpo(clip_low=0.05, clip_high=0.4)")
    A = torch.where(b.trained, torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None], 0.0)
    current = PolicyStats(**v)
    seen = StepMeans()
    seen.add(r.loss(current, b, A, {}), current, b)
    found = seen.take()
    ratio = (v["logp"] - b.behaviour.logp).exp()
    clipped = ((A > 0) & (ratio > 1.4)) | ((A < 0) & (ratio < 0.95))
    swapped = ((A > 0) & (ratio > 1.05)) | ((A < 0) & (ratio < 0.6))
    expected = float(clipped[b.trained].double().mean())
    assert expected != float(swapped[b.trained].double().mean())
    assert found["clip_ratio/region_mean"] == pytest.approx(expected, abs=1e-7)
    assert found["entropy"] == pytest.approx(float(v["entropy"][b.trained].mean()))
    d = (b.reference_logp - v["logp"])[b.trained]
    assert found["kl"] == pytest.approx(float((d.exp() - d - 1).mean()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_depend_on_the_cut(dtype):
    """Of 128 rows of 1000 tokens each, whose entropies a sum in half precision would lose."""
    g = torch.Generator().manual_seed(0)
    entropy = (torch.rand(128, 1000, generator=g) + 1.0).to(dtype)
    everywhere = torch.ones(128, 1000, dtype=torch.bool)
    b = Rollouts(
        tokens=torch.zeros(128, 1000, dtype=torch.long),
        real=everywhere,
        trained=everywhere,
        group=torch.zeros(128, dtype=torch.long),
        reward=torch.zeros(128),
        behaviour=PolicyStats(logp=-entropy, entropy=entropy),
    )
    r = recipe("grpo+epo(total_steps=9)")
    A = torch.zeros(128, 1000, dtype=dtype)
    prepared = r.prepare(b, A)
    found = []
    for parts in (1, 128):
        seen = StepMeans()
        for rows in torch.arange(128).chunk(parts):
            part = Rollouts.from_columns({k: v[rows] for k, v in b.columns().items()})
            own = {k: v[rows] if v.dim() else v for k, v in prepared.items()}
            seen.add(r.loss(part.behaviour, part, A[rows], own), part.behaviour, part)
        found.append(seen.take())
    truth = float(entropy.double().mean())
    for means in found:
        # 128 000 float32 numbers below 2, added in any order.
        assert means["epo/entropy"] == pytest.approx(truth, rel=1e-4)
        assert means["entropy"] == pytest.approx(truth, rel=1e-4)
