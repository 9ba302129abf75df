"""ARES: the sheet's windows, buckets, rewards and controllers; invariances and degenerate inputs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import Context, PolicyStats, Rollouts, recipe
from entrokit.rlvr.interventions.aepo_kl import AEPOKL, BucketController, kl_weights, proportional, variance_increase
from entrokit.rlvr.interventions.aepo_reward import AEPOReward, aepo_penalty, aepo_score, drift_weight
from entrokit.rlvr.windows import difficulty, hwe_mask, window_entropy
from entrokit.runs.readers.top_k import entropy_bounds

H = torch.tensor([[0.1, 0.2, 1.5, 1.2, 0.9, 0.1, 0.05, 2.0, 0.1, 0.1]])
ALL = torch.ones_like(H, dtype=torch.bool)


def batch(correct, entropy, lengths=None, group=4):
    rows, length = entropy.shape
    attention = torch.arange(length) < torch.tensor(lengths or [length] * rows)[:, None]
    right = torch.tensor(correct)
    return Rollouts(
        tokens=torch.zeros(rows, length, dtype=torch.long),
        real=attention,
        trained=attention,
        group=torch.arange(rows) // group,
        reward=right.float(),
        behaviour=PolicyStats(logp=-entropy, entropy=entropy).masked(attention),
        correct=right,
        reference_logp=torch.where(attention, -entropy - 0.1, 0.0),
    )


def test_windows_of_the_paper():
    means, defined = window_entropy(H, ALL)
    assert means[defined].tolist() == pytest.approx([0.75, 0.95, 0.925, 0.5625, 0.7625, 0.5625, 0.5625])
    means, defined = window_entropy(H, ALL, align="following")
    assert means[defined].tolist() == pytest.approx([0.95, 0.925, 0.5625, 0.7625, 0.5625, 0.5625])
    assert defined[0].tolist() == [True] * 6 + [False] * 4
    assert torch.equal(window_entropy(H, ALL, w=1)[0], H)


def test_a_token_threshold_never_fires_where_a_window_threshold_does():
    tokens = hwe_mask(H, ALL, level="token", align="start")
    assert tokens.threshold == pytest.approx(1.775)
    assert tokens.count.tolist() == [0]
    assert hwe_mask(H, ALL, align="start").count.tolist() == [1]


@given(st.integers(0, 5), st.integers(1, 5))
def test_padding_changes_no_window(pad, w):
    g = torch.Generator().manual_seed(pad * 7 + w)
    x = torch.rand(3, 8, generator=g)
    mask = torch.arange(8) < torch.tensor([[8], [5], [1]])
    wide = torch.nn.functional.pad(x, (0, pad), value=float("nan"))
    wide_mask = torch.nn.functional.pad(mask, (0, pad))
    means, defined = window_entropy(x, mask, w)
    again, also = window_entropy(wide, wide_mask, w)
    assert torch.equal(again[:, :8], means)
    assert torch.equal(also[:, :8], defined)
    assert not also[:, 8:].any()


def test_short_completions_have_no_window_and_no_say_in_the_threshold():
    x = torch.cat([H, H])
    mask = torch.stack([ALL[0], torch.arange(10) < 4])
    both = hwe_mask(x, mask)
    assert both.count.tolist() == [1, 0]
    assert both.threshold == hwe_mask(H, ALL).threshold
    nothing = hwe_mask(H, torch.zeros_like(ALL), before=0.3)
    assert nothing.count.tolist() == [0]
    assert nothing.threshold == 0.3


def test_the_threshold_is_remembered_and_triggers_narrow_what_counts():
    own = hwe_mask(H, ALL).threshold
    assert hwe_mask(H, ALL, before=1.0).threshold == pytest.approx(0.99 + 0.01 * own)
    none = hwe_mask(H, ALL, triggers=torch.zeros_like(ALL))
    assert none.count.tolist() == [0]
    with pytest.raises(ValueError, match="align one of"):
        window_entropy(H, ALL, align="middle")


def test_a_tail_of_one_token_is_the_lower_bound_of_top_k_entropies():
    """The official tail bucket, where the rest is smaller than the least of the k; `entropy_bounds` knows more."""
    for p, expected in [((0.9, 0.05), 0.394398), ((0.5, 0.3, 0.1), 1.168282), ((0.95,), 0.198515)]:
        low, high = entropy_bounds(torch.tensor(p).log().tolist(), 1000)
        assert low == pytest.approx(expected, abs=1e-6)
        assert high > low
    assert entropy_bounds(torch.full((4,), 0.25).log().tolist(), 1000)[0] == pytest.approx(1.386294, abs=1e-6)


def test_buckets():
    assert difficulty(torch.arange(9), torch.tensor(8)).tolist() == [2, 2, 2, 1, 1, 1, 0, 0, 0]
    assert difficulty(torch.tensor([5, 6, 10, 11]), torch.tensor(16)).tolist() == [2, 1, 1, 0]
    # Counts that were summed as floats, over ranks: two thirds and one third are on the easier side.
    assert difficulty(torch.tensor([1.9999999, 1.0000001]), torch.tensor([3.0, 3.0])).tolist() == [0, 1]


N = torch.tensor([5, 10, 16, 20, 23, 24, 26, 30, 40])
SCORES = {
    (0, True): [0, 0, 0, 0, 0, -0.025, -0.2, -0.5, -0.5],
    (0, False): [0.15] * 5 + [0.186738, 0.245272, 0.291206, 0.299939],
    (1, True): [-0.5, -0.21875, 0, 0, 0, 0, -0.010417, -0.21875, -0.5],
    (1, False): [0.2] * 6 + [0.239475, 0.352319, 0.399011],
    (2, True): [-0.163636, -0.030682, 0.438635, 0.546960, 0.579333, 0.585045, 0.592228, 0.597932, 0.599926],
    (2, False): [0.3] * 7 + [0.438635, 0.592228],
}


@pytest.mark.parametrize(("bucket", "right"), SCORES)
def test_the_official_score(bucket, right):
    def of(value, dtype=torch.float32):
        return torch.full((9,), value, dtype=dtype)

    score = aepo_score(of(right, torch.bool), N, of(20.0), of(bucket, torch.long), of(0.5))
    assert score.tolist() == pytest.approx(SCORES[bucket, right], abs=1e-6)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2), st.booleans(), st.floats(0, 2))
def test_the_score_is_bounded_by_its_cap(n, target, bucket, right, alpha):
    score = aepo_score(*(torch.tensor([x]) for x in (right, n, target, bucket, alpha)))
    assert abs(float(score)) <= 1.2 * alpha + 1e-6


def test_the_papers_shaping_vanishes_with_its_own_target_and_acts_with_a_lagged_one():
    n, right = torch.tensor([4, 8, 6, 10]), torch.tensor([True, False, False, True])
    assert drift_weight(7.0, 7.0, 5.0) == 0.0
    weight = drift_weight(7.0, 5.0, 5.0)
    assert weight == pytest.approx(0.4, abs=1e-6)
    for bucket, expected in [(0, [1, -1.2, -0.4, 1]), (1, [1, -1.2, -0.4, 1]), (2, [1, 0, 0, 1])]:
        shaped = right.float() + aepo_penalty(
            right, n, torch.full((4,), 5.0), torch.full((4,), bucket), torch.full((4,), weight)
        )
        assert shaped.tolist() == pytest.approx(expected, abs=1e-5)


def test_controllers():
    assert proportional(1.0, 0.02, 0.01) == pytest.approx(1.1)
    assert proportional(1.0, 0.005, 0.01) == pytest.approx(0.95)
    assert proportional(100.0, 1.0, 0.01) == 100.0
    slow = BucketController()
    for _ in range(99):
        slow.update(0.05, 0.01)
    assert slow.kappa == 1.0
    slow.update(0.05, 0.01)
    # e = 4, of which 3 % is remembered: 0.05 times 0.12.
    assert slow.kappa == pytest.approx(2.718281828 ** (0.05 * 0.03 * 4.0))
    quiet = BucketController(calls=99)
    quiet.update(0.0101, 0.01)
    assert quiet.kappa == 1.0


def test_kl_weights_are_looser_inside_windows():
    hwe = torch.tensor([[True, False], [False, True]])
    betas = torch.tensor([0.1, 0.2, 0.4])
    weights = kl_weights(hwe, torch.tensor([0, 2]), betas, rho=0.5)
    assert weights.tolist() == [[pytest.approx(0.05), pytest.approx(0.1)], [pytest.approx(0.4), pytest.approx(0.2)]]
    assert torch.equal(kl_weights(hwe, torch.tensor([1, 1]), betas, rho=1.0), torch.full((2, 2), 0.2))


def test_the_variance_lemma():
    assert variance_increase(8, 0.5, 0.5, 0.0) == pytest.approx(0.109375)


def test_with_rho_one_and_a_fresh_controller_it_is_an_ordinary_kl_loss():
    own = batch([True, False, True, False], H.repeat(4, 1))
    plain, aepo = recipe("grpo+reference-kl(beta=0.01, bias_correction=False)"), recipe("grpo+aepo-kl")
    advantages = plain.advantages(own)
    current = PolicyStats(logp=own.behaviour.logp + 0.05, entropy=own.behaviour.entropy)
    losses = [float(r.loss(current, own, advantages, r.prepare(own, advantages)).loss) for r in (plain, aepo)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_reward_moves_its_targets_in_training_only_and_keeps_those_of_empty_buckets():
    part = AEPOReward()
    chosen = recipe("grpo", part)
    own = batch([True, False, False, False] * 2, torch.rand(8, 12, generator=torch.Generator().manual_seed(0)))
    before = part.state_dict()
    chosen.rewards(own)
    assert part.state_dict() == before
    chosen.remember(own, chosen.advantages(own), Context())
    assert part.targets[2] == round(float(part.windows(own, Context()).count.float().mean()))
    assert part.targets[:2] == [None, None]
    assert part.threshold is not None
    again = AEPOReward()
    again.load_state_dict(part.state_dict())
    assert torch.equal(recipe("grpo", again).rewards(own), chosen.rewards(own))


def test_the_papers_variant_acts_once_usage_has_drifted_up():
    part = AEPOReward(variant="paper", quantile=0.0)
    entropy = torch.rand(8, 12, generator=torch.Generator().manual_seed(0))
    lengths = [12, 9, 11, 8, 12, 7, 10, 12]
    own = batch([True, False, True, False] * 2, entropy, lengths)
    assert torch.equal(part.reward(own, own.reward, Context()), own.reward)
    part.targets[1] = 1.0
    shaped = part.reward(own, own.reward, Context())
    assert torch.equal(shaped[::2], own.reward[::2])
    assert (shaped[1::2] < own.reward[1::2]).any()


def test_groups_that_are_all_right_or_all_wrong_are_not_trained_on():
    own = batch([True] * 4 + [True, False, True, False], torch.rand(8, 12, generator=torch.Generator().manual_seed(1)))
    advantages = recipe("grpo+aepo-reward").advantages(own)
    assert not advantages[:4].any()
    assert advantages[4:].any()


def test_words_that_are_no_single_token_are_refused_and_others_narrow_the_count():
    part = AEPOReward(triggers="wait but")
    with pytest.raises(ValueError, match="none of triggers='wait but' is a single token"):
        part.bind(lambda text: [1, 2])
    part.bind(lambda text: [7] if text.strip() == "wait" else [1, 2])
    own = batch([True, False, True, False], torch.rand(4, 12, generator=torch.Generator().manual_seed(1)))
    assert part.windows(own, Context()).count.tolist() == [0, 0, 0, 0]


def test_an_engine_that_lacks_something_is_told_so():
    own = batch([True, False], torch.rand(2, 12))
    columns = own.columns()
    without = Rollouts.from_columns({k: v for k, v in columns.items() if k not in ("correct", "reference_logp")})
    with pytest.raises(ValueError, match="which completions are right"):
        recipe("grpo+aepo-reward").advantages(without)
    chosen = recipe("grpo+aepo-kl")
    still_right = Rollouts.from_columns({k: v for k, v in columns.items() if k != "reference_logp"})
    advantages = chosen.advantages(still_right)
    with pytest.raises(ValueError, match="no reference log-probabilities"):
        chosen.loss(still_right.behaviour, still_right, advantages, chosen.prepare(still_right, advantages))


def test_the_kl_controller_sees_each_buckets_own_kl():
    chosen = recipe("grpo+aepo-kl(beta=0.1, variant='paper', gain=0.5)")
    part = chosen.interventions[0]
    own = batch([True, True, True, False, False, False, False, True], torch.rand(8, 12), group=4)
    advantages = chosen.advantages(own)
    result = chosen.loss(own.behaviour, own, advantages, chosen.prepare(own, advantages))
    chosen.observe({k: float(v) for k, v in result.metrics.items()}, Context())
    easy, medium, hard = (c.kappa for c in part.controllers)
    d = -0.1
    kl = torch.tensor(d).exp().item() - d - 1
    assert easy == pytest.approx(1 + 0.5 * (kl / 0.01 - 1), rel=1e-4)
    assert hard == pytest.approx(easy, rel=1e-4)
    assert medium == 1.0
    again = AEPOKL()
    again.load_state_dict(part.state_dict())
    assert [c.kappa for c in again.controllers] == [easy, medium, hard]
