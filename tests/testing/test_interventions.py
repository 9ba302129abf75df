"""Every base, intervention and preset holds what the battery of `entrokit.testing` checks."""

import pytest

from entrokit.rlvr import INTERVENTIONS
from entrokit.rlvr.cards import methods
from entrokit.testing import intervention_checks, recipe_checks

# Methods that meet in one recipe, and options that change what an engine has to do.
TOGETHER = [
    "dapo+aepo-reward(window=2, quantile=0.5)+aepo-kl(window=2, quantile=0.5)",
    "dispo(pos_high=0.1, neg_low=0.1)+steer(min_weight=0.3)",
    "dapo+adaptive-clip(legacy_sign=True)+redistribute-advantage(pivot=0.5)+token-group-average+adaptive-temperature",
    "grpo+steer(min_weight=0.3)+forking-tokens(rho=0.4)+clip-b(mu=0.2)",
    "dapo+steer(min_weight=0.3)+forking-tokens(rho=0.5)+reference-kl(beta=0.1, estimator='k2')",
    "grpo+clip-cov(ratio=0.2, low=0.0, high=9.0, scope='step')+forking-tokens(rho=0.3, scope='step')",
    "reinforce_plus_plus_baseline+reference-kl(beta=0.1)",
    "grpo+empg+epo",
    "grpo+siren(coef=0.5)",
    "grpo+kl-cov(ratio=0.2, scope='micro')",
]


def _checks():
    for method in methods().values():
        own = method.kind == "intervention"
        checks = intervention_checks(INTERVENTIONS[method.name]) if own else recipe_checks(*method.card.examples)
        yield from ((f"{method.name}-{check}", check) for check in checks)
    for spec in TOGETHER:
        yield from ((f"{spec}-{check}", check) for check in recipe_checks(spec))


CHECKS = dict(_checks())


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_every_method(check):
    check()
