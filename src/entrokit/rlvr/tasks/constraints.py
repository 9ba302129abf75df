"""Checkable constraints on a text, and Light-IF's dense reward over them (arXiv 2508.03178).

A constraint is a small frozen dataclass: `check` says whether a text satisfies it, ``credit`` what that is worth. The
credits are a summary of the paper's rule sets. A constraint of one's own is one more subclass; add it to `CONSTRAINTS`
if data sets are to name it.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class Constraint(ABC):
    """What a text must satisfy."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def credit(self) -> float:
        """Worth of satisfying it, beside the 1 for satisfying all."""

    @abstractmethod
    def check(self, text: str) -> bool:
        """Whether ``text`` satisfies it."""


@dataclass(frozen=True)
class _Counted(Constraint):
    """A count between two bounds, either of which may be missing (not both)."""

    at_least: int | None = None
    at_most: int | None = None

    # Credits of an exact count, of a range, and of one bound.
    exact: ClassVar[float] = 0.10
    both: ClassVar[float] = 0.10
    single: ClassVar[float] = 0.05

    def __post_init__(self) -> None:
        low, high = self.at_least, self.at_most
        if low is None and high is None:
            raise ValueError(f"{self.kind}: needs at_least, at_most, or both")
        if (low or 0) < 0 or (high or 0) < 0 or (low is not None and high is not None and low > high):
            raise ValueError(f"{self.kind}: bounds must satisfy 0 <= at_least <= at_most, got {low} and {high}")

    @property
    def credit(self) -> float:
        if self.at_least is None or self.at_most is None:
            return self.single
        return self.exact if self.at_least == self.at_most else self.both

    @abstractmethod
    def count(self, text: str) -> int:
        """What is counted in ``text``."""

    def check(self, text: str) -> bool:
        n = self.count(text)
        return (self.at_least is None or n >= self.at_least) and (self.at_most is None or n <= self.at_most)


@dataclass(frozen=True)
class KeywordCount(_Counted):
    """How often ``keyword`` occurs as it is written; ``at_most=0`` forbids it (0.05)."""

    kind: ClassVar[str] = "keyword-count"
    keyword: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.keyword:
            raise ValueError(f"{self.kind}: needs a keyword")

    def count(self, text: str) -> int:
        return text.count(self.keyword)


@dataclass(frozen=True)
class LetterCount(_Counted):
    """How often ``letter`` occurs, in either case; a forbidden letter (``at_most=0``) is worth 0.20, a bound 0.05."""

    kind: ClassVar[str] = "letter-count"
    exact: ClassVar[float] = 0.05
    both: ClassVar[float] = 0.05
    letter: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.letter) != 1:
            raise ValueError(f"{self.kind}: letter must be one character, got {self.letter!r}")

    @property
    def credit(self) -> float:
        return 0.20 if self.at_most == 0 else super().credit

    def count(self, text: str) -> int:
        return text.casefold().count(self.letter.casefold())


@dataclass(frozen=True)
class CharacterCount(_Counted):
    """Length in characters."""

    kind: ClassVar[str] = "character-count"

    def count(self, text: str) -> int:
        return len(text)


@dataclass(frozen=True)
class WordCount(_Counted):
    """Words, as white space parts them."""

    kind: ClassVar[str] = "word-count"

    def count(self, text: str) -> int:
        return len(text.split())


@dataclass(frozen=True)
class SentenceCount(_Counted):
    """Sentences, as full stops, exclamation and question marks end them (Chinese ones too); an exact number is 0.20."""

    kind: ClassVar[str] = "sentence-count"
    exact: ClassVar[float] = 0.20

    def count(self, text: str) -> int:
        return sum(bool(part.strip()) for part in re.split(r"[.!?。！？]+", text))


@dataclass(frozen=True)
class ParagraphCount(_Counted):
    """Paragraphs, as empty lines part them."""

    kind: ClassVar[str] = "paragraph-count"
    single: ClassVar[float] = 0.10

    def count(self, text: str) -> int:
        return sum(bool(part.strip()) for part in re.split(r"\n\s*\n", text))


@dataclass(frozen=True)
class HighlightCount(_Counted):
    """Passages between single or double asterisks."""

    kind: ClassVar[str] = "highlight-count"
    exact: ClassVar[float] = 0.05
    both: ClassVar[float] = 0.05

    def count(self, text: str) -> int:
        return len(re.findall(r"\*\*[^*\n]+\*\*|\*[^*\n]+\*", text))


@dataclass(frozen=True)
class StartsWith(Constraint):
    """The text begins with ``phrase``, white space aside."""

    kind: ClassVar[str] = "starts-with"
    credit: ClassVar[float] = 0.10
    phrase: str

    def check(self, text: str) -> bool:
        return text.lstrip().startswith(self.phrase)


@dataclass(frozen=True)
class EndsWith(Constraint):
    """The text ends with ``phrase``, white space aside."""

    kind: ClassVar[str] = "ends-with"
    credit: ClassVar[float] = 0.10
    phrase: str

    def check(self, text: str) -> bool:
        return text.rstrip().endswith(self.phrase)


@dataclass(frozen=True)
class Titled(Constraint):
    """A title between double angle brackets stands somewhere."""

    kind: ClassVar[str] = "titled"
    credit: ClassVar[float] = 0.02

    def check(self, text: str) -> bool:
        return re.search(r"<<[^<>\n]+>>", text) is not None


CONSTRAINTS: dict[str, type[Constraint]] = {
    cls.kind: cls
    for cls in (
        KeywordCount,
        LetterCount,
        CharacterCount,
        WordCount,
        SentenceCount,
        ParagraphCount,
        HighlightCount,
        StartsWith,
        EndsWith,
        Titled,
    )
}


def constraint(kind: str, **arguments: Any) -> Constraint:
    """A constraint by its name, as a data set holds it. Arguments that are None count as not given.

    Raises:
        ValueError: an unknown kind, or arguments that it does not take.
    """
    if kind not in CONSTRAINTS:
        raise ValueError(f"unknown constraint {kind!r}; valid names are {list(CONSTRAINTS)}")
    try:
        return CONSTRAINTS[kind](**{name: value for name, value in arguments.items() if value is not None})
    except TypeError as error:
        raise ValueError(f"constraint {kind}: {error}") from error


def dense_reward(text: str, constraints: Sequence[Constraint], *, end_of_thinking: str | None = None) -> float:
    """1 if all constraints hold, plus the credit of each one that does.

    Args:
        end_of_thinking: what closes the thinking phase; what follows the last one is judged, and a text without it is
            worth 0.
    """
    if end_of_thinking is not None:
        _, marker, text = text.rpartition(end_of_thinking)
        if not marker:
            return 0.0
    held = [c for c in constraints if c.check(text)]
    return float(len(held) == len(constraints)) + sum(c.credit for c in held)


def cosine_length_reward(length: int, max_length: int, score: float) -> float:
    """Light-IF's reward of longer thinking (Zero-RL): -2 from ``max_length`` on, else ``2 score f`` or ``-f``.

    ``f = (1 - cos(π length / max_length)) / 2``; a ``score`` under 0.2 counts as a failure.
    """
    if length >= max_length:
        return -2.0
    f = 0.5 * (1.0 - math.cos(math.pi * length / max_length))
    return 2.0 * score * f if score >= 0.2 else -f


def cell_of(rules: Sequence[Constraint]) -> list[dict[str, Any]]:
    """Constraints as a data set's cell holds them; `constraints_of` reads it."""
    return [{"kind": rule.kind, **vars(rule)} for rule in rules]


def constraints_of(row: Sequence[Mapping[str, Any]]) -> list[Constraint]:
    """A data set's cell, a list of ``{"kind": ..., argument: ...}``, as constraints."""
    return [constraint(**dict(entry)) for entry in row]
