"""EPO: the sheet's worked numbers, gradients, limits, and its history."""

from dataclasses import replace

import pytest
import torch

from entrokit.rlvr import Context, PolicyStats, Rollouts, Totals, recipe
from entrokit.rlvr.interventions.epo import EPO, corridor_penalty, epo_beta, turn_weights
from entrokit.rlvr.interventions.epo_official import OfficialEPO, official_weight

# Rows are turns, and the last two are of one episode; the reference and the step are those of the sheet.
ROWS = torch.tensor([[0.2, 0.5, 1.0, 9.0], [0.9, 1.3, 0.0, 0.7], [0.4, 9.0, 9.0, 9.0]], dtype=torch.float64)
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]]).bool()
WHO = torch.tensor([0, 1, 1])
CORRIDOR = {"kappa_low": 0.5, "kappa_high": 1.5}
REFERENCE, BETA, COEF = 0.5, 1.367879, 0.001


def turns(mask=MASK, who=WHO):
    """A batch whose rows are turns of the episodes ``who``."""
    return Rollouts(
        tokens=torch.zeros(mask.shape, dtype=torch.long),
        real=torch.ones_like(mask),
        trained=mask,
        group=torch.zeros(len(mask), dtype=torch.long),
        reward=torch.zeros(len(mask)),
        behaviour=PolicyStats(*torch.zeros(2, *mask.shape, dtype=torch.float64)),
        trajectory=who,
    )


def added(entropy, rollouts, reference=REFERENCE, **knobs):
    """What EPO adds to the loss of rows whose advantages are 0, at step 25 of 150."""
    epo = EPO(**knobs)
    epo.seen = (0.0, 0) if reference is None else (reference, 1)
    zeros = torch.zeros_like(entropy)
    chosen, context = recipe("dr_grpo", epo), Context(step=25, total_steps=150)
    prepared = chosen.prepare(rollouts, zeros, context)
    return chosen.loss(PolicyStats(zeros, entropy), rollouts, zeros, prepared)


def worth(entropy, rollouts, **knobs):
    return float(added(entropy, rollouts, **knobs).loss.detach())


def test_check_1_the_schedule():
    found = [epo_beta(k, 150) for k in (0, 1, 25, 37, 75, 100, 150)]
    assert found == pytest.approx([2, 1.960789, 1.367879, 1.227638, 1.049787, 1.018316, 1.002479], abs=1e-6)
    assert [epo_beta(k, 125) for k in (31, 62)] == pytest.approx([1.223130, 1.049787], abs=1e-6)


def test_check_2_the_penalty():
    H = torch.tensor([0.2, 0.5, 1.0, 0.25, 0.75])
    assert corridor_penalty(H, 0.5, 0.5, 1.5).tolist() == pytest.approx([0.05, 0, 0.25, 0, 0], abs=1e-7)


@pytest.mark.parametrize(("agg", "mean", "smooth"), [("turn", 0.564583, 0.0109375), ("token", 0.625, 0.015625)])
def test_check_3_the_worked_example(agg, mean, smooth):
    found = added(ROWS, turns(), agg=agg, **CORRIDOR)
    assert float(found.loss) == pytest.approx(-COEF * (mean - BETA * smooth), abs=1e-9)
    assert float(found.metrics["epo/entropy"]) == pytest.approx(0.625)
    assert float(found.metrics["epo/inside"]) == pytest.approx(3 / 8)
    # The two terms one by one: alpha = 0 leaves the bonus alone.
    bonus = worth(ROWS, turns(), agg=agg, alpha=0.0, **CORRIDOR)
    assert -bonus / COEF == pytest.approx(mean, abs=1e-6)
    assert (float(found.loss) - bonus) / (COEF * BETA) == pytest.approx(smooth, abs=1e-7)


def test_check_4_gradients():
    rollouts = turns(MASK[:2], torch.tensor([0, 1]))
    H = ROWS[:2].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(added(H, rollouts, **CORRIDOR).loss, H)
    expected = [[-1.894647e-4, -1.666667e-4, -1.438687e-4, 0.0], [-1.079015e-4, -1.079015e-4, -1.420985e-4, -1.25e-4]]
    torch.testing.assert_close(gradient, torch.tensor(expected, dtype=torch.float64), atol=1e-10, rtol=0)
    step = 1e-6
    for i, j in MASK[:2].nonzero().tolist():
        ends = []
        for sign in (1, -1):
            moved = ROWS[:2].clone()
            moved[i, j] += sign * step
            ends.append(worth(moved, rollouts, **CORRIDOR))
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(gradient[i, j]), abs=1e-9)


def test_check_5_limits_and_degenerate_input():
    loss = worth(ROWS, turns(), **CORRIDOR)
    assert worth(torch.where(MASK, ROWS, torch.nan), turns(), **CORRIDOR) == loss
    bonus = worth(ROWS, turns(), reference=None, **CORRIDOR)
    assert bonus == pytest.approx(-0.001 * 0.564583, abs=1e-9)
    assert bonus != loss
    assert worth(ROWS, turns(), alpha=0.0, **CORRIDOR) == bonus
    assert worth(ROWS, turns(), kappa_low=0.0, kappa_high=1e9) == bonus
    assert not corridor_penalty(ROWS, REFERENCE, 0.0, torch.inf).any()
    # A turn without tokens is no turn.
    empty = torch.cat([MASK, torch.zeros(1, 4).bool()])
    more = turns(empty, torch.tensor([0, 1, 1, 0]))
    assert worth(torch.cat([ROWS, ROWS[:1]]), more, **CORRIDOR) == pytest.approx(loss, rel=1e-6)
    H = ROWS.clone().requires_grad_()
    for agg in ("turn", "token"):
        nothing = added(H, turns(torch.zeros_like(MASK)), agg=agg)
        nothing.loss.backward()
        assert float(nothing.loss.detach()) == 0.0
        assert not H.grad.any()
        assert float(nothing.metrics["epo/inside"]) == 0.0


def test_check_5_the_reference_is_a_constant():
    reference = torch.tensor(REFERENCE, requires_grad=True)
    assert not corridor_penalty(ROWS, reference, 0.5, 1.5).requires_grad


def test_check_6_the_official_penalty_has_no_gradient():
    rows = torch.tensor([[0.2, 0.5, 1.0, 0.05], [0.9, 1.3, 0.0, 0.7]]).requires_grad_()
    found = 0.1 * corridor_penalty(rows, torch.tensor([[0.4], [0.8]]), 0.5, 1.5, kind="indicator")
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.0, 0.1, 0.1], [0.0, 0.1, 0.1, 0.0]]))
    assert not found.requires_grad
    with pytest.raises(ValueError, match="unknown kind 'soft'"):
        corridor_penalty(rows, 0.5, kind="soft")


def test_check_6_the_official_schedule():
    found = [official_weight(k) for k in (0, 25, 75, 76, 100, 150)]
    assert found == pytest.approx([1, 0.902683, 0.827067, 0.768632, 0.294304, 0.039830], abs=1e-6)


def test_the_official_form_has_the_gradient_of_a_plain_bonus_and_another_loss():
    rollouts, entropy = episodes()
    official = recipe("dapo+epo-official(coef=0.1, alpha=0.5)")
    bonus = recipe("dapo", EPO(coef=0.1, alpha=0.0, agg="token", total_steps=9))
    losses, gradients = [], []
    for chosen in (official, bonus):
        H = entropy.clone().requires_grad_()
        zero = torch.zeros_like(entropy)
        current = PolicyStats(logp=zero, entropy=H)
        loss = chosen.loss(current, rollouts, zero, chosen.prepare(rollouts, zero)).loss
        losses.append(float(loss.detach()))
        gradients.append(torch.autograd.grad(loss, H)[0])
    torch.testing.assert_close(*gradients)
    assert losses[0] > losses[1]


def test_the_official_history_is_one_of_turns_and_includes_the_present():
    rollouts, entropy = episodes()
    part = OfficialEPO()
    first = [(17 / 30 + 0.725) / 2, 0.4]
    prepared = part.prepare(rollouts, torch.zeros(2, 6), Context())
    assert prepared["reference"][1].tolist() == pytest.approx([first[0]] * 4 + [0, first[1]])
    part.remember(rollouts, torch.zeros(2, 6), Context())
    double = replace(rollouts, behaviour=PolicyStats(logp=entropy * 0, entropy=3 * rollouts.behaviour.entropy))
    later = part.prepare(double, torch.zeros(2, 6), Context())
    assert later["reference"][1].tolist() == pytest.approx([2 * first[0]] * 4 + [0, 2 * first[1]])
    assert float(later["weight"]) == pytest.approx(official_weight(1))
    again = OfficialEPO()
    again.load_state_dict(part.state_dict())
    assert (again.seen, again.batches) == (part.seen, 1)


def episodes():
    """The worked example with both turns of the second episode in one row, an answer of the environment between."""
    train = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 1]]).bool()
    entropy = torch.tensor([[0.2, 0.5, 1.0, 0, 0, 0], [0.9, 1.3, 0.0, 0.7, 5.0, 0.4]], dtype=torch.float64)
    attention = train.flip(-1).cumsum(-1).flip(-1) > 0
    rollouts = Rollouts(
        tokens=torch.zeros(2, 6, dtype=torch.long),
        real=attention,
        trained=train,
        group=torch.zeros(2, dtype=torch.long),
        reward=torch.zeros(2),
        behaviour=PolicyStats(logp=torch.zeros(2, 6, dtype=torch.float64), entropy=entropy * attention),
    )
    return rollouts, entropy


@pytest.mark.parametrize(("agg", "expected"), [("turn", -0.000549622), ("token", None)])
def test_the_intervention_adds_the_worked_loss(agg, expected):
    rollouts, entropy = episodes()
    with_it = recipe("dr_grpo", EPO(alpha=0.1, kappa_low=0.5, kappa_high=1.5, agg=agg, total_steps=150))
    with_it.observe({"epo/entropy": 0.4}, Context())
    with_it.observe({"epo/entropy": 0.6}, Context())
    zeros = torch.zeros(2, 6, dtype=torch.float64)
    prepared = with_it.prepare(rollouts, zeros, Context(step=25))
    loss = with_it.loss(PolicyStats(zeros, entropy), rollouts, zeros, prepared).loss
    if expected is None:
        expected = -0.001 * (0.625 - 1.367879 * 0.015625)
    assert float(loss) == pytest.approx(expected, abs=1e-9)
    parts = []
    for row in (slice(0, 1), slice(1, 2)):
        own = Rollouts.from_columns({n: c[row] for n, c in rollouts.columns().items()})
        some = {n: p[row] if p.dim() else p for n, p in prepared.items()}
        totals = Totals(tokens=8, rows=2)
        parts.append(float(with_it.loss(PolicyStats(zeros[row], entropy[row]), own, zeros[row], some, totals).loss))
    assert sum(parts) == pytest.approx(expected, abs=1e-9)


def test_the_history_excludes_the_present_counts_every_step_alike_and_is_saved():
    epo = EPO()
    assert epo.reference is None
    for value in (1.0, 0.5, 0.0):
        epo.observe({"epo/entropy": value}, Context())
    assert epo.reference == pytest.approx(0.5)
    again = EPO()
    again.load_state_dict(epo.state_dict())
    assert again.reference == epo.reference
    rollouts, _ = episodes()
    first = EPO(total_steps=4).prepare(rollouts, torch.zeros(2, 6), Context())
    assert float(first["beta"]) == 0.0


def test_weights_are_those_of_a_mean_of_means_of_means():
    rollouts, entropy = episodes()
    weight = turn_weights(rollouts)
    assert float((weight * entropy).sum() / 2) == pytest.approx(0.564583, abs=1e-6)
    assert not weight[~rollouts.trained].any()


def test_a_run_of_unknown_length_is_refused_by_name():
    rollouts, _ = episodes()
    epo = EPO()
    assert float(epo.prepare(rollouts, torch.zeros(2, 6), Context())["beta"]) == 0.0
    epo.observe({"epo/entropy": 0.5}, Context())
    with pytest.raises(ValueError, match=r"epo: the engine did not say how many steps .* epo\(total_steps="):
        epo.prepare(rollouts, torch.zeros(2, 6), Context())
    assert float(epo.prepare(rollouts, torch.zeros(2, 6), Context(total_steps=10))["beta"]) > 0.0


def test_the_official_schedule_ends_where_its_code_clamps_it():
    assert [official_weight(k, 150) for k in (151, 1000)] == [official_weight(150, 150)] * 2
    assert official_weight(151, 150) == pytest.approx(0.039830, abs=1e-6)
    assert official_weight(-3, 150) == 1.0
