"""SPEAR: the sheet's schedules, median, recalibration and Clip-Cov, and a memory that is bounded and checks itself."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import Context, PolicyStats, Rollouts, Totals, recipe
from entrokit.rlvr.interventions.self_imitation import SelfImitation, cosine_warmup, median, recalibrate_advantages
from entrokit.rlvr.interventions.tool_reward import ToolReward, cosine_decay, tool_call_reward
from entrokit.rlvr.replay import TrajectoryBuffer
from entrokit.rlvr.turns import answered_turns


def rollouts(rewards, *, prompt=3, length=4, group=2, seed=0, tools=None):
    g = torch.Generator().manual_seed(seed)
    rows = len(rewards)
    lengths = torch.randint(1, length + 1, (rows,), generator=g)
    attention = torch.arange(length) < lengths[:, None]
    padding = torch.arange(prompt) < torch.randint(0, prompt, (rows, 1), generator=g)
    return Rollouts(
        tokens=torch.randint(0, 20, (rows, length), generator=g),
        real=attention,
        trained=attention,
        group=torch.arange(rows) // group,
        reward=torch.tensor(rewards, dtype=torch.float32),
        correct=torch.tensor(rewards) >= 1.0,
        behaviour=PolicyStats(logp=torch.where(attention, -torch.rand(rows, length, generator=g), 0.0)),
        prompt=torch.randint(0, 20, (rows, prompt), generator=g).masked_fill(padding, -1),
        tool_calls=None if tools is None else torch.tensor(tools),
    )


def remembered(intervention, rewards, **options):
    """One generation batch, seen with the advantages of Dr.GRPO."""
    batch = rollouts(rewards, **options)
    advantages = recipe("dr_grpo").advantages(batch)
    intervention.remember(batch, advantages, Context())
    return batch


def test_schedules():
    at = (0, 50, 100, 150, 200, 201)
    assert [cosine_warmup(t, 200) for t in at] == pytest.approx([0, 0.146447, 0.5, 0.853553, 1, 1], abs=1e-6)
    assert [cosine_decay(t, 200) for t in at] == pytest.approx([1, 0.853553, 0.5, 0.146447, 0, 0], abs=1e-6)


@given(st.floats(0, 200))
def test_the_schedules_add_up_to_one(t):
    assert cosine_warmup(t, 200) + cosine_decay(t, 200) == pytest.approx(1.0)


def test_median_and_recalibration():
    assert median([0, 0.25, 0.5, 0.125, 1, 0.75]) == 0.375
    assert median([0, 0.25, 0.5, 0.125, 1]) == 0.25
    rewards = torch.tensor([1, 0, 1, 0.3, 1, 0])
    plain = recalibrate_advantages(rewards, [0.4])
    assert plain.tolist() == pytest.approx([0.6, -0.4, 0.6, -0.1, 0.6, -0.4])
    scaled = recalibrate_advantages(rewards, [0.4], [0.2]).tolist()
    assert scaled == pytest.approx([2.999985, -1.99999, 2.999985, -0.499998, 2.999985, -1.99999], abs=1e-6)


def test_kept_are_those_above_their_group_and_above_the_baseline():
    s = SelfImitation(size=4, trigger=0.5, tools_only=False)
    batch = remembered(s, [1, 0, 1, 0.3, 1, 0])
    advantages = recipe("dr_grpo").advantages(batch)[:, 0]
    assert advantages.tolist() == pytest.approx([0.5, -0.5, 0.35, -0.35, 0.5, -0.5], abs=1e-6)
    assert s.buffer.rewards.tolist() == [1, 1, 1]
    s.baseline = [(torch.tensor([0.4]), torch.tensor([0.2]))]
    replay = s.replay(Context(generator=torch.Generator().manual_seed(0)))
    # Two is the largest power of two up to three.
    assert len(replay.rollouts) == 2
    assert replay.advantages[replay.rollouts.trained].tolist() == pytest.approx(
        [0.6] * int(replay.rollouts.trained.sum())
    )
    assert replay.coef == pytest.approx(cosine_warmup(2, 200))


CURRENT = torch.tensor([[-0.1, -1.9, -0.6, -2.5], [-0.25, -1, -4.2, -0.3]])


def clip_cov_batch():
    train = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()
    batch = Rollouts(
        tokens=torch.zeros(2, 4, dtype=torch.long),
        real=train,
        trained=train,
        group=torch.arange(2),
        reward=torch.zeros(2),
        behaviour=PolicyStats(logp=torch.tensor([[-0.1, -2, -0.5, -3], [-0.2, -1, -4, -0.3]])).masked(train),
    )
    return batch, torch.tensor([[1.0] * 4, [-1.0] * 4]) * train


@pytest.mark.parametrize(
    ("base", "loss"), [("dapo", -0.191254), ("dr_grpo", -0.334695 / 2)], ids=["token-mean", "sum-norm"]
)
def test_clip_cov_of_the_official_function(base, loss):
    """The official "seq-mean-token-sum-norm" divides by the padded length alone; Dr.GRPO divides by rows too."""
    chosen = recipe(f"{base}(clip_high=0.28, dual_clip=None)+clip-cov(ratio=1.0, high=40, scope='micro')")
    batch, advantages = clip_cov_batch()
    current = CURRENT.clone().requires_grad_()
    prepared = chosen.prepare(batch, advantages)
    result = chosen.loss(PolicyStats(logp=current), batch, advantages, prepared, Totals(length=4))
    assert float(result.loss.detach()) == pytest.approx(loss, abs=1e-6)
    if base == "dapo":
        (gradient,) = torch.autograd.grad(result.loss, current)
        assert gradient[0].tolist() == pytest.approx([0, -0.157882, -0.129262, 0], abs=1e-6)
        assert gradient[1].tolist() == pytest.approx([0.135890, 0.142857, 0, 0], abs=1e-6)


def test_plain_ppo_on_the_same_data():
    batch, advantages = clip_cov_batch()
    loss = recipe("dapo(dual_clip=None)").loss(PolicyStats(logp=CURRENT), batch, advantages).loss
    assert float(loss) == pytest.approx(-0.217150, abs=1e-6)


def test_nothing_above_the_baseline_replays_nothing_and_an_empty_memory_neither():
    s = SelfImitation(size=1, trigger=0.0, tools_only=False)
    assert s.replay(Context()) is None
    remembered(s, [1, 0, 1, 0])
    s.baseline = [(torch.full((8,), 2.0), torch.ones(8))]
    assert s.replay(Context()) is None
    assert len(s.buffer) == 2


def test_equal_rewards_are_never_replayed():
    s = SelfImitation(size=1, trigger=0.0, tools_only=False)
    for _ in range(3):
        remembered(s, [1, 1, 1, 1])
    assert len(s.buffer) == 0
    assert s.replay(Context()) is None


def test_a_replay_waits_for_the_trigger_then_empties_the_memory_and_keeps_the_baseline():
    s = SelfImitation(size=4, trigger=1.5, tools_only=False)
    s.baseline = [(torch.zeros(50), torch.ones(50))]
    for seed in range(3):
        remembered(s, [1, 0, 1, 0], seed=seed)
    assert s.replay(Context()) is None  # six are not more than 1.5 times 4
    remembered(s, [1, 0], seed=3)
    assert len(s.replay(Context()).rollouts) == 4
    assert len(s.buffer) == 0
    assert sum(len(means) for means, _ in s.baseline) == 57


def test_old_entries_go_and_the_baseline_forgets_whole_updates():
    s = SelfImitation(size=64, tolerate=2, baseline_size=5, tools_only=False)
    for seed in range(6):
        remembered(s, [1, 0, 1, 0], seed=seed)
    assert {e.step for e in s.buffer.entries} == {4, 5, 6}
    assert [len(means) for means, _ in s.baseline] == [2, 2]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=2), min_size=1, max_size=12))
def test_memory_is_bounded_whatever_comes(batches):
    s = SelfImitation(size=1, trigger=2.0, tolerate=100, baseline_size=3, tools_only=False)
    for rewards in batches:
        remembered(s, rewards)
    assert len(s.buffer) <= 4
    assert sum(len(means) for means, _ in s.baseline) <= 3
    assert s.memory_bytes == s.buffer.nbytes + 8 * sum(len(means) for means, _ in s.baseline)


def test_only_completions_that_call_a_tool_are_kept_by_default():
    s = SelfImitation(size=64)
    remembered(s, [1, 0, 1, 0], tools=[1, 0, 0, 3])
    assert len(s.buffer) == 1


def test_what_is_kept_is_compact_and_comes_back_as_it_was():
    s = SelfImitation(size=64, tools_only=False)
    batch = remembered(s, [1, 0, 1, 0])
    kept = s.buffer.entries[0]
    assert (kept.prompt.dtype, kept.tokens.dtype, kept.logp.dtype) == (torch.int32, torch.int32, torch.float32)
    assert not kept.logp.requires_grad
    real = int(batch.real[0].sum())
    assert kept.nbytes == 4 * int((batch.prompt[0] >= 0).sum()) + real * (4 + 1 + 4)
    again = s.buffer.rollouts([0, 1])
    for name in ("tokens", "trained"):
        width = again.tokens.shape[1]
        own = getattr(batch, name)[[0, 2], :width]
        assert torch.equal(torch.where(again.real, getattr(again, name), 0).to(own.dtype), own * again.real)
    assert torch.equal(again.behaviour.logp, batch.behaviour.logp[[0, 2], : again.tokens.shape[1]])
    assert [row[row >= 0].tolist() for row in again.prompt] == [row[row >= 0].tolist() for row in batch.prompt[[0, 2]]]


def test_state_survives_a_restart():
    s, again = (SelfImitation(size=2, trigger=0.5, tools_only=False) for _ in range(2))
    for seed in range(2):
        remembered(s, [1, 0, 1, 0.5], seed=seed)
    again.load_state_dict(s.state_dict())
    one, two = (i.replay(Context(generator=torch.Generator().manual_seed(3))) for i in (s, again))
    assert torch.equal(one.rollouts.tokens, two.rollouts.tokens)
    assert torch.equal(one.advantages, two.advantages)
    assert one.coef == two.coef
    empty = SelfImitation()
    empty.load_state_dict(SelfImitation().state_dict())
    assert len(empty.buffer) == 0


def test_an_entry_of_another_tokenizer_or_context_is_refused_by_name():
    s = SelfImitation(size=64, tools_only=False)
    remembered(s, [1, 0])
    s.check_fits(vocabulary=20, longest=7)
    with pytest.raises(ValueError, match=r"entry 0, sampled at update 1.*none of the tokenizer's 3"):
        s.check_fits(vocabulary=3, longest=7)
    with pytest.raises(ValueError, match="exceed the context of 1"):
        s.check_fits(vocabulary=20, longest=1)


def test_an_engine_without_prompts_is_told_so():
    batch = rollouts([1.0, 0.0])
    columns = {k: v for k, v in batch.columns().items() if k != "prompt"}
    with pytest.raises(ValueError, match="no prompts"):
        TrajectoryBuffer(4).add(Rollouts.from_columns(columns), torch.ones(2).bool(), 1)


def test_tool_reward_grows_with_calls_and_fades():
    n = torch.tensor([0, 1, 5, 20])
    assert tool_call_reward(n, 0).tolist() == pytest.approx([0, 0.1, 0.5, 1.0])
    assert tool_call_reward(n, 100).tolist() == pytest.approx([0, 0.05, 0.25, 0.5])
    assert not tool_call_reward(n, 201).any()
    assert not tool_call_reward(n, 0, mode="none").any()
    assert tool_call_reward(n, 999, mode="constant").tolist() == pytest.approx([0, 0.1, 0.5, 1.0])
    with pytest.raises(ValueError, match="mode must be one of"):
        tool_call_reward(n, 0, mode="linear")


def test_tool_reward_counts_generation_batches_of_training_only():
    part = ToolReward(decay=2)
    chosen = recipe("dr_grpo", part)
    batch = rollouts([1.0, 0.0], tools=[0, 10])
    mu = [0.5 * (1 + math.cos(math.pi * t / 2)) for t in (1, 2, 3)]
    assert chosen.rewards(batch).tolist() == pytest.approx([1.0, mu[0]])
    assert chosen.rewards(batch).tolist() == pytest.approx([1.0, mu[0]])
    chosen.remember(batch, chosen.advantages(batch), Context())
    assert chosen.rewards(batch).tolist() == pytest.approx([1.0, mu[1]])
    again = ToolReward(decay=2)
    again.load_state_dict(part.state_dict())
    assert again.updates == 1


def test_the_second_reward_pays_a_right_completion_for_any_call():
    part = ToolReward(mode="constant", rule="any-if-right")
    batch = rollouts([1.0, 1.0, 0.0, 0.0], tools=[0, 7, 0, 7])
    assert part.reward(batch, batch.reward, Context()).tolist() == pytest.approx([1.0, 2.0, 0.0, 0.7])


def test_calls_are_the_turns_that_something_answered_unless_an_engine_counts_them():
    train = torch.tensor([[1, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]]).bool()
    attention = torch.tensor([[1] * 6, [1] * 3 + [0] * 3, [1] * 4 + [0] * 2]).bool()
    batch = Rollouts(
        tokens=torch.zeros(3, 6, dtype=torch.long),
        real=attention,
        trained=train,
        group=torch.zeros(3, dtype=torch.long),
        reward=torch.zeros(3),
        behaviour=PolicyStats(logp=torch.zeros(3, 6)),
    )
    assert answered_turns(batch).tolist() == [2, 0, 1]


def test_knobs_are_checked():
    for bad in ({"size": 0}, {"trigger": -1.0}, {"warmup": 0}, {"ratio": 0.0}, {"high": 0.0}):
        with pytest.raises(ValueError, match="must be"):
            SelfImitation(**bad)


def test_beyond_its_size_the_oldest_go():
    buffer = TrajectoryBuffer(most=3)
    for step in range(5):
        buffer.add(rollouts([float(step), 0.0]), torch.tensor([True, False]), step)
    assert [e.step for e in buffer.entries] == [2, 3, 4]
    assert [e.reward for e in buffer.entries] == [2.0, 3.0, 4.0]


def test_ranks_leave_the_shared_generator_alike_and_draw_from_their_own():
    """Three good ones here, five there: every rank draws once, over all."""
    left, drawn = [], []
    for rank, own in ((0, 3), (1, 5)):
        s = SelfImitation(size=4, trigger=0.5, tools_only=False)
        batch = rollouts([1.0] * own + [-1.0] * own, group=2 * own)
        s.remember(batch, torch.where(batch.trained, batch.reward[:, None], 0.0), Context())
        s.baseline = []
        entries = list(s.buffer.entries)
        generator = torch.Generator().manual_seed(7)
        replay = s.replay(Context(generator=generator, rank=rank, gather=lambda x: torch.tensor([3, 5])))
        left.append(generator.get_state())
        order = torch.randperm(8, generator=torch.Generator().manual_seed(7)).tolist()
        own_part = range(3) if rank == 0 else range(3, 8)
        expected = [entries[i - own_part.start] for i in order if i in own_part][:2]
        tokens = [row[m].tolist() for row, m in zip(replay.rollouts.tokens, replay.rollouts.real, strict=True)]
        drawn.append(tokens == [e.tokens.tolist() for e in expected])
    assert torch.equal(*left)
    assert drawn == [True, True]


def test_what_was_not_scored_is_in_no_baseline():
    s = SelfImitation(size=4, tools_only=False)
    batch = rollouts([1.0, 0.0, float("nan"), 0.5], group=4)
    s.remember(batch, torch.zeros(batch.trained.shape), Context())
    ((mean, std),) = s.baseline
    assert mean.tolist() == pytest.approx([0.5])
    assert std.tolist() == pytest.approx([0.5])
