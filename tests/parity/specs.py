"""The recipes that verl's actor trains in the tests, on one rank and on two."""

from entrokit.rlvr import recipe
from entrokit.rlvr.cards import methods
from entrokit.rlvr.intervention import implements

from ..processes import run

# What verl's tokenizer of the tests can write, and knobs that act on twelve short completions.
AT = {
    "pear": "grpo+pear(alpha=0.5, end_of_thinking='h')",
    "epo": "grpo+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01, total_steps=9)",
    "reward-kl": "rloo+reward-kl(beta=0.1)",
    "weighted-grpo": "grpo+weighted-grpo(lambda_neg=2.0)",
}


def carried(spec):
    """Whether verl can carry every part of a recipe."""
    return all(
        i.needs <= {"logp", "entropy"}
        and not i.replays
        and not implements(i, "decode")
        and i.refused_by("verl") is None
        for i in recipe(spec).interventions
    )


_FIRST = {m.name: AT.get(m.name, m.card.examples[0]) for m in methods().values() if m.kind != "preset"}
SPECS = {
    **{name: spec for name, spec in _FIRST.items() if carried(spec)},
    "step scope": "dapo+steer(min_weight=0.3, scope='step')+forking-tokens(rho=0.5, scope='step')",
    "three at once": "grpo+steer(min_weight=0.3)+forking-tokens(rho=0.4)+clip-b(mu=0.2)",
}
# A draw among candidates follows their order, which differs between one rank and two: here all of them are taken.
ALL = {**SPECS, "clip-cov": "dapo+clip-cov(ratio=1.0, low=0.0, high=9.0)"}


def trained(launcher, folder, out):
    return run([*launcher, "-m", "tests.parity.verl_two_ranks", folder, str(out), *ALL.values()], out)
