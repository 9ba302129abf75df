"""What counts as right is said by name, never guessed from a sum of rewards."""

import dataclasses

import pytest
import torch
from transformers import AutoTokenizer

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.engines.trl.correctness import Correctness
from entrokit.engines.trl.rewards import RewardError
from entrokit.rlvr import Context
from entrokit.rlvr.correctness import right_if_binary
from entrokit.rlvr.selection import RunningRarePair

from .conftest import length_reward


def accuracy_reward(completions, **columns):
    return [0.0] * len(completions)


def format_reward(completions, **columns):
    return [1.0] * len(completions)


def sometimes_right(completions, **columns):
    return [float(sum(map(ord, c)) % 2) for c in completions]


def odd_tokens(prompts, completions, completion_ids, **columns):
    return [sum(ids) % 2 == 1 for ids in completion_ids]


def trainer(checkpoint, config, task, rewards, spec="grpo", **options):
    seen = []
    t = EntropyGRPOTrainer(
        checkpoint,
        reward_funcs=rewards,
        args=config(max_steps=1),
        train_dataset=task.train,
        processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
        recipe=spec,
        on_generation=seen.append,
        **options,
    )
    return t, seen


def logged(t):
    return {k: v for row in t.state.log_history for k, v in row.items()}


def test_a_wrong_answer_in_the_right_format_is_wrong(checkpoint, config, task):
    both = [accuracy_reward, format_reward]
    t, seen = trainer(checkpoint, config, task, both)
    t.train()
    assert seen[0].rollouts.correct is None
    assert not any(name.startswith("pass@") for name in logged(t))
    t, seen = trainer(checkpoint, config, task, both, correct="accuracy_reward")
    t.train()
    assert not seen[0].rollouts.correct.any()
    assert logged(t)["pass@1"] == 0.0


def test_one_reward_of_0_and_1_says_it(checkpoint, config, task):
    t, seen = trainer(checkpoint, config, task, sometimes_right)
    t.train()
    own = seen[0].rollouts
    assert own.correct.tolist() == [r == 1.0 for r in own.reward.tolist()]
    assert 0 < logged(t)["pass@1"] < 1


@pytest.mark.parametrize("correct", ["sometimes_right", odd_tokens, "usable"])
def test_a_reward_a_function_or_a_column_by_name(checkpoint, config, task, correct):
    data = dataclasses.replace(task, train=task.train.add_column("usable", [i % 2 for i in range(len(task.train))]))
    t, seen = trainer(checkpoint, config, data, [length_reward, sometimes_right], correct=correct)
    t.train()
    own = seen[0].rollouts
    known = dict(zip(data.train["prompt"], data.train["usable"], strict=True))
    expected = {
        "sometimes_right": (own.rewards[:, 1] == 1).tolist(),
        odd_tokens: (own.tokens * own.real).sum(1).remainder(2).bool().tolist(),
        "usable": [bool(known[prompt]) for prompt in seen[0].prompts],
    }
    assert own.correct.tolist() == expected[correct]
    assert len({tuple(e) for e in expected.values()}) == 3, "each name says something else"


@pytest.mark.parametrize(
    "spec", ["grpo+pear(end_of_thinking='=')", "grpo+weighted-grpo", "grpo+arm", "grpo+aepo-reward"]
)
def test_whoever_needs_it_says_what_to_name(checkpoint, config, task, spec):
    t, _ = trainer(checkpoint, config, task, [accuracy_reward, format_reward], spec)
    with pytest.raises(ValueError, match=r"needs to know which completions are right.*correct='accuracy_reward'"):
        t.train()


def test_prompts_that_are_chosen_by_success_need_it_too(checkpoint, config, task):
    chosen = RunningRarePair([1, 3] + [0] * 62, 4, width=1)
    t, _ = trainer(checkpoint, config, task, length_reward, prompts=chosen)
    with pytest.raises(ValueError, match="RunningRarePair needs to know which completions are right"):
        t.train()


@pytest.mark.parametrize(
    ("correct", "message"),
    [
        (
            "acuracy",
            r"correct='acuracy' is neither a reward function \['accuracy_reward', .*\] nor a column",
        ),
        ("twice", "names 2 things"),
    ],
)
def test_a_name_of_nothing_or_of_two_is_refused_at_the_start(checkpoint, config, task, correct, message):
    rewards = [accuracy_reward, format_reward]
    if correct == "twice":

        def twice(completions, **columns):
            return [0.0] * len(completions)

        rewards = [twice, twice]
    with pytest.raises(ValueError, match=message):
        trainer(checkpoint, config, task, rewards, correct=correct)


def test_a_column_that_sampling_may_add_is_looked_for_there():
    named = Correctness("solved", ["reward"], None)
    rows, table = [{"solved": True}, {"solved": False}], torch.zeros(2, 1)
    assert named.of_rows(rows, table, {}, Context()).tolist() == [True, False]
    with pytest.raises(ValueError, match="nor a column of the rows that were sampled"):
        named.of_rows([{"other": 1}], table[:1], {}, Context())
    with pytest.raises(RewardError, match="gave 0.5 for completion 1; expected True or False"):
        named.of_rows([{"solved": None}, {"solved": 0.5}], table, {}, Context())
    with pytest.raises(RewardError, match="gave 1 truths for 2 completions"):
        Correctness(lambda **call: [True], ["reward"], None).of_rows(rows, table, {}, Context())


def test_a_graded_reward_says_nothing_and_a_batch_of_ones_does_not_change_that():
    plain = Correctness(None, ["reward"], [])
    rows = [{}, {}]
    assert plain.of_rows(rows, torch.tensor([[1.0], [0.0]]), {}, Context()).tolist() == [True, False]
    assert plain.of_rows(rows, torch.tensor([[1.0], [0.4]]), {}, Context()) is None
    assert plain.of_rows(rows, torch.tensor([[1.0], [0.0]]), {}, Context()) is None
    assert plain.graded


@pytest.mark.parametrize("other", [0.5, -1.0, 1.1, 1e-3, 2.0])
def test_only_0_and_1_can_say_right_and_wrong_alone(other):
    nan = float("nan")
    assert right_if_binary(torch.tensor([1.0, 0.0, nan, 1.0 - 1e-7])).tolist() == [True, False, False, True]
    assert right_if_binary(torch.tensor([1.0, 0.0, other])) is None
    # Another rank saw something graded.
    assert right_if_binary(torch.tensor([1.0, 0.0]), Context(reduce=lambda x: x + 1)) is None


def test_a_run_of_ours_knows_what_is_right_of_graded_tasks():
    from entrokit.rlvr.tasks import load_task

    dense = load_task("instructions", train_size=4)
    assert dense.correct == dense.reward.__name__
    assert load_task("countdown", train_size=4).correct is None


def test_a_function_is_called_as_reward_functions_are(checkpoint, config, task):
    def right(completions, prompts, trainer_state, log_extra, log_metric, **columns):
        log_metric("asked", float(len(completions)))
        return [True] * len(completions)

    t, seen = trainer(checkpoint, config, task, length_reward, correct=right)
    t.train()
    assert seen[0].rollouts.correct.all()
    assert logged(t)["asked"] == 8

    async def later(completions, **columns):
        return [True] * len(completions)

    with pytest.raises(ValueError, match="correct: expected a plain function, got one that is async"):
        trainer(checkpoint, config, task, length_reward, correct=later)


def test_an_evaluation_does_not_decide_what_training_takes_for_graded(checkpoint, config, task):
    plain = Correctness(None, ["reward"], [])
    assert plain.of_rows([{}], torch.tensor([[0.5]]), {}, Context(), remember=False) is None
    assert not plain.graded
    assert plain.of_rows([{}], torch.tensor([[1.0]]), {}, Context()).tolist() == [True]


def test_what_is_graded_survives_a_restart(checkpoint, config, task):
    t, _ = trainer(checkpoint, config, task, length_reward)
    t.train()
    state = t._resumable()
    assert state["graded"]
    again, _ = trainer(checkpoint, config, task, length_reward)
    assert not again._correctness.graded
    again._correctness.graded = False
    again._restore(state)
    assert again._correctness.graded
