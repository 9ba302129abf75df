"""Tasks in words: their verifiers, their knobs, and that every prompt can be answered."""

import time

import pytest

from entrokit.rlvr.tasks import WORDS, load_task
from entrokit.rlvr.tasks.task import tagged_answer
from entrokit.rlvr.tasks.words.answers import in_order, last_number
from entrokit.rlvr.tasks.words.sentences import TOPICS


def scores(task, row, *completions):
    columns = {name: [value] * len(completions) for name, value in row.items() if name != "prompt"}
    return task.reward(prompts=[row["prompt"]] * len(completions), completions=list(completions), **columns)


@pytest.mark.parametrize("name", WORDS)
def test_every_task_has_families_and_short_answers(name):
    task = load_task(f"words:{name}", train_size=60, seed=1)
    assert task.name == f"words:{name}"
    assert len(set(task.train["family"][:])) > 1
    assert task.max_completion_length <= 48
    assert task.train["prompt"][:] == load_task(f"words:{name}", train_size=60, seed=1).train["prompt"][:]
    assert task.train["prompt"][:] != load_task(f"words:{name}", train_size=60, seed=2).train["prompt"][:]
    assert all(scores(task, row, "") == [0.0] for row in task.train)


def test_mention():
    task = load_task("words:mention(count=2)", train_size=40)
    for row in task.train:
        a, b = (c["keyword"] for c in row["constraints"] if c["kind"] == "keyword-count")
        asked = [f"an {x}" if x == "island" else f"a {x}" for x in (a, b)]
        assert row["prompt"] == f"Write one short sentence about {asked[0]} and {asked[1]}."
        assert scores(task, row, f"The {a} met a {b}.", f"The {a} met a {b}", f"A {a}. A {b}.", f"The {a} slept.") == [
            1.0, 0.0, 0.0, 0.0,
        ]  # fmt: skip


def test_length():
    task = load_task("words:length(spread=2)", train_size=40)
    for row in task.train:
        low, high = next((c["at_least"], c["at_most"]) for c in row["constraints"] if c["kind"] == "word-count")
        assert high == low + 2
        assert f"of {low} to {high} words" in row["prompt"]
        texts = [" ".join(["word"] * n) + "." for n in (low - 1, low, high, high + 1)]
        assert scores(task, row, *texts) == [0.0, 1.0, 1.0, 0.0]
    assert "of exactly " in load_task("words:length(spread=0)", train_size=1).train[0]["prompt"]


@pytest.mark.parametrize("spread", [0, 1])
def test_families_of_length_are_by_the_middle_of_the_range(spread):
    """Ranges lie in 5 to 16, whose thirds end at 8 and at 12."""
    found = {}
    for row in load_task(f"words:length(spread={spread})", train_size=200).train:
        low, high = next((c["at_least"], c["at_most"]) for c in row["constraints"] if c["kind"] == "word-count")
        found[(low + high) / 2] = row["family"]
    assert list(found.values()).count("middling") >= 4
    for middle, family in found.items():
        assert family == ("short" if middle < 8.5 else "middling" if middle < 12.5 else "long"), middle


def test_opening():
    task = load_task("words:opening(words='rare')", train_size=20)
    for row in task.train:
        word = row["family"]
        assert row["prompt"].endswith(f"The first word must be: {word}")
        texts = (
            f"{word} it was.",
            f" {word} it was.",
            f"{word}ish it was.",
            f"It was {word}.",
            f"{word.lower()} it was.",
        )
        assert scores(task, row, *texts) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_without():
    task = load_task("words:without(letters='frequent')", train_size=60)
    for row in task.train:
        letter = row["family"]
        topic = next(c["keyword"] for c in row["constraints"] if c["kind"] == "keyword-count")
        assert letter not in topic
        assert scores(task, row, f"{topic}.", f"{topic} {letter.upper()}.", ".") == [1.0, 0.0, 0.0]


def test_arithmetic():
    task = load_task("words:arithmetic(largest=20)", train_size=80)
    assert set(task.train["family"][:]) == {"plus", "minus", "times"}
    for row in task.train:
        a, name, b = row["prompt"].removeprefix("What is ").rstrip("?").split()
        value = {"plus": int(a) + int(b), "minus": int(a) - int(b), "times": int(a) * int(b)}[name]
        assert (row["number"], int(a) >= int(b)) == (value, True)
        assert scores(task, row, f"{a} {name} {b} is {value}.") == [1.0]


def test_the_last_number_of_the_answer_counts():
    texts = ["12", "3 and 12.", "12 of 3", "<answer>12</answer> 4", "-12", "0012", "1" * 5000, "twelve", "<answer>12"]
    assert last_number(texts, number=[12] * len(texts)) == [1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    texts = ["1,012", "3.12", "12.0", "12.5", "1, 2, 12", "1,2,12", "\u0661\u0662", "1234,012"]
    assert last_number(texts, number=[12] * len(texts)) == [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert last_number(["It is 998,001.", "998001", "001"], number=[998_001] * 3) == [1.0, 1.0, 0.0]
    assert last_number([[{"role": "assistant", "content": "-3"}]], number=[-3]) == [1.0]
    assert last_number(["from 5-12", "5 is -12", "(-12)", "=-12"], number=[12] * 4) == [1.0, 0.0, 0.0, 0.0]
    assert last_number([".5", "is -.5", "It is.5", "5.", "It is...5"], number=[5] * 5) == [0.0, 0.0, 1.0, 1.0, 1.0]
    assert last_number(["a half is .5", "-.5"], number=[0.5, -0.5]) == [1.0, 1.0]


def test_ordering():
    words = ["train", "bee", "cat"]
    texts = [
        "bee, cat, train",
        "Bee cat TRAIN!",
        "bee cat",
        "bee cat train bee",
        "train bee cat",
        "a bee, a cat, trains, train",
    ]
    assert in_order(texts, words=[words] * 6) == [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    task = load_task("words:ordering(count=3)", train_size=30)
    every = " ".join(sorted(word for words in TOPICS.values() for word in words))
    assert not any(any(scores(task, row, every)) for row in task.train)  # one text for all prompts
    assert all(scores(task, row, ", ".join(sorted(row["words"]))) == [1.0] for row in task.train)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("words:mention(count=4)", "mention: count must be a whole number from 1 to 3, got 4"),
        ("words:mention(count=True)", "count must be a whole number"),
        ("words:mention(cuont=2)", r"no knob 'cuont'; did you mean 'count'\? Valid knobs: count"),
        ("words:mention(2)", r"write its knobs by name \(count\)"),
        ("words:mention(seed=2)", "no knob 'seed'"),
        ("words:mention(count=2", "cannot read the part"),
        ("words:mention(count=open('x'))", "cannot read the knobs"),
        ("words:length(spread=-1)", "spread must be a whole number from 0 to 8"),
        ("words:opening(words='x')", "words must be one of"),
        ("words:without(letters='x')", "letters must be one of"),
        ("words:arithmetic(largest=0)", "largest must be a whole number from 1 to 999"),
        ("words:ordering(count=9)", "count must be a whole number from 2 to 5"),
        ("words:mention(count=3)(count=1)", "cannot read the knobs"),
        ("words:mention(count=1, count=2)", "a knob stands twice"),
        ("words:mention(count=" + "-" * 20_000 + "1)", "cannot read the knobs"),
        ("countdown(count=40)", "countdown: count must be a whole number from 1 to 8, got 40"),
        ("countdown(count=-1)", "count must be a whole number from 1 to 8, got -1"),
        ("countdown(largest=0)", "largest must be a whole number from 1 to 99, got 0"),
        ("countdown(max_target=-1)", "max_target must be a whole number from 1 to 9999, got -1"),
        ("words:nothing", "unknown task 'words:nothing'; valid are .*words:<mention|"),
        ("countdown(count='many')", "count must be a whole number"),
        ("maze(tool=True)", "no knob 'tool'"),
        ("sums:2-3(digits=(1,2))", "no knob 'digits'"),
    ],
)
def test_bad_knobs_are_named(name, message):
    with pytest.raises(ValueError, match=message):
        load_task(name, train_size=4)


def test_knobs_of_other_tasks():
    assert all(len(row["numbers"]) == 4 for row in load_task("countdown(count=4)", train_size=8).train)
    pytest.importorskip("reasoning_gym")
    task = load_task("reasoning-gym:chain_sum(min_terms=2, max_terms=2, min_digits=1, max_digits=1)", train_size=20)
    assert all(row["prompt"].count("+") + row["prompt"].count("-") == 1 for row in task.train)
    with pytest.raises(ValueError, match="chain_sum.*min_termz"):
        load_task("reasoning-gym:chain_sum(min_termz=2)", train_size=2)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("no tags ", "no tags "),
        ("a <answer> 1 </answer> b", "1"),
        ("<answer>1</answer><answer>2</answer> 3", "2"),
        ("<answer>1</answer> and <answer>2", "1"),
        ("<answer>1</answer> 2</answer>", "1"),
        ("<answer>1 <answer>2</answer>", "2"),
        ("1</answer><answer>2", "1</answer><answer>2"),
    ],
)
def test_what_a_tagged_answer_is(text, answer):
    assert tagged_answer(text) == answer


@pytest.mark.parametrize("text", ["<answer>" * 50_000, "</answer>" * 50_000, "<answer></answer" * 50_000])
def test_tags_that_do_not_close_cost_no_time(text):
    """Trying every opening tag against the rest of the text would take a minute or more."""
    begun = time.process_time()
    assert tagged_answer(text) == text
    assert time.process_time() - begun < 5
