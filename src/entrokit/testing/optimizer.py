"""A battery for optimizers: what everybody relies on `torch.optim` for, on anybody's class.

    from entrokit.testing import check_optimizer
    print(check_optimizer(MySGD))

or, a test for each check:

    @pytest.mark.parametrize("check", optimizer_checks(functools.partial(MySGD, lr=0.1)), ids=str)
    def test_my_sgd(check):
        check()

It knows nothing of the method: a step is compared with what the same optimizer does in another way. It runs on the CPU,
in well under a second for most optimizers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.optim import Optimizer

from . import optimizer_gradients, optimizer_rates, optimizer_state, optimizer_steps
from .checks import Check, Report, run_checks
from .optimizer_trial import Subject

_CHECKS = optimizer_steps.CHECKS + optimizer_gradients.CHECKS + optimizer_state.CHECKS + optimizer_rates.CHECKS


def optimizer_checks(make: Callable[..., Optimizer], *, lr_zero_stands_still: bool = True) -> list[Check]:
    """The battery, a check an element.

    Args:
        make: ``make(params, **knobs) -> Optimizer``: a class, ``functools.partial(MySGD, lr=0.1)`` or a function.
            Knobs that it takes by name are checked (`lr`, `weight_decay`, `foreach`, `maximize`); a check of one that
            it does not take is skipped.
        lr_zero_stands_still: False for methods that move at lr 0, or for which lr is but a start (`Rprop`).

    Where `step` cannot be called without a closure (`LBFGS`) every check gives it one, and a parameter that lost its
    gradient midway may move, since such a method may see all parameters as one vector. Where the closure is optional,
    only the checks of closures give one. Parameters are vectors and matrices; shapes that the class refuses with a
    ValueError (`Muon`) are left out. Noise drawn from torch's generator is repeatable here. A dense gradient must be
    accepted: `SparseAdam` is not for this battery.

    Raises:
        ValueError: none of the battery's parameters are accepted; the class's own refusal.
    """
    subject = Subject.of(make, lr_zero_stands_still)
    return [
        Check(check.__name__, " ".join((check.__doc__ or "").split()), partial(_run, check, subject), subject.name)
        for check in _CHECKS
    ]


def check_optimizer(make: Callable[..., Optimizer], *, lr_zero_stands_still: bool = True) -> Report:
    """Run the battery, all of it whichever checks fail; arguments as for `optimizer_checks`.

    Returns:
        What passed, and what was skipped and why.

    Raises:
        CheckFailed: an AssertionError with every failure: the check, what it holds and what was found.
    """
    checks = optimizer_checks(make, lr_zero_stands_still=lr_zero_stands_still)
    return run_checks(checks[0].subject, checks)


def _run(check: Callable[[Subject], None], subject: Subject) -> None:
    # A check seeds torch's generator and computes gradients, whatever the caller's state, and leaves that as it was.
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        check(subject)
