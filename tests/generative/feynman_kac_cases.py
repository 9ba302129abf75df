"""The sheet's two mixtures under its schedule, and what is made of them."""

from entrokit.generative.feynman_kac import anneal, cfg, product
from entrokit.papers.generative._known_combinations import A, B, Wanted

T = 0.3
COMBINATIONS = {
    "anneal": ((A,), anneal(3.0)),
    "product": ((A, B), product(2)),
    "guidance": ((A, B), cfg(2.5)),
    "annealed product": ((A, B), product(2, 2.0)),
}


def log_density(laws, exponents, x, t, noising):
    """Of the combination at time t, not normalised, ``[K]``."""
    return Wanted(tuple(laws), exponents, None, noising).log_density(x, t)
