"""Training of scores: resumed bit for bit, averaged, warmed up, and stopped by name where numbers are lost."""

import copy
import io

import pytest
import torch
from torch import nn

from entrokit.physics.active_matter import ScoreTrainer, score_matching_loss

from .active_matter_cases import normal


def matched(score, x, generator):
    return score_matching_loss(score, x, method="hutchinson", generator=generator)


def trainer(steps=30, seed=0, **others):
    torch.manual_seed(7)
    net = nn.Sequential(nn.Linear(2, 16), nn.GELU(), nn.Linear(16, 2))
    return ScoreTrainer(net, matched, steps=steps, lr=1e-2, batch=64, seed=seed, **others)


DATA = normal(500, 2).float()


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_a_stopped_training_goes_on_bit_for_bit():
    whole = trainer()
    losses = whole.fit(DATA)
    first, second = trainer(), trainer(seed=5)
    begun = first.fit(DATA, 12)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file))
    assert begun + second.fit(DATA) == losses
    assert torch.equal(weights(second.score), weights(whole.score))
    assert torch.equal(weights(second.averaged), weights(whole.averaged))
    assert trainer(seed=1).fit(DATA) != losses


def test_training_lowers_the_loss_and_the_average_is_a_copy():
    run = trainer(steps=100, ema=0.9)
    losses = run.fit(DATA)
    # The least of a standard normal law in the plane is -2.
    assert sum(losses[-20:]) / 20 < -1.2 < 0 < losses[0] + 1
    average = run.averaged
    assert not any(p.requires_grad for p in average.parameters())
    before = weights(average).clone()
    copy.deepcopy(run.score)[0].weight.data.zero_()
    assert torch.equal(weights(run.averaged), before)


def test_the_average_by_hand():
    run, mine = trainer(steps=5, ema=0.27), None
    for n in range(5):
        run.fit(DATA, 1)
        kept = min(0.27, (1 + n) / (10 + n))
        mine = weights(run.score) if mine is None else mine + (1 - kept) * (weights(run.score) - mine)
    torch.testing.assert_close(weights(run.averaged), mine)


def test_rates_rise_and_fall():
    run = trainer(steps=20, warmup=4)
    rates = []
    for _ in range(20):
        rates.append(run.optimizer.param_groups[0]["lr"])
        run.fit(DATA, 1)
    assert rates[0] == pytest.approx(1e-2 / 5)
    assert max(rates) == rates[4]
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trainer(ema=1.0), r"ema lies in \[0, 1\); it is 1"),
        (lambda: trainer(steps=0), "steps: at least 1"),
        (lambda: trainer(steps=2.5), "steps: a whole number of at least 1 is expected; got 2.5"),
        (lambda: trainer().fit(DATA, 1.5), "steps: a whole number of at least 1 is expected; got 1.5"),
        (lambda: trainer(warmup=-1), "warmup: at least 0"),
        (lambda: trainer(clip=0.0), "clip must be above 0"),
        (lambda: trainer().fit(DATA[:0]), "at least one"),
        (lambda: trainer(steps=3).fit(DATA, 4), "3 of 3 steps are left; 4"),
        (lambda: trainer().fit(DATA * float("inf")), "not finite"),
        (lambda: ScoreTrainer(nn.Linear(2, 2), lambda s, x, g: s(x).sum() * float("nan"), steps=2).fit(DATA),
         "at step 1 the loss is nan"),
        (lambda: ScoreTrainer(nn.Linear(2, 2), lambda s, x, g: (s(x) * 0).sqrt().sum(), steps=2).fit(DATA),
         "at step 1 the gradient is not finite"),
    ],
    ids=["ema", "steps", "half", "half-fit", "warmup", "clip", "empty", "left", "infinite", "loss", "gradient"],
)  # fmt: skip
def test_trainings_that_are_none_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_counts_may_be_whole_floats_and_a_generator_is_no_seed():
    assert trainer(steps=3.0).fit(DATA, 2.0) == trainer(steps=3).fit(DATA, 2)
    with pytest.raises(TypeError, match="seed: a whole number"):
        trainer(seed=torch.Generator())
