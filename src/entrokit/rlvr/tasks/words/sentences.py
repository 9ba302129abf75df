"""One sentence about a topic, under a rule that can be checked."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..constraints import Constraint, EndsWith, KeywordCount, LetterCount, SentenceCount, StartsWith, WordCount, cell_of
from ..instructions import all_or_nothing
from ..task import Task

TOPICS = {
    "animal": ("cat", "dog", "horse", "bird", "fish", "bee", "wolf", "bear", "snake", "cow"),
    "person": ("teacher", "doctor", "farmer", "king", "baker", "sailor", "child", "painter", "judge", "singer"),
    "place": ("garden", "forest", "river", "mountain", "bridge", "city", "island", "market", "school", "desert"),
    "thing": ("train", "clock", "book", "ship", "lamp", "kite", "piano", "mirror", "ladder", "wheel"),
}
_SENTENCE = (SentenceCount(1, 1), EndsWith("."))
_LETTERS = {"rare": "jkqvxz", "middling": "bcfgpy", "frequent": "adhilnorst"}

# Draws a prompt, its rules and its family.
_Draw = Callable[[random.Random], tuple[str, list[Constraint], str]]


def mention(train_size: int = 4096, eval_size: int = 256, seed: int = 0, count: int = 1) -> Task:
    """A sentence that names what it is about: ``count`` things, from 1 (easy) to 3. Families: kinds of thing.

    Raises:
        ValueError: ``count`` out of range.
    """
    _check("mention", "count", count, 1, 3)

    def draw(rng: random.Random) -> tuple[str, list[Constraint], str]:
        kind = rng.choice(list(TOPICS))
        topics = rng.sample(TOPICS[kind], count)
        asked = [_a(topic) for topic in topics]
        listed = asked[0] if count == 1 else f"{', '.join(asked[:-1])} and {asked[-1]}"
        rules: list[Constraint] = [KeywordCount(1, None, topic) for topic in topics]
        return f"Write one short sentence about {listed}.", [*rules, *_SENTENCE], kind

    return _task("mention", draw, train_size, eval_size, seed)


def length(train_size: int = 4096, eval_size: int = 256, seed: int = 0, spread: int = 4) -> Task:
    """A sentence of so many words, give or take: the range asked for holds ``spread + 1`` numbers; 0 is hardest.

    Families: the range's middle.

    Raises:
        ValueError: ``spread`` out of range.
    """
    _check("length", "spread", spread, 0, 8)

    def draw(rng: random.Random) -> tuple[str, list[Constraint], str]:
        fewest = rng.randint(5, 16 - spread)
        most = fewest + spread
        asked = f"{fewest} to {most}" if spread else f"exactly {fewest}"
        family = "short" if fewest + most < 17 else "middling" if fewest + most < 25 else "long"
        topic = _topic(rng)
        rules = [WordCount(fewest, most), *_SENTENCE]
        return f"Write one sentence of {asked} words about {_a(topic)}.", rules, family

    return _task("length", draw, train_size, eval_size, seed)


def opening(train_size: int = 4096, eval_size: int = 256, seed: int = 0, words: str = "common") -> Task:
    """A sentence with a given first word: ``words`` is ``common`` (easy), ``middling`` or ``rare``. Families: the word.

    Raises:
        ValueError: an unknown kind of words.
    """
    if words not in _OPENINGS:
        raise ValueError(f"words:opening: words must be one of {list(_OPENINGS)}, got {words!r}")

    def draw(rng: random.Random) -> tuple[str, list[Constraint], str]:
        word = rng.choice(_OPENINGS[words])
        text = f"Write one short sentence about {_a(_topic(rng))}. The first word must be: {word}"
        return text, [StartsWith(f"{word} "), *_SENTENCE], word

    return _task("opening", draw, train_size, eval_size, seed)


def without(train_size: int = 4096, eval_size: int = 256, seed: int = 0, letters: str = "middling") -> Task:
    """A sentence that avoids a letter: ``letters`` is ``rare`` (easy), ``middling`` or ``frequent``. Families: letters.

    Raises:
        ValueError: an unknown kind of letters.
    """
    if letters not in _LETTERS:
        raise ValueError(f"words:without: letters must be one of {list(_LETTERS)}, got {letters!r}")

    def draw(rng: random.Random) -> tuple[str, list[Constraint], str]:
        letter = rng.choice(_LETTERS[letters])
        topic = _topic(rng, avoid=letter)
        text = f"Write one short sentence about {_a(topic)}. Do not use the letter {letter}."
        return text, [LetterCount(None, 0, letter), KeywordCount(1, None, topic), *_SENTENCE], letter

    return _task("without", draw, train_size, eval_size, seed)


# First words that fit many sentences, so that no prompt asks for what cannot be written.
_OPENINGS = {
    "common": ("The", "There", "This", "A", "In", "It"),
    "middling": ("One", "My", "We", "She", "Every", "Some", "Many", "When", "With"),
    "rare": ("Big", "Cold", "Dark", "From", "Just", "Loud", "Now", "Quiet", "Under", "Very", "Young"),
}


def _topic(rng: random.Random, avoid: str = "") -> str:
    topics = [t for kind in TOPICS.values() for t in kind if not avoid or avoid not in t]
    return rng.choice(topics)


def _a(topic: str) -> str:
    return f"an {topic}" if topic[0] in "aeiou" else f"a {topic}"


def _check(task: str, name: str, value: int, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"words:{task}: {name} must be a whole number from {low} to {high}, got {value!r}")


def _task(name: str, draw: _Draw, train_size: int, eval_size: int, seed: int) -> Task:
    from datasets import Dataset

    rng, rows = random.Random(seed), []
    for _ in range(train_size + eval_size):
        prompt, rules, family = draw(rng)
        rows.append({"prompt": prompt, "constraints": cell_of(rules), "family": family})
    return Task(
        name=f"words:{name}",
        train=Dataset.from_list(rows[:train_size]),
        evaluation=Dataset.from_list(rows[train_size:]),
        reward=all_or_nothing,
        max_completion_length=48,
    )
