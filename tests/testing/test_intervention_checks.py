"""The battery passes a method that is right, and each of its checks catches something that is wrong."""

import random
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from entrokit.discovery import DuplicateError
from entrokit.rlvr import INTERVENTIONS, Intervention, Weighting, recipe
from entrokit.rlvr.card import Card
from entrokit.rlvr.interventions import registered
from entrokit.rlvr.interventions.steer import Steer
from entrokit.testing import CheckFailed, Skipped, check_intervention, intervention_checks, intervention_engines
from entrokit.testing.intervention_class import Subject, hooks
from entrokit.testing.stop_gradients import StopGradients

from . import broken_class, broken_numbers, broken_stages
from .tether import Tether

BROKEN = broken_numbers.BROKEN + broken_stages.BROKEN + broken_class.BROKEN


@pytest.mark.parametrize("check", intervention_checks(Tether), ids=str)
def test_what_is_right_passes(check):
    check()


@pytest.fixture
def careless_verl(monkeypatch):
    """verl as if it were installed, whose plug-in refuses everything without a name."""
    original = intervention_engines._installed

    def refuse(chosen, config):
        raise ValueError("not today")

    def installed(package, module):
        return SimpleNamespace(refuse=refuse) if package == "verl" else original(package, module)

    monkeypatch.setattr(intervention_engines, "_installed", installed)


@pytest.mark.parametrize(
    ("name", "broken", "found"), BROKEN, ids=[f"{name}-{broken.__name__}" for name, broken, _ in BROKEN]
)
def test_what_is_wrong_is_caught(name, broken, found, careless_verl):
    if name == "trl":
        pytest.importorskip("trl")
    check = next(check for check in intervention_checks(broken) if check.name == name)
    with pytest.raises(
        CheckFailed, match=rf"(?s){broken.__name__}: check `{name}` failed.*found: .*{found}"
    ) as failure:
        check()
    assert check.holds in str(failure.value)


def test_every_check_can_fail():
    assert {check.name for check in intervention_checks(Tether)} == {name for name, _, _ in BROKEN}


def test_checks_say_what_they_hold():
    checks = intervention_checks(Tether)
    assert len({check.holds for check in checks}) == len(checks)
    assert all(check.holds.endswith(".") for check in checks)


class WrongTwice(broken_stages.TakesAnyState, broken_numbers.GroupsByNumber):
    pass


def test_a_battery_names_every_failure_and_the_example(monkeypatch):
    monkeypatch.setattr(intervention_engines, "find_spec", lambda package: None)
    with pytest.raises(CheckFailed, match="WrongTwice: 2 of .* checks failed") as failure:
        check_intervention(WrongTwice)
    assert [str(one).split("`")[1] for one in failure.value.failures] == ["order", "foreign_state"]
    assert "grpo+tether(pull=0.5): with rows in another order" in str(failure.value)


@dataclass
class Coin(Intervention):
    """Drops a token at random, drawn once a batch (0000.00000). Knobs: `keep`."""

    name: ClassVar[str] = "coin"
    card: ClassVar[Card] = Card("0000.00000", examples=("grpo+coin(keep=True)",), not_ranked="exists for tests")
    keep: bool = False

    def __post_init__(self):
        if not isinstance(self.keep, bool):
            raise ValueError(f"coin: keep is {self.keep!r}")

    def prepare(self, rollouts, advantages, context):
        tokens, own = context.gathered_with_own_part(rollouts.trained[rollouts.trained])
        kept = torch.zeros_like(rollouts.trained)
        kept[rollouts.trained] = (torch.rand(len(tokens), generator=context.generator) < 0.7)[own]
        return {"kept": kept}

    def weight(self, update, clip, prepared):
        if self.keep:
            return Weighting(keep=prepared["kept"] & update.trained)
        return Weighting(weight=prepared["kept"].to(update.advantages.dtype))


def test_draws_from_the_context_are_no_fault_and_what_does_not_apply_is_skipped(monkeypatch):
    monkeypatch.setattr(intervention_engines, "find_spec", lambda package: None)
    report = check_intervention(Coin)
    assert report.skipped == {
        "scopes": "it has no knob `scope`",
        "order": "it draws, and what falls to a row depends on its place",
        "separable": "it does not say that it is separable",
        "saved_state": "it has no state",
        "trl": "trl is not installed",
        "verl": "verl is not installed",
    }
    assert len(report.passed) + len(report.skipped) == len(intervention_checks(Coin))


def test_who_logs_nothing_trains_under_trl():
    pytest.importorskip("trl")
    next(check for check in intervention_checks(Coin) if check.name == "trl")()


@pytest.mark.parametrize("broken", [broken_class.DividesByZero, broken_class.HasAnExampleThatIsNone])
def test_one_cause_is_told_once_and_first(broken):
    with pytest.raises(CheckFailed) as failure:
        check_intervention(broken)
    assert [str(one).split("`")[1] for one in failure.value.failures] == ["runs"]


def test_checks_skip_what_does_not_run_and_look_at_the_other_examples():
    class RunsAtOnce(Tether):
        card: ClassVar[Card] = Card(
            "0000.00000", examples=("grpo+tether(pul=1)", "grpo+tether(pull=0.5)"), not_ranked="exists for tests"
        )

    checks = {check.name: check for check in intervention_checks(RunsAtOnce)}
    checks["string"]()
    with pytest.raises(CheckFailed, match="pul"):
        checks["runs"]()
    of_none = {check.name: check for check in intervention_checks(broken_class.DividesByZero)}
    with pytest.raises(Skipped, match="does not run"):
        of_none["cut"]()


@pytest.mark.parametrize(
    ("given", "said"), [(42, "got 42"), (int, "got <class 'int'>"), (Tether(), "got Tether.*; give its class, Tether")]
)
def test_what_is_no_class_of_interventions_is_refused(given, said):
    with pytest.raises(TypeError, match=f"expected a class derived from entrokit.rlvr.Intervention, {said}"):
        check_intervention(given)


def test_an_interrupt_ends_the_battery():
    class Interrupted(Tether):
        def remember(self, rollouts, advantages, context):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_intervention(Interrupted)


def test_a_helper_beside_the_hook_is_no_misspelling():
    class Weighs(Intervention):
        def weigh(self, update, clip, prepared):
            return Weighting()

    class Both(Tether):
        def observe(self, metrics, context):
            self.observes(metrics)

        def observes(self, metrics):
            self.mean = 1.0

    for cls in (Both, Tether, Weighs):
        hooks(Subject(cls))


class Unfit(Tether):
    card: ClassVar[Card] = Card(
        "0000.00000", examples=("grpo+tether",), not_ranked="exists for tests", refused_by={"trl": "it is unfit"}
    )


def test_an_engine_that_the_card_rules_out_is_skipped_by_its_words():
    pytest.importorskip("trl")
    checks = {check.name: check for check in intervention_checks(Unfit)}
    with pytest.raises(Skipped, match="tether: it is unfit"):
        checks["trl"]()


def test_recipe_strings_know_a_class_for_the_time_of_a_check():
    check_names = [check.name for check in intervention_checks(Tether)]
    assert "cut" in check_names
    assert "tether" not in INTERVENTIONS
    with registered(Tether):
        assert isinstance(recipe("grpo+tether").interventions[0], Tether)
    with pytest.raises(ValueError, match="unknown intervention 'tether'"):
        recipe("grpo+tether")


def test_a_name_is_not_taken_from_another_class_even_for_a_time():
    with pytest.raises(DuplicateError, match="'steer' of .*tests.testing.*SecondSteer is taken by .*steer.Steer"):
        check_intervention(SecondSteer)
    with registered(Steer):
        assert INTERVENTIONS["steer"] is Steer
    assert INTERVENTIONS["steer"] is Steer
    with pytest.raises(TypeError, match="no Intervention with a name"), registered(Intervention):
        pass


class SecondSteer(Tether):
    name: ClassVar[str] = "steer"


def test_stopped_gradients_are_held_and_no_others():
    """Of ``sg(x) x + no_grad(x²) x + x³``, what a custom function computes included."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, slope):
            return 3 * ctx.saved_tensors[0] ** 2 * slope

    def loss(x):
        with torch.no_grad():
            square = x * x
        return x.detach() * x + square * x + Cube.apply(x) + x.data * x

    held = StopGradients()
    x = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(held.at(partial(loss, x)), x)
    assert float(slope) == 2 + 4 + 12 + 2
    high, low = (held.at(partial(loss, (x + at).detach().requires_grad_())) for at in (1e-5, -1e-5))
    assert float((high - low).detach()) / 2e-5 == pytest.approx(20.0, rel=1e-8)


def test_the_caller_notices_nothing(monkeypatch):
    monkeypatch.setattr(intervention_engines, "find_spec", lambda package: None)
    before, of_python = torch.get_rng_state(), random.getstate()
    with torch.no_grad():
        check_intervention(Tether)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == of_python
