"""A run that is stopped between two batches goes on as the same run; memories and controllers take part."""

import io
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

pytest.importorskip("tinker", reason="the SDK of Tinker is not installed")

import torch

from entrokit.engines.tinker import TinkerRecipe
from entrokit.rlvr import Intervention

from .made import moved, two_groups


@dataclass
class Watches(Intervention):
    """Counts what it is shown, and lets rewards fade with the steps that it saw."""

    name: ClassVar[str] = "watches"
    seen: list[str] = field(default_factory=list)

    def reward(self, rollouts, rewards, context):
        return rewards * 0.5 ** self.seen.count("observe")

    def observe(self, metrics, context):
        assert metrics
        self.seen.append("observe")
        self.steps = context.step

    def remember(self, rollouts, advantages, context):
        self.seen.append("remember")

    def state_dict(self) -> dict[str, Any]:
        return {"seen": list(self.seen)}

    def load_state_dict(self, state):
        self.seen = list(state["seen"])


def _train(live, batches, seed=0):
    losses = []
    for n in range(batches):
        groups = two_groups()
        data = live.data(groups)
        loss, metrics = live.loss(data, moved(groups, data, by=0.1 + 0.05 * (seed + n)))
        losses.append((float(loss.detach()), metrics))
    return losses


@pytest.mark.parametrize("spec", ["dr_grpo+tool-reward", "dapo+clip-cov(ratio=0.3, low=0.0, high=9.0)", "grpo"])
def test_stopped_and_gone_on_is_the_same_run(spec):
    options = {"max_length": 8, "seed": 4, "total_steps": 6}
    whole = _train(TinkerRecipe(spec, Watches(), **options), 4)
    first = TinkerRecipe(spec, Watches(), **options)
    _train(first, 2)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = TinkerRecipe(spec, Watches(), **options)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert _train(second, 2, seed=2) == whole[2:]
    # Without the state it would be another run.
    assert _train(TinkerRecipe(spec, Watches(), **options), 2, seed=2) != whole[2:]


def test_every_step_is_observed_and_every_batch_remembered_once():
    watches = Watches()
    live = TinkerRecipe("grpo", watches)
    groups = two_groups()
    data = live.data(groups)
    for part in (slice(0, 3), slice(3, 6)):
        live.loss(data[part], moved(groups, data)[part])
    assert watches.seen == ["observe", "observe"]
    assert watches.steps == 2
    live.data(groups)
    assert watches.seen == ["observe", "observe", "remember"]
    # Nothing was trained on since.
    live.state_dict()
    assert watches.seen == ["observe", "observe", "remember"]


def test_a_state_in_the_middle_of_a_batch_is_refused_unless_it_is_said_to_be_done():
    watches = Watches()
    live, groups = TinkerRecipe("grpo", watches, updates_per_batch=3), two_groups()
    live.state_dict()
    data = live.data(groups)
    # A batch of which nothing was trained on is sampled anew, and nothing is lost.
    live.state_dict()
    for taken in (1, 2):
        live.loss(data, moved(groups, data))
        with pytest.raises(ValueError, match=rf"state_dict: {taken} of this batch's 3 updates .*finished=True"):
            live.state_dict()
    assert "remember" not in watches.seen
    assert live.state_dict(finished=True)["steps"] == 2
    assert watches.seen == ["observe", "observe", "remember"]
    live.loss(data, moved(groups, data))
    assert live.state_dict()["steps"] == 3
    # The next batch is counted by itself.
    data = live.data(groups)
    live.loss(data, moved(groups, data))
    with pytest.raises(ValueError, match="1 of this batch's 3"):
        live.state_dict()


@pytest.mark.parametrize(("updates", "said"), [(1, 1), (2, 0)])
def test_what_cannot_act_is_said_in_words_of_the_cookbook(caplog, updates, said):
    TinkerRecipe("grpo+kl-cov", updates_per_batch=updates)
    assert len(caplog.messages) == said
    for message in caplog.messages:
        assert "kl-cov cannot act with one update per rollout" in message
        assert "updates_per_batch" in message
        assert "num_substeps" in message
        assert not any(word in message for word in ("TRL", "steps_per_generation", "verl"))


def test_graded_once_is_graded_for_good():
    live = TinkerRecipe("grpo+weighted-grpo")
    half = two_groups()
    half[0].final_rewards_G[0] = -0.5
    with pytest.raises(ValueError, match="which completions are right"):
        live.data(half)
    with pytest.raises(ValueError, match="which completions are right"):
        live.data(two_groups())


def test_the_sampler_s_mismatch_is_told_at_a_batch_s_first_step_alone():
    live, groups = TinkerRecipe("grpo"), two_groups()
    data = live.data(groups)
    told = [live.loss(data, moved(groups, data))[1] for _ in range(2)]
    names = {"sampling/sampling_logp_difference/mean", "sampling/sampling_logp_difference/max"}
    assert names <= set(told[0])
    assert set(told[0]) - names == set(told[1])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "there is no 'graded'"),
        ({"recipe": {}, "steps": 0, "graded": False}, "the saved state is that of"),
    ],
)
def test_a_state_that_is_none_of_this_recipe(state, message):
    with pytest.raises(ValueError, match=message):
        TinkerRecipe("grpo+kl-cov").load_state_dict(state)
