"""Checks of a method's class: its name, its knobs, its card, and that it acts where its card says so."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, is_dataclass, replace
from typing import Any

import torch

from entrokit.rlvr import Intervention, Recipe
from entrokit.rlvr.card import Card
from entrokit.rlvr.intervention import SCOPES

from .checks import Skipped
from .intervention_invariances import expect_separable
from .intervention_trial import Example, during, expect_finite, expect_same_step, over_examples
from .rollouts_trial import Step, context_of, perturbed, random_batch, take_step

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# A change of a gradient's largest entry that no rounding makes.
_ACTS = 1e-4


@dataclass(frozen=True)
class Subject:
    """A class of interventions. ``examples``: of its card; none where it has none."""

    cls: type[Intervention]

    @property
    def examples(self) -> Sequence[Example]:
        card = self.cls.card
        return [Example(text, self.cls) for text in card.examples] if isinstance(card, Card) else []

    @property
    def knobs(self) -> list[Field[Any]]:
        """Fields that its constructor takes."""
        return [f for f in dataclasses.fields(self.cls) if f.init]  # type: ignore[arg-type]

    def own(self, built: Recipe) -> Intervention:
        """The method among a recipe's interventions.

        Raises:
            AssertionError: it is not there.
        """
        found = next((i for i in built.interventions if type(i) is self.cls), None)
        if found is None:
            raise AssertionError(f"the example {built} does not hold {self.cls.name}")
        return found


def named_dataclass(subject: Subject) -> None:
    """It is a dataclass derived from `Intervention`, and its name is lower-case words joined by hyphens."""
    cls = subject.cls
    if not issubclass(cls, Intervention):
        raise AssertionError(f"{cls.__qualname__} does not derive from Intervention")
    own = {name for name, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)}
    known = {f.name for f in dataclasses.fields(cls)} if is_dataclass(cls) else set()
    if not is_dataclass(cls) or own - known:
        raise AssertionError("it is no dataclass, and a recipe's string could not say its knobs")
    if not _NAME.fullmatch(cls.name):
        raise AssertionError(f"its name is {cls.name!r}, not lower-case words joined by hyphens")


def documented_knobs(subject: Subject) -> None:
    """Every knob has a default, so that the name alone is a method, and stands in the class's docstring."""
    without = [f.name for f in subject.knobs if f.default is MISSING and f.default_factory is MISSING]
    if without:
        raise AssertionError(f"no default for {', '.join(without)}")
    subject.cls()
    said = inspect.getdoc(subject.cls) or ""
    unsaid = [f.name for f in subject.knobs if not re.search(rf"\b{re.escape(f.name)}\b", said)]
    if unsaid:
        raise AssertionError(f"its docstring does not say what {', '.join(unsaid)} does")


def refused_knobs(subject: Subject) -> None:
    """A number that is NaN, a word in the place of a number or of a truth, and a scope that is none are refused by a
    ValueError that names the knob.
    """
    for knob in subject.knobs:
        if isinstance(knob.default, bool):
            wrong: list[Any] = ["perhaps"]
        elif isinstance(knob.default, (int, float)):
            wrong = [math.nan, "much"]
        elif knob.name == "scope":
            wrong = ["no such scope"]
        else:
            continue
        for value in wrong:
            _expect_refused(subject, knob.name, value)


def card(subject: Subject) -> None:
    """It has a card, each of whose examples holds it, and its class or its module cites the card's paper."""
    own = subject.cls.card
    if not isinstance(own, Card):
        raise AssertionError(f"its card is {own!r}; tests, benches and pages know a method by it")
    for example in subject.examples:
        subject.own(example.build())
    module = sys.modules.get(subject.cls.__module__)
    if own.paper not in (inspect.getdoc(subject.cls) or "") + ((module and module.__doc__) or ""):
        raise AssertionError(f"neither its docstring nor its module's cites {own.paper}")


def acts(subject: Subject) -> None:
    """At each example of its card it changes the gradient or what is sampled, or replays, in its first three steps."""

    def changes(example: Example) -> None:
        chosen = example.build()
        own = subject.own(chosen)
        rest = tuple(i for i in example.build().interventions if i.name != own.name)
        without = Recipe(chosen.base_part, chosen.base, rest)
        for number in range(3):
            batch = random_batch(seed=number)
            steps = [take_step(one, batch, perturbed(batch), context=context_of(number)) for one in (chosen, without)]
            if _differ(*steps):
                return
        raise AssertionError(f"{own.name} changes nothing")

    over_examples(changes, subject.examples)


def scopes(subject: Subject) -> None:
    """Where it has a knob `scope`, each of the three words trains, and is `separable` if it says so, or is refused by a
    ValueError; what one step takes whole is alike for a generation batch and for a step.
    """
    if "scope" not in {knob.name for knob in subject.knobs}:
        raise Skipped("it has no knob `scope`")

    def each(example: Example) -> None:
        steps: dict[str, Step] = {}
        for scope in SCOPES:
            chosen = example.build()
            own = subject.own(chosen)
            try:
                other = replace(own, scope=scope)  # type: ignore[type-var]
            except ValueError as refusal:
                if "scope" not in str(refusal):
                    raise AssertionError(f"scope={scope!r} is refused without being named: {refusal}") from refusal
                continue
            others = tuple(other if i is own else i for i in chosen.interventions)
            batch = random_batch()
            scoped = Recipe(chosen.base_part, chosen.base, others)
            with during(f"with scope={scope!r}"):
                if scoped.separable:
                    expect_separable(scoped)
                steps[scope] = take_step(scoped, batch, perturbed(batch))
                expect_finite(steps[scope])
        if {"generation", "step"} <= set(steps):
            expect_same_step(steps["step"], steps["generation"], "with scope='step' against 'generation'")

    over_examples(each, subject.examples)


def _differ(one: Step, other: Step) -> bool:
    gaps = [float((one.gradient[name] - gradient).abs().max()) for name, gradient in other.gradient.items()]
    samples = one.sampled is not None and (other.sampled is None or not torch.equal(one.sampled, other.sampled))
    return max(gaps) > _ACTS or samples or len(one.replayed) > len(other.replayed)


def _expect_refused(subject: Subject, knob: str, value: Any) -> None:
    try:
        subject.cls(**{knob: value})
    except ValueError as refusal:
        if knob not in str(refusal):
            raise AssertionError(f"{knob}={value!r} is refused without being named: {refusal}") from refusal
    except Exception as error:
        raise AssertionError(f"{knob}={value!r} is refused by a {type(error).__name__}: {error}") from error
    else:
        raise AssertionError(f"{knob}={value!r} is taken")


CHECKS = (named_dataclass, documented_knobs, refused_knobs, card, acts, scopes)
