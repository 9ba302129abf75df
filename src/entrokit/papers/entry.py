"""What the catalogue holds of a paper: where its code is, and its claims as named experiments."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from entrokit.report import Chart

from .evidence import Budget, Finding, check_text

Shown = Finding | Chart

# With what is added to it a slug is a file's name, which holds 255 bytes.
_LONGEST_SLUG = 100


@dataclass(frozen=True)
class Experiment:
    """One way to put a paper's claims to the test.

    Attributes:
        run: gives verdicts and pictures, each as it comes.
        seeds: how many it takes by default. minutes: about how long that takes on two cores.
        criterion: when its claims count as shown, written before the first run; each finding says it in numbers.
        needs: extras that it needs beside ``torch``, and ``gpu``.

    Raises:
        TypeError, ValueError: something to run that is not callable, seeds or minutes that are no such numbers, or a
            criterion that is no text.
    """

    run: Callable[[Budget], Iterable[Shown]]
    seeds: int
    minutes: float
    criterion: str
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not callable(self.run):
            raise TypeError(f"Experiment.run: a function of a budget, got {self.run!r:.60}")
        if not isinstance(self.seeds, int) or self.seeds < 1:
            raise ValueError(f"Experiment.seeds: a number of them, at least 1; got {self.seeds!r:.60}")
        if not isinstance(self.minutes, (int, float)) or not 0 <= self.minutes < math.inf:
            raise ValueError(f"Experiment.minutes: a finite number, at least 0; got {self.minutes!r:.60}")
        check_text(self.criterion, "Experiment.criterion")
        _check_texts(self.needs, "Experiment.needs")


@dataclass(frozen=True)
class Paper:
    """An entry of the catalogue.

    Attributes:
        slug: its name here and that of its files: small letters, digits, hyphens, 100 at most. arxiv: its id; "" where
            it has none. year: of the first version. family: the shelf, e.g. `rlvr: tokens`, its wing before the colon.
        claim: in one sentence. names: public names that implement it, dotted. recipes: strings to try it with.
        experiments: by names of its own; the first is what `reproduce` runs when none is named.
        example: about three lines of Python, imports and all, to paste at a prompt: they show the core of the paper on
            small data of their own making, and print what says something. Empty where a recipe is the way to use the
            paper, see `lines`.
        symptoms: what ails the run of a reader who should know of it, in a few words each: ``entropy collapses``.

    Raises:
        TypeError, ValueError: no experiment, a slug that is none, a title, family or claim that is blank, texts that
            are none, one text where several are meant, or an example that is no Python.
    """

    slug: str
    title: str
    arxiv: str
    year: int
    family: str
    claim: str
    names: tuple[str, ...]
    recipes: tuple[str, ...]
    experiments: Mapping[str, Experiment]
    example: str = ""
    symptoms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (isinstance(self.slug, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]*", self.slug)):
            raise ValueError(f"Paper.slug: small letters, digits and hyphens, the first no hyphen; got {self.slug!r}")
        if len(self.slug) > _LONGEST_SLUG:
            raise ValueError(f"Paper.slug: {_LONGEST_SLUG} characters at most, got {len(self.slug)}: {self.slug:.60}")
        for name in ("title", "family", "claim", "arxiv", "example"):
            check_text(getattr(self, name), f"{self.slug}: Paper.{name}")
        for name, text in (("title", self.title), ("family's wing", self.wing), ("claim", self.claim)):
            if not text.strip():
                raise ValueError(f"{self.slug}: Paper.{name} is blank")
        if not isinstance(self.year, int):
            raise TypeError(f"{self.slug}: Paper.year: a year, got {self.year!r:.60}")
        for name in ("names", "recipes", "symptoms"):
            _check_texts(getattr(self, name), f"{self.slug}: Paper.{name}")
        if not isinstance(self.experiments, Mapping):
            raise TypeError(f"{self.slug}: Paper.experiments: experiments by name, got {self.experiments!r:.60}")
        if not self.experiments:
            raise ValueError(f"{self.slug}: an entry has at least one experiment")
        for name, experiment in self.experiments.items():
            check_text(name, f"{self.slug}: the name of an experiment")
            if not isinstance(experiment, Experiment):
                raise TypeError(f"{self.slug}: {name!r}: an Experiment, got {experiment!r:.60}")
        try:
            ast.parse(self.example)
        except SyntaxError as error:
            raise ValueError(f"{self.slug}: Paper.example, line {error.lineno}: {error.msg}") from error

    @property
    def url(self) -> str:
        """Its page at arXiv; "" where it has none."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""

    @property
    def wing(self) -> str:
        """What its family begins with: `rlvr` of `rlvr: tokens`."""
        return self.family.partition(":")[0].strip()

    @property
    def lines(self) -> str:
        """What to paste: the `example`; without one the first recipe, as a user of TRL trains by it.

        There the model, reward, arguments and dataset are the reader's. Without recipes the import of the first name;
        empty where there are none either.
        """
        if self.example or not (self.recipes or self.names):
            return self.example
        if not self.recipes:
            owner, _, name = self.names[0].rpartition(".")
            return f"from {owner} import {name}" if owner else f"import {name}"
        return "\n".join((
            "from entrokit.engines.trl import EntropyGRPOTrainer",
            f"trainer = EntropyGRPOTrainer(recipe={json.dumps(self.recipes[0], ensure_ascii=False)},",
            "    model=model, reward_funcs=reward, args=args, train_dataset=data)",
            "trainer.train()",
        ))  # fmt: skip

    def experiment(self, name: str | None = None) -> tuple[str, Experiment]:
        """An experiment and its name; the first where none is given.

        Raises:
            ValueError: the paper has no experiment of that name; says which it has.
        """
        chosen = name or next(iter(self.experiments))
        if chosen not in self.experiments:
            raise ValueError(f"{self.slug} has no experiment {chosen!r}; it has {', '.join(self.experiments)}")
        return chosen, self.experiments[chosen]

    def matches(self, words: Sequence[str]) -> bool:
        """Whether every word stands somewhere in the entry, in whatever case."""
        text = " ".join(
            (self.slug, self.title, self.arxiv, self.family, self.claim, *self.names, *self.recipes, *self.symptoms)
        )
        return all(word.casefold() in text.casefold() for word in words)


def _check_texts(values: object, what: str) -> None:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise TypeError(f"{what}: a tuple of texts, got {values!r:.60}")
    for value in values:
        check_text(value, what)
