"""The recipes that verl's actor trains in the tests, on one rank and on two."""

from entrokit.rlvr import BASES

from ..processes import run

# Every intervention that verl can carry, at knobs at which it acts on twelve short completions.
SPECS = {
    **{base: base for base in BASES},
    "clip-cov": "dapo+clip-cov(ratio=0.3, low=0.0, high=9.0)",
    "kl-cov": "dapo+kl-cov(ratio=0.2)",
    "steer": "grpo+steer(min_weight=0.3)",
    "forking-tokens": "dapo+forking-tokens(rho=0.4)",
    "clip-b": "grpo+clip-b(mu=0.2, side='both')",
    "adaptive-clip": "grpo+adaptive-clip(pivot=0.5)",
    "redistribute-advantage": "dapo+redistribute-advantage(pivot=0.5)",
    "token-group-average": "grpo+token-group-average",
    "canon": "dr_grpo+canon(mu=0.7)",
    "arm": "grpo+arm(low_frac=0.4)",
    "perplexity-shaping": "grpo+perplexity-shaping(alpha=0.3)",
    "position-shaping": "dapo+position-shaping",
    "weighted-grpo": "grpo+weighted-grpo(lambda_neg=2.0)",
    "pear": "grpo+pear(alpha=0.5, end_of_thinking='h')",
    "tea": "grpo+tea(cap=2.0)",
    "reference-kl": "dr_grpo+reference-kl(beta=0.1)",
    "reward-kl": "rloo+reward-kl(beta=0.1)",
    "empg": "grpo+empg",
    "epo": "grpo+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01, total_steps=9)",
    "epo-official": "grpo+epo-official(coef=0.1)",
    "tool-reward": "dr_grpo+tool-reward",
    "aepo-reward": "grpo+aepo-reward(window=2, quantile=0.5)",
    "aepo-kl": "dr_grpo+aepo-kl(beta=0.1, window=2, quantile=0.5)",
    "entropy-bonus": "grpo+entropy-bonus(coef=0.1)",
    "step scope": "dapo+steer(min_weight=0.3, scope='step')+forking-tokens(rho=0.5, scope='step')",
    "three at once": "grpo+steer(min_weight=0.3)+forking-tokens(rho=0.4)+clip-b(mu=0.2)",
}
# A draw among candidates follows their order, which differs between one rank and two: here all of them are taken.
ALL = {**SPECS, "clip-cov": "dapo+clip-cov(ratio=1.0, low=0.0, high=9.0)"}


def trained(launcher, folder, out):
    return run([*launcher, "-m", "tests.parity.verl_two_ranks", folder, str(out), *ALL.values()], out)
