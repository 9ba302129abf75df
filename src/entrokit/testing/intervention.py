"""A battery for interventions: what a recipe owes whoever trains with it, on anybody's class.

    from entrokit.testing import check_intervention
    print(check_intervention(MyMethod))

or, a test for each check:

    @pytest.mark.parametrize("check", intervention_checks(MyMethod), ids=str)
    def test_my_method(check):
        check()

The class needs a `Card` whose examples are recipes that name it ("grpo+my-method(knob=0.5)"); nobody need have
registered it. A base or a preset is checked by the recipes of its card (`recipe_checks`). Steps are compared with what
the same method does in another way, so the battery knows no method. It runs on the CPU, in about a second a recipe, and
as long again where TRL is installed, under which a tiny model then trains.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial

import torch

from entrokit.rlvr import Intervention
from entrokit.rlvr.interventions import registered

from . import (
    intervention_class,
    intervention_engines,
    intervention_invariances,
    intervention_numbers,
    intervention_stages,
    intervention_state,
)
from .checks import Check, Report, run_checks
from .intervention_class import Subject
from .intervention_trial import Example, over_examples, runs

_OF_CLASSES = intervention_class.CHECKS
_OF_RECIPES = (
    intervention_invariances.CHECKS
    + intervention_stages.CHECKS
    + intervention_numbers.CHECKS
    + intervention_state.CHECKS
    + intervention_engines.CHECKS
)


def intervention_checks(cls: type[Intervention]) -> list[Check]:
    """The battery of a class, a check an element: those of its own, then those of its card's examples, one by one.

    A check of recipes fails at the first example at which it does not hold, and names it. It is skipped where every
    example skips it. A class without a card fails `card`, and there is no recipe to check. The first, `runs`, says of
    an example that it cannot be built or raises; every other check then leaves that example out.

    Raises:
        DuplicateError: its name is that of another registered class.
        TypeError: it has none, or is no class derived from `Intervention`.
    """
    if not (inspect.isclass(cls) and issubclass(cls, Intervention)):
        hint = f"; give its class, {type(cls).__name__}" if isinstance(cls, Intervention) else ""
        raise TypeError(f"expected a class derived from entrokit.rlvr.Intervention, got {cls!r}{hint}")
    with registered(cls):
        subject = Subject(cls)
    own = [_check(check, partial(check, subject), cls.__name__) for check in _OF_CLASSES]
    of_recipes = _checks_of_recipes(cls.__name__, subject.examples)
    return of_recipes[:1] + own + of_recipes[1:]


def check_intervention(cls: type[Intervention]) -> Report:
    """Run the battery of a class, all of it whichever checks fail.

    Returns:
        What passed, and what was skipped and why.

    Raises:
        CheckFailed: an AssertionError with every failure: the check, what it holds and what was found.
        DuplicateError, TypeError: as `intervention_checks`.
    """
    checks = intervention_checks(cls)
    return run_checks(cls.__name__, checks)


def recipe_checks(*specs: str) -> list[Check]:
    """The checks of recipes, for those of a base, of a preset, or several methods that meet in one.

    Args:
        specs: recipe strings of registered names.
    """
    return _checks_of_recipes(" and ".join(specs), [Example(spec) for spec in specs])


def check_recipe(*specs: str) -> Report:
    """Run the checks of recipes, all of them whichever fail; arguments as for `recipe_checks`, the rest as above."""
    return run_checks(" and ".join(specs), recipe_checks(*specs))


def _checks_of_recipes(name: str, examples: Sequence[Example]) -> list[Check]:
    if not examples:
        return []
    return [_check(check, partial(over_examples, check, examples), name) for check in (runs, *_OF_RECIPES)]


def _check(check: Callable[..., None], run: Callable[[], None], name: str) -> Check:
    return Check(check.__name__, " ".join((check.__doc__ or "").split()), partial(_isolated, run), name)


def _isolated(run: Callable[[], None]) -> None:
    # A check seeds torch's generator and computes gradients, whatever the caller's state, and leaves that as it was.
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        run()
