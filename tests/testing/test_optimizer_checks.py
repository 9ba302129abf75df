"""The battery passes what is right, and each of its checks catches something that is wrong."""

import unittest
from functools import partial

import pytest
import torch
from torch import optim

from entrokit.testing import CheckFailed, Skipped, check_optimizer, optimizer_checks

from . import broken_state, broken_steps
from .momentum import Momentum

BROKEN = broken_steps.BROKEN + broken_state.BROKEN

# Torch's own, each with what does not hold for it; newer releases may have mended some.
PEERS = {
    "SGD": (partial(optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), set()),
    "Adam": (partial(optim.Adam, amsgrad=True), set()),
    "AdamW": (optim.AdamW, set()),
    "Adagrad": (optim.Adagrad, set()),
    "Adadelta": (optim.Adadelta, set()),
    "Adamax": (optim.Adamax, set()),
    "RAdam": (optim.RAdam, set()),
    "RMSprop": (partial(optim.RMSprop, momentum=0.9, centered=True), set()),
    # Its lr is the first step's alone.
    "Rprop": (optim.Rprop, {"lr_zero", "schedulers"}),
    # A running product in float32, which loading casts to the parameters' dtype.
    "NAdam": (optim.NAdam, {"resume_dtypes"}),
    # The same with its step size, which is of the lr before, and which the loop computes in double, foreach in float32.
    "ASGD": (optim.ASGD, {"resume_dtypes", "foreach_equals_loop", "lr_zero"}),
    # The root mean square of no elements.
    "Adafactor": (optim.Adafactor, {"unusual_shapes"}),
    # Its list of parameters is lost on copying; the last step's length is the group's lr tensor itself.
    "LBFGS": (optim.LBFGS, {"deep_copy", "pickled", "lr_tensor"}),
}
if hasattr(optim, "Muon"):  # since torch 2.9
    PEERS["Muon"] = (optim.Muon, set())


@pytest.mark.parametrize("check", optimizer_checks(Momentum), ids=str)
def test_what_is_right_passes(check):
    check()


@pytest.mark.parametrize("peer", PEERS)
def test_peers(peer):
    make, known = PEERS[peer]
    for check in optimizer_checks(make):
        try:
            check()
        except Skipped:
            pass
        except CheckFailed:
            assert check.name in known


@pytest.mark.parametrize(
    ("name", "broken", "found"), BROKEN, ids=[f"{name}-{broken.__name__}" for name, broken, _ in BROKEN]
)
def test_what_is_wrong_is_caught(name, broken, found):
    check = next(check for check in optimizer_checks(broken) if check.name == name)
    with pytest.raises(
        CheckFailed, match=rf"(?s){broken.__name__}: check `{name}` failed.*found: .*{found}"
    ) as failure:
        check()
    assert check.holds in str(failure.value)


def test_every_check_can_fail():
    assert {check.name for check in optimizer_checks(Momentum)} == {name for name, _, _ in BROKEN}


def test_checks_say_what_they_hold():
    checks = optimizer_checks(Momentum)
    assert len({check.holds for check in checks}) == len(checks)
    assert all(check.holds.endswith(".") for check in checks)


class WrongTwice(broken_state.AcceptsNegativeLr, broken_steps.NoName):
    pass


def test_a_battery_names_every_failure():
    with pytest.raises(CheckFailed, match="WrongTwice: 2 of .* checks failed, 0 skipped") as failure:
        check_optimizer(WrongTwice)
    assert len(failure.value.failures) == 2
    for one, name in zip(failure.value.failures, ("printable", "bad_hyperparameters"), strict=True):
        assert f"check `{name}` failed" in str(one)
        assert str(one) in str(failure.value)


def test_knobs_that_are_not_on_offer_are_reported_as_skipped():
    report = check_optimizer(lambda params: Momentum(params, lr=0.1))
    assert set(report.skipped) == {
        "foreach_equals_loop",
        "maximize",
        "resume_from_saved_knobs",
        "lr_tensor",
        "bad_hyperparameters",
    }
    assert "maximize skipped: make takes no keyword `maximize`" in str(report)
    assert not set(report.passed) & set(report.skipped)
    assert len(report.passed) + len(report.skipped) == len(optimizer_checks(Momentum))


def test_knobs_that_are_passed_on_are_on_offer():
    assert not check_optimizer(lambda params, **knobs: Momentum(params, **knobs)).skipped


class Langevin(Momentum):
    def move(self, group, param, gradient, buffer):
        param.add_(torch.randn(param.shape, dtype=param.dtype), alpha=(2 * group["lr"]) ** 0.5 * 0.1)
        super().move(group, param, gradient, buffer)

    def together(self, group, *each):
        for one in zip(*each, strict=True):
            self.move(group, *one)


def test_noise_from_the_generator_is_no_fault():
    assert not check_optimizer(Langevin).skipped


def test_an_lr_that_is_but_a_start():
    assert set(check_optimizer(optim.Rprop, lr_zero_stands_still=False).skipped) == {"lr_zero"}


def test_a_skipped_check_is_skipped_for_any_runner():
    class Case(unittest.TestCase):
        def test(self):
            next(check for check in optimizer_checks(lambda params: Momentum(params)) if check.name == "maximize")()

    result = unittest.TestResult()
    Case("test").run(result)
    assert [reason for _, reason in result.skipped] == ["make takes no keyword `maximize`"]


def test_a_class_for_one_group_and_no_vectors():
    class Narrow(Momentum):
        def add_param_group(self, group):
            super().add_param_group(group)
            if len(self.param_groups) > 1 or any(param.dim() != 2 for param in group["params"]):
                raise ValueError("one group of matrices")

    names = {check.name: check for check in optimizer_checks(Narrow)}
    for name in ("group_override", "group_added"):
        with pytest.raises(Skipped, match="refuses a second group: one group of matrices"):
            names[name]()
    names["resume"]()
    names["unusual_shapes"]()


def test_a_class_that_accepts_nothing_is_refused():
    class Nothing(Momentum):
        def add_param_group(self, group):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        optimizer_checks(Nothing)


def test_the_caller_notices_nothing():
    before = torch.get_rng_state()
    with torch.no_grad():
        check_optimizer(Momentum)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)
