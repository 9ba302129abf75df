"""RECAP: the sheet's worked numbers, identities, and its history under an engine."""

import math
from dataclasses import replace

import pytest
import torch

from entrokit.rlvr import Context, PolicyStats, Rollouts, grpo_advantages
from entrokit.rlvr.interventions.recap import DynamicObjectiveWeights, Recap, combine_rewards

ACC = [0.10, 0.30, 0.15, 0.35, 0.20, 0.40]
FMT = [0.95, 0.98, 1.0, 1.0, 1.0, 1.0]
IOU = [0.40, 0.42, 0.45, 0.47, 0.50, 0.52]
NTP = [2.0, 1.9, 1.8, 1.7, 1.65, 1.6]


def objectives(histories=None, **options):
    histories = histories or {"acc": ACC, "fmt": FMT, "iou": IOU, "ntp": NTP}
    kinds = {"ntp": "loss"} if "ntp" in histories else {}
    found = DynamicObjectiveWeights(list(histories), **({"kinds": kinds, "window": 3} | options))
    for i in range(max(map(len, histories.values()))):
        found.update({n: h[i] for n, h in histories.items() if i < len(h)})
    return found


def test_check_1_scores():
    scores = objectives().scores().values()
    assert [c for c, _ in scores] == pytest.approx([0.578947, 0.976667, 0.852349, 0.868421], abs=1e-6)
    assert [i for _, i in scores] == pytest.approx([0.432049, 0.018854, 0.091373, 0.079258], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 5.0}, [1.004515, 1.002061, 0.996499, 0.996925]),
        ({"temperature": 1.0}, [1.039504, 1.009503, 0.974137, 0.976856]),
        ({"temperature": 0.1}, [1.877083, 1.244856, 0.411981, 0.466081]),
        ({"temperature": 1.0, "alpha": 1.0}, [0.778425, 1.158629, 1.023184, 1.039762]),
        ({"temperature": 1.0, "alpha": 0.0}, [1.300582, 0.860378, 0.925090, 0.913950]),
    ],
)
def test_check_2_the_codes_rule(options, expected):
    assert list(objectives(**options).weights().values()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(5.0, [1.029575, 0.914359, 1.029260, 1.026805]), (1.0, [1.130729, 0.624672, 1.128998, 1.115601])],
)
def test_check_3_the_sum_rule_on_losses(temperature, expected):
    losses = {"acc": [1 - x for x in ACC], "fmt": [1.01 - x for x in FMT], "iou": [1 - x for x in IOU], "ntp": NTP}
    found = objectives(losses, kinds=dict.fromkeys(losses, "loss"), rule="sum", temperature=temperature)
    assert [c for c, _ in found.scores().values()] == pytest.approx([0.836735, 0.3, 0.872832, 0.868421], abs=1e-6)
    assert [i for _, i in found.scores().values()] == pytest.approx([0.056656, 0, 0.019026, 0.011500], abs=1e-6)
    assert list(found.weights().values()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rule", ["code", "blend", "sum"])
def test_check_4_identities(rule):
    weights = objectives(rule=rule, temperature=0.3).weights()
    assert sum(weights.values()) == pytest.approx(4.0, abs=1e-12)
    assert list(objectives(rule=rule, temperature=1e9).weights().values()) == pytest.approx([1.0] * 4)
    turned = objectives({"ntp": NTP, "iou": IOU, "acc": ACC, "fmt": FMT}, rule=rule, temperature=0.3).weights()
    assert {n: turned[n] for n in weights} == pytest.approx(weights)
    scaled = objectives({"acc": [7 * x for x in ACC], "fmt": FMT, "iou": IOU, "ntp": NTP}, rule=rule, temperature=0.3)
    assert scaled.weights() == pytest.approx(weights)
    assert objectives({"acc": ACC}, rule=rule).weights() == {"acc": pytest.approx(1.0)}


def test_check_5_short_and_odd_histories():
    assert objectives({"acc": [0.1], "fmt": [0.9]}).weights() == {"acc": 1.0, "fmt": 1.0}
    odd = objectives({"acc": ACC[:5], "fmt": FMT[:5]}, temperature=1.0)
    assert odd.scores()["acc"] == pytest.approx((0.818182, 0.316228), abs=1e-6)
    assert odd.scores()["fmt"] == pytest.approx((0.99, 0.008704), abs=1e-6)
    assert list(odd.weights().values()) == pytest.approx([1.033432, 0.966568], abs=1e-6)


def test_check_6_the_composite_reward():
    rewards = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    total = combine_rewards(rewards, torch.tensor([1.003714, 0.996286], dtype=torch.float64))
    assert total.tolist() == pytest.approx([2.0, 0.996286, 0.996286, 1.003714])
    advantages = grpo_advantages(total, torch.zeros(4, dtype=torch.long), std_eps=1e-4)
    assert advantages.tolist() == pytest.approx([1.499664, -0.504833, -0.504833, -0.489998], abs=1e-6)


def test_what_does_not_apply_counts_nowhere():
    rewards = torch.tensor([[1.0, math.nan], [math.nan, math.nan]])
    assert combine_rewards(rewards, torch.tensor([2.0, 5.0])).tolist() == [2.0, pytest.approx(math.nan, nan_ok=True)]
    found = DynamicObjectiveWeights(["a", "b"], window=2)
    found.update({"a": math.nan, "b": 1.0})
    assert found.weights() == {"a": 0.0, "b": 1.0}
    assert DynamicObjectiveWeights(["a"]).weights() == {"a": 0.0}


def test_a_reward_that_falls_to_nothing_does_not_take_all_weight():
    gone = objectives({"a": [1.0] * 3 + [0.0] * 3, "b": [1.0] * 6}, temperature=5.0).weights()
    assert gone["a"] < 1.5
    assert gone["b"] > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "max"}, "unknown rule 'max'; valid names are"),
        ({"kinds": {"a": "penalty"}}, "unknown kind or name 'penalty'"),
        ({"kinds": {"z": "loss"}}, "unknown kind or name 'z'"),
        ({"window": 0}, "window must be at least 1"),
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\] or 'anneal', got 1.5"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DynamicObjectiveWeights(["a"], **options)


def test_annealing_and_state():
    found = objectives(alpha="anneal", temperature=1.0)
    assert list(found.weights(0, 10).values()) == pytest.approx([0.778425, 1.158629, 1.023184, 1.039762], abs=1e-6)
    assert list(found.weights(10, 10).values()) == pytest.approx([1.300582, 0.860378, 0.925090, 0.913950], abs=1e-6)
    with pytest.raises(ValueError, match="'anneal' needs the step"):
        found.weights()
    again = DynamicObjectiveWeights(
        ["acc", "fmt", "iou", "ntp"], {"ntp": "loss"}, window=3, alpha="anneal", temperature=1.0
    )
    again.load_state_dict(found.state_dict())
    assert again.weights(3, 10) == found.weights(3, 10)
    with pytest.raises(ValueError, match="saved state is of"):
        DynamicObjectiveWeights(["a"]).load_state_dict(found.state_dict())


def batch(rewards):
    table = torch.tensor(rewards)
    ones = torch.ones(len(table), 2, dtype=torch.bool)
    return Rollouts(
        tokens=torch.zeros(len(table), 2, dtype=torch.long),
        real=ones,
        trained=ones,
        group=torch.zeros(len(table), dtype=torch.long),
        reward=table.nansum(1),
        behaviour=PolicyStats(logp=torch.zeros(len(table), 2)),
        rewards=table,
    )


def test_a_generation_batch_counts_once_and_weighs_already_itself():
    recap = Recap(window=3, temperature=1.0)
    for step, (acc, fmt) in enumerate(zip(ACC[:5], FMT[:5], strict=True)):
        rollouts = batch([[acc, fmt], [acc, math.nan]])
        context = Context(step=4 * step)
        total = recap.reward(rollouts, rollouts.reward, context)
        prepared = recap.prepare(rollouts, torch.zeros(2, 2), context)
        for update in range(4):
            recap.observe({f"recap/{n}": float(v) for n, v in prepared.items()}, Context(step=4 * step + update + 1))
    assert recap.histories[0] == pytest.approx(ACC[:5])
    assert [float(prepared[f"weight_{k}"]) for k in (0, 1)] == pytest.approx([1.033432, 0.966568], abs=1e-5)
    assert total.tolist() == pytest.approx([ACC[4] * 1.033432 + 0.966568, ACC[4] * 1.033432], abs=1e-5)
    again = Recap(window=3, temperature=1.0)
    again.load_state_dict(recap.state_dict())
    assert again.histories == recap.histories


def test_an_engine_without_a_table_is_told():
    rollouts = replace(batch([[1.0, 0.0]]), rewards=None)
    with pytest.raises(ValueError, match="no table of rewards"):
        Recap().reward(rollouts, rollouts.reward, Context())
