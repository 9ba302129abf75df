"""Rows of which nothing is kept leave the mean over rows, as tokens that are not kept leave the mean over tokens."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from entrokit.bench import train_tabular
from entrokit.bench.tabular import improve
from entrokit.rlvr import Context, Intervention, PolicyStats, Rollouts, Totals, Weighting, aggregate, recipe
from entrokit.rlvr.interventions.siren import SelfAnchoredEntropyLoss, Siren

KEEP = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]]).bool()
TRAIN = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]]).bool()


@dataclass
class KeepThese(Intervention):
    name: ClassVar[str] = "keep-these"

    def prepare(self, rollouts, advantages, context):
        return {"keep": KEEP[-len(rollouts) :] & rollouts.trained}

    def weight(self, update, clip, prepared):
        return Weighting(keep=prepared["keep"])


def rollouts():
    logp = -torch.linspace(0.1, 2.0, 12, dtype=torch.float64).view(4, 3)
    return Rollouts(
        tokens=torch.zeros(4, 3, dtype=torch.long),
        real=TRAIN,
        trained=TRAIN,
        group=torch.zeros(4, dtype=torch.long),
        reward=torch.zeros(4),
        behaviour=PolicyStats(logp=logp, entropy=logp.abs(), nucleus_entropy=logp.abs()),
    )


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        # Loss -A: A is 1 to 12. Rows: means over kept tokens 2 and 8 of two kept rows.
        ("grpo", -(2 + 8) / 2 * 3 / 4 * 4 / 3),
        ("dapo", -(1 + 3 + 7 + 8 + 9) / 5),
    ],
)
def test_by_hand(base, expected):
    b, A = rollouts(), torch.arange(1.0, 13.0, dtype=torch.float64).view(4, 3)
    r = recipe(base, KeepThese())
    prepared = r.prepare(b, A)
    assert float(prepared["kept/tokens"]) == pytest.approx(5 / 8)
    assert float(prepared["kept/rows"]) == pytest.approx(2 / 3)
    # Of the engine's four rows three are trained on, and two of those keep something.
    rows = 4 * 2 / 3
    found = float(r.loss(b.behaviour, b, A, prepared).loss)
    assert found == pytest.approx(expected * (2 / rows if base == "grpo" else 1))
    given = Totals(tokens=b.trained.sum(), rows=4)
    assert float(r.loss(b.behaviour, b, A, prepared, given).loss) == pytest.approx(found)


@pytest.mark.parametrize("mode", ["seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"])
def test_an_empty_row_is_no_row_of_a_mean(mode):
    loss = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    there = KEEP.any(1)
    torch.testing.assert_close(aggregate(loss, KEEP, mode), aggregate(loss[there], KEEP[there], mode))


@pytest.mark.parametrize(
    ("spec", "gap", "within"),
    [
        ("grpo+clip-b(mu=0.5)", 0.060, 0.02),
        ("grpo+clip-v(mu=0.5, max_frac=1.0)", 0.075, 0.02),
        ("grpo+forking-tokens(rho=0.2, scope='micro')", 0.142, 0.04),
    ],
)
def test_on_the_table_a_row_of_one_token_is_a_token(spec, gap, within):
    """An independent implementation in NumPy has these gaps at accuracy 0.5, from other draws."""
    token_mean = spec.replace("grpo", "dapo(clip_high=0.2)", 1)
    ours, base, tokens = (train_tabular(s, 0) for s in (spec, "grpo", token_mean))
    # A row is one token, so both means are one: equal but for the order of sums.
    assert ours.entropy_at(0.5) == pytest.approx(tokens.entropy_at(0.5), abs=1e-3)
    assert ours.entropy_at(0.5) - base.entropy_at(0.5) == pytest.approx(gap, abs=within)


def test_on_the_table_memories_are_shown_their_batches():
    for spec in ("grpo+tool-reward", "grpo+epo-official(coef=0.01)"):
        r = recipe(spec)
        logits = torch.zeros(4, 5, requires_grad=True)
        b = rollouts()
        improve(r, logits, lambda x=logits: current(x), b, 2, 0.1, Context(total_steps=9))
        state = r.state_dict()[r.interventions[0].name]
        assert state.get("updates", state.get("batches")) == 1


def current(logits):
    logp = logits.log_softmax(-1)[:, :3]
    return PolicyStats(logp=logp.double(), entropy=-(logp.exp() * logp).double(), nucleus_entropy=logp.abs().double())


def test_sirens_mean_is_over_completions_that_are_trained_on():
    """Ten of sixteen rows masked: 2.76 stays 2.76, and the gradient is that of the trained rows alone."""
    g = torch.Generator().manual_seed(0)
    nucleus = (torch.rand(16, 8, generator=g, dtype=torch.float64) * 0.4 + 2.5).requires_grad_()
    train = torch.ones(16, 8, dtype=torch.bool)
    masked = train.clone()
    masked[6:] = False
    means, gradients = [], []
    for mask, rows in ((masked, slice(0, 16)), (train, slice(0, 6))):
        behaviour = PolicyStats(logp=-nucleus.detach(), entropy=nucleus.detach(), nucleus_entropy=nucleus.detach())
        b = Rollouts(
            tokens=torch.zeros(16, 8, dtype=torch.long),
            real=mask,
            trained=mask,
            group=torch.zeros(16, dtype=torch.long),
            reward=torch.zeros(16),
            behaviour=behaviour,
        )
        b = Rollouts.from_columns({k: v[rows] for k, v in b.columns().items()})
        for scope in ("generation", "micro"):
            r = recipe("grpo", Siren(coef=0.5, anchor=1.0, scope=scope))
            A = torch.zeros(len(b), 8, dtype=torch.float64)
            now = PolicyStats(logp=-nucleus[rows], entropy=nucleus[rows], nucleus_entropy=nucleus[rows])
            result = r.loss(now, b, A)
            means.append(float((result.metrics | result.scalars)["siren/mean"]))
            gradients.append(torch.autograd.grad(result.loss, nucleus, allow_unused=True)[0])
    assert means == pytest.approx([means[0]] * 4, rel=1e-12)
    assert means[0] > 2.5
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient[:6], gradients[0][:6], atol=1e-15, rtol=1e-12)
    assert not gradients[0][6:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cast", [torch.nn.Module.float, torch.nn.Module.half, torch.nn.Module.double])
def test_the_first_batch_is_at_its_own_anchor_exactly(dtype, cast):
    term = cast(SelfAnchoredEntropyLoss())
    logits = torch.randn(2, 9, 7, generator=torch.Generator().manual_seed(3), dtype=dtype)
    mask = torch.ones(2, 9, dtype=torch.bool)
    assert term(logits, mask).item() == 0.0
    again = SelfAnchoredEntropyLoss()
    again.load_state_dict(term.state_dict())
    assert again(logits, mask).item() == 0.0
