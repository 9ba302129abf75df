"""Checks of a method's class: its name, its knobs, its card, and that it acts where its card says so."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, is_dataclass, replace
from functools import cached_property
from typing import Any

import torch

from entrokit.rlvr import Intervention, Recipe
from entrokit.rlvr.card import Card
from entrokit.rlvr.intervention import SCOPES

from .checks import Skipped
from .intervention_invariances import expect_separable
from .intervention_trial import Example, during, expect_finite, expect_same_step, over_examples
from .rollouts_trial import Step, context_of, perturbed, random_batch, take_step
from .stage_results import expect_numbers, listen

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# A change of a gradient's largest entry that no rounding makes.
_ACTS = 1e-4
# How near a name must come to a hook's to be taken for it: `observes` and `obsrve` for `observe`.
_NEAR = 0.8
# The base upon which benches show a method.
_BASELINE = "grpo"


@dataclass(frozen=True)
class Subject:
    """A class of interventions. ``examples``: of its card; none where it has none."""

    cls: type[Intervention]

    @cached_property
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
    """It is a dataclass, and its name is lower-case words joined by hyphens."""
    cls = subject.cls
    own = {name for name, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)}
    known = {f.name for f in dataclasses.fields(cls)} if is_dataclass(cls) else set()
    if not is_dataclass(cls) or own - known:
        raise AssertionError("it is no dataclass, and a recipe's string could not say its knobs")
    if not _NAME.fullmatch(cls.name):
        raise AssertionError(f"its name is {cls.name!r}, not lower-case words joined by hyphens")


def hooks(subject: Subject) -> None:
    """Nothing that it defines is a hook of `Intervention` misspelt, which nobody would call, and `state_dict` and
    `load_state_dict` come together.
    """
    cls = subject.cls
    known = [name for name, value in vars(Intervention).items() if callable(value) or isinstance(value, property)]
    knobs = {f.name for f in dataclasses.fields(cls)} if is_dataclass(cls) else frozenset[str]()
    bringers = {name: c for c in cls.__mro__ if c not in Intervention.__mro__ for name in vars(c)}
    for name, bringer in bringers.items():
        if name.startswith("_") or name in knobs or hasattr(Intervention, name):
            continue
        # Whoever writes both does not mean the one by the other.
        near = [hook for hook in difflib.get_close_matches(name, known, cutoff=_NEAR) if hook not in vars(bringer)]
        if near:
            raise AssertionError(f"{bringer.__name__}.{name} is no hook of Intervention; {near[0]} is")
    both = ("state_dict", "load_state_dict")
    own = [name for name in both if getattr(cls, name) is not getattr(Intervention, name)]
    if len(own) == 1:
        raise AssertionError(f"it has {own[0]} without {next(name for name in both if name not in own)}")


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
    """It has a card, each of whose examples holds it, whose knobs for benches build a recipe, and whose paper its class
    or its module cites.
    """
    own = subject.cls.card
    if not isinstance(own, Card):
        raise AssertionError(f"its card is {own!r}; tests, benches and pages know a method by it")
    for example in subject.examples:
        if example.fault is None:
            subject.own(example.build())
    for example in _on_benches(subject, own):
        with during(f"on benches it is {example}"):
            example.build()
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
        # Of NaN nobody could say whether it changes anything.
        listen(chosen, expect_numbers)
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


def _on_benches(subject: Subject, own: Card) -> list[Example]:
    """The recipes by which benches show it: at its paper's knobs, and at those for a small batch."""
    shown = own.benches
    if shown is None:
        return []
    knobs = [shown.fixed] if shown.tuned is None else [shown.fixed, ", ".join(filter(None, [shown.fixed, shown.tuned]))]
    name = f"{_BASELINE}+{subject.cls.name}"
    return [Example(f"{name}({given})" if given else name, subject.cls) for given in knobs]


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


CHECKS = (named_dataclass, hooks, documented_knobs, refused_knobs, card, acts, scopes)
