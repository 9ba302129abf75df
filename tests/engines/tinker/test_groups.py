"""Trajectory groups become the cookbook's sequences, and bad ones are refused by name."""

import math
from types import SimpleNamespace

import pytest

pytest.importorskip("tinker", reason="the SDK of Tinker is not installed")

import tinker
import torch

from entrokit.engines.tinker import TinkerRecipe

from .made import Action, Group, Trajectory, Transition, group, moved, once, text, two_groups


def _turn(ob, tokens, reward=0.0, **metrics):
    return Transition(text(*ob), Action(list(tokens), [-0.5] * len(tokens)), reward, metrics=metrics)


def _targets(datum):
    return datum.loss_fn_inputs["target_tokens"].to_torch().tolist()


def _leaves(data):
    """Of a policy that moved by less than a clip allows from one that gave every token -0.5."""
    g = torch.Generator().manual_seed(1)
    return [
        (-0.5 + 0.1 * torch.rand(d.model_input.length, generator=g, dtype=torch.float64)).requires_grad_() for d in data
    ]


def test_turns_that_go_on_are_one_sequence_and_what_the_environment_says_is_not_trained_on():
    episode = Trajectory([_turn([1, 2], [10, 11]), _turn([1, 2, 10, 11, 20, 21], [12], 1.0)])
    live = TinkerRecipe("grpo")
    data = live.data([group(episode, once([1, 2], [13], [-1.0], 0.0))])
    assert [d.model_input.to_ints() for d in data] == [[1, 2, 10, 11, 20, 21], [1, 2]]
    assert _targets(data[0]) == [2, 10, 11, 20, 21, 12]
    leaves = _leaves(data)
    loss, _ = live.loss(data, leaves)
    loss.backward()
    assert leaves[0].grad.ne(0).tolist() == [False, True, True, False, False, True]
    assert live.advantages.ne(0).tolist() == [[True, True, False, False, True], [True, False, False, False, False]]


def test_a_history_that_is_rewritten_begins_a_sequence_and_stays_one_trajectory():
    episode = Trajectory([_turn([1, 2], [10, 11]), _turn([7, 8], [12], 1.0)])
    other = once([1, 2], [13, 14], [-1.0, -1.0], 0.0)
    live = TinkerRecipe("grpo")
    data = live.data([group(episode, other)])
    assert [d.model_input.to_ints() for d in data] == [[1, 2, 10], [7, 8], [1, 2, 13]]
    leaves = _leaves(data)
    loss, _ = live.loss(data, leaves)
    loss.backward()
    # Three tokens share one row's mean, two rows the batch's: each is 1/3 of 1/2.
    ratio = float((leaves[0].detach()[1] + 0.5).exp())
    assert float(leaves[0].grad[1]) == pytest.approx(-ratio * float(live.advantages[0, 0]) / 6, rel=1e-12)
    assert live.advantages.shape == (2, 5)
    with pytest.raises(ValueError, match="datum 1 of this batch is missing"):
        live.loss(data[:1], leaves[:1])


def test_the_cookbook_makes_the_same_sequences():
    processing = pytest.importorskip("tinker_cookbook.rl.data_processing")
    episode = Trajectory(
        [_turn([1, 2], [10, 11]), _turn([1, 2, 10, 11, 20], [12, 13]), _turn([5], [14], 1.0)],
    )
    for transition in episode.transitions:
        transition.ac.logprobs, transition.ac.sequence_id = transition.ac.maybe_logprobs, None
    theirs = processing.trajectory_to_data(episode, 1.0)
    ours = TinkerRecipe("grpo").data([group(episode, once([1], [2], [-1.0], 0.0))])[:-1]
    assert [d.model_input.to_ints() for d in ours] == [d.model_input.to_ints() for d in theirs]
    assert [_targets(d) for d in ours] == [_targets(d) for d in theirs]


def test_pictures_are_passed_on_and_are_no_targets():
    picture = tinker.types.ImageAssetPointerChunk(format="png", location="a", expected_tokens=3)
    seen = tinker.ModelInput(chunks=[tinker.EncodedTextChunk(tokens=[1]), picture, tinker.EncodedTextChunk(tokens=[2])])
    shown = Trajectory([Transition(seen, Action([9, 8], [-1.0, -1.0]), 1.0)])
    (datum, _) = TinkerRecipe("grpo").data([group(shown, once([1], [2], [-1.0], 0.0))])
    assert [type(c).__name__ for c in datum.model_input.chunks] == [
        "EncodedTextChunk",
        "ImageAssetPointerChunk",
        "EncodedTextChunk",
    ]
    assert datum.model_input.length == 6
    assert _targets(datum) == [0, 0, 0, 2, 9, 8]


def test_a_malformed_turn_is_not_trained_on():
    episode = Trajectory([_turn([1], [10], parse_error_masked=1.0), _turn([1, 10, 2], [11], 1.0)])
    live = TinkerRecipe("grpo")
    data = live.data([group(episode, once([1], [12], [-1.0], 0.0))])
    leaves = _leaves(data)
    live.loss(data, leaves)[0].backward()
    assert leaves[0].grad.ne(0).tolist() == [False, False, True]


def test_a_trajectory_that_never_answered_counts_in_its_group_alone():
    silent = Trajectory([Transition(text(), Action([], []), 0.0)], stop_reason="max_tokens")
    live = TinkerRecipe("grpo")
    data = live.data([group(once([1], [2, 3], [-0.5, -0.5], 1.0), silent)])
    assert len(data) == 1
    leaves = _leaves(data)
    loss, _ = live.loss(data, leaves)
    loss.backward()
    # Rewards 1 and 0: mean 1/2, standard deviation 1/√2.
    assert float(live.advantages[0, 0]) == pytest.approx(0.5 / (math.sqrt(0.5) + 1e-6))
    assert leaves[0].grad.any()


def test_who_is_right_is_said_by_a_metric_or_by_rewards_of_0_and_1():
    graded = [group(once([1], [2], [-1.0], 0.3, correct=0.0), once([1], [3], [-1.0], 1.2, correct=1.0))]
    with pytest.raises(ValueError, match="which completions are right"):
        TinkerRecipe("grpo+weighted-grpo").data(graded)
    assert len(TinkerRecipe("grpo+weighted-grpo", correct="correct").data(graded)) == 2
    with pytest.raises(ValueError, match="group 0, trajectory 0: correct='acc' is no metric"):
        TinkerRecipe("grpo+weighted-grpo", correct="acc").data(graded)
    half = [group(once([1], [2], [-1.0], 0.3, acc=0.5))]
    with pytest.raises(ValueError, match=r"correct='acc' holds 0\.5"):
        TinkerRecipe("grpo", correct="acc").data(half)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "0 trajectory groups without a token"),
        ([group()], "1 trajectory groups without a token"),
        ([group(Trajectory([]))], "without a token"),
        ([group(once([1], [2, 3], [-1.0], 1.0))], "group 0, trajectory 0, transition 0: 2 tokens and 1 log-prob"),
        ([group(once([1], [2], [math.nan], 1.0))], "transition 0: the log-probability of token 0 is nan"),
        ([group(once([1], [2], [-math.inf], 1.0))], "log-probability of token 0 is -inf"),
        ([group(once([1], [2], [0.7], 1.0))], r"log-probability of token 0 is 0\.7"),
        ([group(once([1], [2], [-1.0], math.nan))], "group 0, trajectory 0: its reward is nan"),
        ([group(once([], [2], [-1.0], 1.0))], "there is no observation"),
        ([group(Trajectory([Transition(text(1), Action([2], None), 1.0)]))], "without log-probabilities"),
    ],
)
def test_what_cannot_be_trained_on_is_named(groups, message):
    with pytest.raises(ValueError, match=message):
        TinkerRecipe("grpo").data(groups)


def test_rewards_that_do_not_fit_the_trajectories():
    broken = Group([once([1], [2], [-1.0], 1.0)], [0.0])
    broken.get_total_rewards = lambda: [1.0, 2.0]
    with pytest.raises(ValueError, match="group 0: 1 trajectories and 2 rewards"):
        TinkerRecipe("grpo").data([broken])


def _spoilt(leaf, at, value):
    with torch.no_grad():
        leaf[at] = value
    return leaf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, x: ([], []), "0 data and log-probabilities of 0"),
        (lambda d, x: (d, x[:-1]), "6 data and log-probabilities of 5"),
        (lambda d, x: ([d[0], d[0]], [x[0], x[0]]), r"data\[1\] is there twice"),
        (lambda d, x: (d, [x[0][:-1], *x[1:]]), r"log-probabilities of data\[0\] have shape \[2\], its targets \[3\]"),
        (lambda d, x: (d, [x[0][None], *x[1:]]), r"have shape \[1, 3\]"),
        (lambda d, x: (d, [_spoilt(x[0], -1, math.nan), *x[1:]]), r"data\[0\] at target 2 is nan"),
        (lambda d, x: (d, [_spoilt(x[0], -1, -math.inf), *x[1:]]), r"data\[0\] at target 2 is -inf"),
        (lambda d, x: ([tinker.Datum(d[0].model_input, d[0].loss_fn_inputs)], x[:1]), r"data\[0\] is none of those"),
    ],
)
def test_what_does_not_fit_the_batch_is_named(change, message):
    live, groups = TinkerRecipe("grpo"), two_groups()
    data = live.data(groups)
    with pytest.raises(ValueError, match=message):
        live.loss(*change(data, moved(groups, data)))


def test_log_probabilities_of_what_is_not_trained_on_may_be_anything():
    live, groups = TinkerRecipe("grpo"), two_groups()
    data = live.data(groups)
    leaves = moved(groups, data)
    _spoilt(leaves[0], 0, math.nan)
    loss, _ = live.loss(data, leaves)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(leaves[0].grad).all()


def test_data_of_the_batch_before():
    live, groups = TinkerRecipe("grpo"), two_groups()
    old = live.data(groups)
    live.data(groups)
    with pytest.raises(ValueError, match="none of those that TinkerRecipe.data gave last"):
        live.loss(old, moved(groups, old))


def test_no_batch_yet():
    live = TinkerRecipe("grpo")
    with pytest.raises(ValueError, match="call data"):
        live.loss([], [])
    with pytest.raises(ValueError, match="call data"):
        _ = live.advantages


def test_a_reference_that_answers_too_little():
    class Short:
        def compute_logprobs(self, model_input):
            return SimpleNamespace(result=lambda: [None])

    class Blind:
        def compute_logprobs(self, model_input):
            return SimpleNamespace(result=lambda: [None] * model_input.length)

    with pytest.raises(ValueError, match="reference: 1 log-probabilities of the 4 tokens of datum 0"):
        TinkerRecipe("grpo+reference-kl(beta=0.1)", reference=Short()).data(two_groups())
    with pytest.raises(ValueError, match="reference_logp: is NaN or infinite at a trained token"):
        TinkerRecipe("grpo+reference-kl(beta=0.1)", reference=Blind()).data(two_groups())
