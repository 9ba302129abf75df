"""What prime-rl carries is the recipe: a step's loss and gradient, in float64, against the whole batch by hand."""

import pytest
import torch

from entrokit.rlvr import Totals, policy_loss, recipe

from .carried import CARRIED, CLOSE, built
from .contract import CUTS, batch, gradients, padded, step
from .methods import Halved, PrimeDefault


def ratios(logp, old):
    return (logp - old).exp()


def clipped(r, a, low, high, dual):
    loss = torch.maximum(-a * r, -a * r.clamp(1 - low, 1 + high))
    return torch.where(a < 0, torch.minimum(loss, -a * dual), loss)


def cispo(logp, old, a, mask):
    return -ratios(logp, old).clamp(max=5.0).detach() * a * logp


def dispo(logp, old, a, mask):
    r = ratios(logp, old).detach()
    bounds = torch.where(a > 0, r.clamp(0.8, 11.0), r.clamp(0.0, 101.0))
    return -bounds * a * logp


def of_sequences(logp, old, mask):
    return torch.where(mask, logp - old, 0.0).sum(1, keepdim=True)


def gspo(logp, old, a, mask):
    mean = of_sequences(logp, old, mask) / mask.sum(1, keepdim=True).clamp(min=1)
    s = mean.exp().detach() * (logp - logp.detach()).exp()
    return torch.maximum(-a * s, -a * s.clamp(1 - 3e-4, 1 + 4e-4))


def of_whole_sequences(logp, old, a, mask):
    """One loss a sequence, at its last token that trains."""
    s, first = of_sequences(logp, old, mask).exp(), a[:, :1]
    loss = torch.maximum(-first * s, -first * s.clamp(0.8, 1.2))
    last = mask & (mask.flip(1).cumsum(1).flip(1) == 1)
    return torch.where(last, loss, 0.0)


BY_HAND = {
    "dapo": lambda logp, old, a, mask: clipped(ratios(logp, old), a, 0.2, 0.28, 3.0),
    "grpo": lambda logp, old, a, mask: clipped(ratios(logp, old), a, 0.2, 0.2, 3.0),
    "dr_grpo(clip_low=0.1)": lambda logp, old, a, mask: clipped(ratios(logp, old), a, 0.1, 0.2, 3.0),
    "rloo(dual_clip=1.5)": lambda logp, old, a, mask: clipped(ratios(logp, old), a, 0.2, 0.2, 1.5),
    "cispo": cispo,
    "dispo": dispo,
    "gspo": gspo,
    "rloo_sequence": of_whole_sequences,
}


@pytest.mark.parametrize("cuts", CUTS, ids=["one-micro-batch", "one-each", "two-ranks"])
@pytest.mark.parametrize("spec", BY_HAND)
def test_a_base_is_its_formula_over_the_whole_batch(spec, cuts):
    sequences = batch()
    total, _ = step(sequences, built(spec, aggregation="token-mean"), cuts=cuts)
    logp, old, advantages, mask = padded(sequences)
    by_hand = torch.where(mask, BY_HAND[spec](logp, old, advantages, mask), 0.0).sum() / mask.sum()
    torch.testing.assert_close(total, by_hand, **CLOSE)
    torch.testing.assert_close(gradients(total, sequences), gradients(by_hand, sequences), **CLOSE)
    assert gradients(total, sequences).abs().max() > 1e-3


def test_the_catalogue_has_more_than_the_bases_above():
    assert {"cispo", "dapo", "gspo", "rloo_sequence", "reinforce_plus_plus"} <= set(CARRIED)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("example", CARRIED)
def test_every_carried_example_is_the_recipe_on_the_whole_batch(example, seed):
    sequences = batch(seed)
    chosen = built(example, aggregation="token-mean")
    logp, old, advantages, mask = padded(sequences)
    whole = policy_loss(chosen.recipe, logp=logp, old_logp=old, advantages=advantages, mask=mask)
    for cuts in CUTS:
        total, metrics = step(sequences, chosen, cuts=cuts)
        torch.testing.assert_close(total, whole.loss, **CLOSE)
        torch.testing.assert_close(gradients(total, sequences), gradients(whole.loss, sequences), **CLOSE)
        tokens = torch.tensor([7.0, 5.0, 1.0, 11.0])
        order = [i for cut in cuts for i in cut if i != 2]
        of_each = {i: n for i, n in zip([0, 1, 3, 4], tokens, strict=True)}
        weights = torch.stack([of_each[i] for i in order])
        for name, value in whole.metrics.items():
            mean = (metrics[f"recipe/{name}"] * weights).sum() / weights.sum()
            torch.testing.assert_close(mean, value.float(), rtol=1e-5, atol=1e-6)


def test_an_aggregation_that_is_token_mean_needs_no_word():
    sequences = batch()
    plain, said = (step(sequences, built("dapo", aggregation=a), cuts=CUTS[2])[0] for a in (None, "token-mean"))
    assert torch.equal(plain, said)


def test_gradients_reach_tokens_of_the_mask_alone_and_are_those_of_finite_differences():
    sequences = batch()
    own = sequences[1]
    loss = built("cispo", aggregation=None)
    # CISPO's value is no surrogate of its gradient; PPO's clip is.
    clip = built("dapo")
    (slope,) = torch.autograd.grad(clip(own).loss, [own.trainer_logprobs])
    assert (slope[~own.loss_mask] == 0).all()
    assert (torch.autograd.grad(loss(own).loss, [own.trainer_logprobs])[0][own.loss_mask] != 0).all()
    h = 1e-6
    for at in own.loss_mask.nonzero()[:, 0].tolist():
        values = []
        for sign in (1, -1):
            moved = own.trainer_logprobs.detach().clone()
            moved[at] += sign * h
            values.append(clip(type(own)(**{**vars(own), "trainer_logprobs": moved})).loss)
        # Central difference: h² f'''/6 with f''' below 10, and rounding of 1e-15 / h.
        assert slope[at].item() == pytest.approx(((values[0] - values[1]) / (2 * h)).item(), abs=1e-8)


def test_a_method_of_ones_own_weighs_tokens():
    sequences = batch()
    whole, half = (step(sequences, built("dapo", *own), cuts=CUTS[2])[0] for own in ((), (Halved(),)))
    torch.testing.assert_close(half, whole / 2, **CLOSE)


def test_prime_rls_own_default_loss_is_a_recipe():
    """Its mathematics by hand: per token ``-keep A r + tau log²r``, summed, over the step's tokens."""
    sequences = batch(scale=1.0)
    unclipped = "dapo(clip_low=1.0, clip_high=1e9, dual_clip=None)"
    for low, high, tau in ((0.2, 0.2, 1e-3), (0.05, 0.1, 0.3), (1.0, 1.0, 0.0)):
        chosen = built(unclipped, PrimeDefault(low, high, tau))
        total, metrics = step(sequences, chosen, cuts=CUTS[2])
        logp, old, a, mask = padded(sequences)
        moved = logp.detach().exp() - old.exp()
        dropped = ((a > 0) & (moved > high)) | ((a < 0) & (moved < -low))
        per_token = -a * ratios(logp, old) * ~dropped + tau * (logp - old) ** 2
        by_hand = per_token[mask].sum() / mask.sum()
        torch.testing.assert_close(total, by_hand, **CLOSE)
        torch.testing.assert_close(gradients(total, sequences), gradients(by_hand, sequences), **CLOSE)
        assert bool((dropped & mask).any()) == (high < 1.0)
        assert metrics["recipe/prime-default/masked"].shape == (4,)


def test_without_mask_and_kl_prime_rls_default_loss_is_unclipped_dapo_and_has_cispos_gradient():
    sequences = batch(scale=0.3)
    logp, old, a, mask = padded(sequences)
    by_hand = (-a * ratios(logp, old))[mask].sum() / mask.sum()
    unclipped, _ = step(sequences, built("dapo(clip_low=1.0, clip_high=1e9, dual_clip=None)"), cuts=CUTS[1])
    torch.testing.assert_close(unclipped, by_hand, **CLOSE)
    bounded, _ = step(sequences, built("cispo"), cuts=CUTS[1])
    torch.testing.assert_close(gradients(bounded, sequences), gradients(by_hand, sequences), **CLOSE)


def test_weights_scale_every_token_and_zeros_leave_the_denominator():
    sequences = batch()
    g = torch.Generator().manual_seed(5)
    for own in sequences:
        own.loss_weights = torch.rand(len(own.advantages), generator=g, dtype=torch.float64) + 0.1
    sequences[0].loss_weights[5] = 0.0
    sequences[3].loss_weights[:] = 0.0
    total, _ = step(sequences, built("dapo"), cuts=CUTS[2])
    logp, old, a, mask = padded(sequences)
    weights = torch.nn.utils.rnn.pad_sequence([s.loss_weights for s in sequences], batch_first=True)
    member = mask & (weights != 0)
    by_hand = torch.where(member, clipped(ratios(logp, old), a, 0.2, 0.28, 3.0) * weights, 0.0).sum() / member.sum()
    assert member.sum() == mask.sum() - 2
    torch.testing.assert_close(total, by_hand, **CLOSE)
    torch.testing.assert_close(gradients(total, sequences), gradients(by_hand, sequences), **CLOSE)


def test_zero_advantages_that_prime_rl_removes_change_the_divisor_alone():
    """`filter_zero_advantages`, on by default: such tokens leave with weight 0."""
    kept, removed = batch(), batch()
    for own, other in ((kept[1], removed[1]), (kept[3], removed[3])):
        own.advantages[:] = other.advantages[:] = 0.0
    for own in removed:
        own.loss_weights = (own.advantages != 0).double()
    loss = built("dapo")
    whole, part = (step(s, loss, cuts=CUTS[2])[0] for s in (kept, removed))
    torch.testing.assert_close(part, whole * 24 / 18, **CLOSE)


def test_in_float32_the_step_is_the_recipes_in_float32():
    sequences = batch(dtype=torch.float32)
    chosen = built("dapo")
    total, _ = step(sequences, chosen, cuts=CUTS[0])
    logp, old, a, mask = padded(sequences)
    rollouts = policy_loss(recipe("dapo"), logp=logp, old_logp=old, advantages=a, mask=mask, totals=Totals(tokens=24))
    assert total.dtype == torch.float32
    # 24 terms of order 1, each rounded to 6e-8 of itself.
    torch.testing.assert_close(total, rollouts.loss, rtol=0, atol=2e-6)
