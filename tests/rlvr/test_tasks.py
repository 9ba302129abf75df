import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr.tasks import countdown, load_task, math_task, reasoning_gym_task
from entrokit.rlvr.tasks.countdown import evaluate, random_attempt, solved_puzzle, verify

datasets = pytest.importorskip("datasets")


@pytest.mark.parametrize(
    ("text", "value"),
    [("(3+7)*2", 20), ("3 + 7*2", 17), ("((3))-(7-2)", -2), ("3*7*2", 42), (" 9-2-3 ", 4)],
)
def test_countdown_evaluates_arithmetic(text, value):
    assert evaluate(text)[0] == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "3+",
        "3**7",
        "9**9**9",
        "3/7",
        "3//7",
        "-3+7",
        "+3",
        "03+7",
        "3.5+1",
        "3_0+1",
        "٣+٧",
        "３+7",
        "3+7=10",
        "__import__('os')",
        "3;7",
        "3 7",
        "3(7)",
        "(3,7)",
        "3\n+7",
        "()",
        "0x10",
        "1e3",
        "(" * 30 + "3" + ")" * 29,
        "(" * 500_000,
        "1+" * 500_000 + "1",
        "9" * 1_000_000,
    ],
)
def test_countdown_refuses_everything_else_at_once(text):
    start = time.process_time()  # of this process alone: other people's load is not the verifier's
    assert evaluate(text) is None
    assert not verify(text, [3, 7, 2], 20)
    assert time.process_time() - start < 1.0


def test_countdown_needs_each_number_exactly_once():
    assert verify("(3+7)*2", [2, 3, 7], 20)
    assert not verify("(3+7)*2", [2, 3, 8], 20)
    assert not verify("20", [2, 3, 7], 20)
    assert not verify("3+7+2+2-2+8", [2, 3, 7], 20)
    assert verify("5*5-5", [5, 5, 5], 20)
    assert not verify("5*4", [5, 5, 4], 20)


@given(st.integers(0, 10_000))
def test_countdown_puzzles_are_solved_by_their_solution(seed):
    puzzle, solution = solved_puzzle(random.Random(seed))
    assert verify(solution, puzzle.numbers, puzzle.target)
    assert 0 <= puzzle.target <= 99
    attempt = random_attempt(puzzle.numbers, random.Random(seed + 1))
    assert sorted(evaluate(attempt)[1]) == sorted(puzzle.numbers)


@given(st.text(max_size=80))
def test_countdown_never_raises(text):
    evaluate(text)
    assert verify(text, [1, 2, 3], 6) in (True, False)


def test_countdown_is_a_task_as_trl_expects_one():
    task = countdown(train_size=50, eval_size=10)
    assert len(task.train) == 50
    assert len(task.evaluation) == 10
    assert len({*task.train["prompt"], *task.evaluation["prompt"]}) == 60
    row = task.train[0]
    puzzle_reward = task.reward(
        prompts=[row["prompt"]] * 2,
        completions=["1+1", [{"role": "assistant", "content": "nonsense"}]],
        numbers=[row["numbers"]] * 2,
        target=[row["target"]] * 2,
        trainer_state=None,
    )
    assert puzzle_reward == [0.0, 0.0]
    assert countdown(train_size=50, eval_size=10).train["prompt"] == task.train["prompt"]
    with pytest.raises(ValueError, match="found only"):
        countdown(train_size=10_000, count=1, largest=3)


def test_reasoning_gym_scores_with_its_own_verifier():
    pytest.importorskip("reasoning_gym")
    task = reasoning_gym_task("chain_sum", train_size=5, eval_size=3)
    rows = [task.train[i] for i in range(2)]
    gym = pytest.importorskip("reasoning_gym")
    answers = [gym.create_dataset("chain_sum", size=5, seed=0)[i]["answer"] for i in range(2)]
    columns = {"part": [r["part"] for r in rows], "index": [r["index"] for r in rows]}
    assert task.reward(completions=answers, **columns) == [1.0, 1.0]
    tagged = [f"thinking... <answer> {a} </answer>" for a in answers]
    assert task.reward(completions=tagged, **columns) == [1.0, 1.0]
    assert max(task.reward(completions=["0", "x" * 1_000_000], **columns)) < 1.0
    assert set(task.train["prompt"]).isdisjoint(task.evaluation["prompt"])
    with pytest.raises(ValueError, match=r"no task 'chain_sums'; did you mean .*chain_sum"):
        reasoning_gym_task("chain_sums")


def test_math_answers():
    pytest.importorskip("math_verify")
    from entrokit.rlvr.tasks.math import reward

    completions = [r"So the answer is $\frac{1}{2}$.", "0.5", r"\boxed{3}", "no idea", "x" * 1_000_000 + r" $\frac12$"]
    assert reward(completions, answer=["1/2"] * 5) == [1.0, 1.0, 0.0, 0.0, 1.0]
    assert reward([[{"role": "assistant", "content": "$7$"}]], answer=["7"]) == [1.0]


def test_math_task_reads_a_local_file(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": f"{i}+1?", "answer": i + 1}) for i in range(20)))
    task = math_task(file)
    assert len(task.train) == 18
    assert task.train[0]["answer"] == "1"
    assert load_task(f"math:{file}").name == "math:questions.jsonl"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        math_task(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="cannot read"):
        math_task(tmp_path / "none.txt")
    (tmp_path / "bad.csv").write_text("question,answer\n1,2\n")
    with pytest.raises(ValueError, match=r"lacks the columns \['prompt'\]"):
        math_task(tmp_path / "bad.csv")


def test_unknown_tasks():
    for name in ("countdwn", "reasoning-gym:", "math", "countdown:3"):
        with pytest.raises(ValueError, match="valid are countdown, sums, .*reasoning-gym:<task> and math:<file>"):
            load_task(name)
