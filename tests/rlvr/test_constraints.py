"""Instruction checkers and Light-IF's rewards."""

import random

import pytest

from entrokit.rlvr.tasks import load_task
from entrokit.rlvr.tasks.constraints import (
    CONSTRAINTS,
    CharacterCount,
    EndsWith,
    HighlightCount,
    KeywordCount,
    LetterCount,
    ParagraphCount,
    SentenceCount,
    StartsWith,
    Titled,
    WordCount,
    constraint,
    constraints_of,
    cosine_length_reward,
    dense_reward,
)
from entrokit.rlvr.tasks.instructions import (
    ALPHABET,
    InstructionDemonstrations,
    all_or_nothing,
    random_instruction,
    reward,
)


@pytest.mark.parametrize(
    ("checker", "credit", "good", "bad"),
    [
        (KeywordCount(2, 2, "cat"), 0.10, "cat and cat", "cat"),
        (KeywordCount(1, 3, "cat"), 0.10, "cat", "dog"),
        (KeywordCount(1, None, "cat"), 0.05, "cats", "Cat"),
        (KeywordCount(None, 0, "cat"), 0.05, "dog", "cat"),
        (LetterCount(None, 0, "e"), 0.20, "cat", "EEL"),
        (LetterCount(2, None, "e"), 0.05, "Eel", "cat"),
        (CharacterCount(2, 2), 0.10, "ab", "abc"),
        (WordCount(2, 3), 0.10, "two words", "one"),
        (WordCount(None, 2), 0.05, "", "one two three"),
        (SentenceCount(2, 2), 0.20, "One. Two!", "One... "),
        (SentenceCount(1, None), 0.05, "好。", "  "),
        (ParagraphCount(2, 2), 0.10, "a\n\nb\n", "a\nb"),
        (HighlightCount(1, None), 0.05, "a **bold** b", "2 * 3"),
        (StartsWith("Dear"), 0.10, "  Dear you", "My Dear"),
        (EndsWith("end"), 0.10, "the end \n", "end of"),
        (Titled(), 0.02, "<<Title>>\ntext", "<Title>"),
    ],
)
def test_checkers(checker, credit, good, bad):
    assert checker.credit == pytest.approx(credit)
    assert checker.check(good)
    assert not checker.check(bad)
    assert CONSTRAINTS[checker.kind] is type(checker)
    assert constraint(checker.kind, **vars(checker)) == checker


def test_dense_reward_is_1_for_all_plus_a_credit_each():
    asked = [KeywordCount(2, 2, "a"), LetterCount(None, 0, "b"), CharacterCount(4, 4)]
    assert dense_reward("acad", asked) == pytest.approx(1.4)
    assert dense_reward("aca", asked) == pytest.approx(0.3)
    assert dense_reward("bbbbb", asked) == 0
    assert dense_reward("hm, b </think>acad", asked, end_of_thinking="</think>") == pytest.approx(1.4)
    assert dense_reward("acad", asked, end_of_thinking="</think>") == 0
    assert dense_reward("anything", []) == 1.0


def test_length_reward_of_the_paper():
    for n, q, expected in (
        (4096, 1.5, 1.5), (1000, 1.5, 0.108956), (8191, 1.5, 3.0), (8192, 9.0, -2), (4096, 0.1, -0.5), (4096, 0.3, 0.3),
        (2048, 0.0, -0.146447),
    ):  # fmt: skip
        assert cosine_length_reward(n, 8192, q) == pytest.approx(expected, abs=1e-6)


def test_bad_constraints_are_named():
    for build, message in (
        (lambda: constraint("rhyme"), "unknown constraint 'rhyme'; valid names are"),
        (lambda: constraint("titled", size=3), "constraint titled: .*size"),
        (lambda: constraint("word-count"), "word-count: needs at_least, at_most, or both"),
        (lambda: WordCount(3, 2), "0 <= at_least <= at_most, got 3 and 2"),
        (lambda: KeywordCount(1, 1), "needs a keyword"),
        (lambda: LetterCount(1, 1, "ab"), "letter must be one character"),
    ):
        with pytest.raises(ValueError, match=message):
            build()


def test_solutions_solve_and_demonstrations_sometimes_do():
    rng = random.Random(0)
    for _ in range(100):
        asked = random_instruction(rng)
        assert all(c.check(asked.solution(rng)) for c in asked.constraints)
        assert sum(c.credit for c in asked.constraints) < 1, "partial credit never looks like a right answer"
    rows = [InstructionDemonstrations().sample(rng) for _ in range(200)]
    assert all(set(p + c) <= set(ALPHABET) for p, c in rows)
    with pytest.raises(ValueError, match="right must be a number"):
        InstructionDemonstrations(right=-1)


def test_the_task_rewards_partial_credit_or_all_or_nothing():
    pytest.importorskip("datasets")
    dense, sparse = (load_task(name, train_size=20) for name in ("instructions", "instructions:sparse"))
    row = dense.train[0]
    asked = constraints_of(row["constraints"])
    assert [c.kind for c in asked] == ["keyword-count", "letter-count", "character-count"]
    letter, length = asked[1].letter, asked[2].at_most
    others = [c for c in "abcd" if c not in (letter, asked[0].keyword)]
    right = asked[0].keyword * asked[0].at_most + others[0] * (length - asked[0].at_most)
    partial = others[0] * length
    assert reward([right, partial], [row["constraints"]] * 2) == pytest.approx([1.4, 0.3])
    assert all_or_nothing([right, partial], [row["constraints"]] * 2) == [1.0, 0.0]
    assert sparse.reward is all_or_nothing
    assert sparse.train[0] == row
