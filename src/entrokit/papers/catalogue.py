"""Every paper of the library, and how to find one."""

from __future__ import annotations

from collections.abc import Sequence

from . import (
    ares,
    canon,
    credit_scorecards,
    diffadapt,
    diffusion_spectral_entropy,
    dispo,
    empg,
    entropy_dynamics_rft,
    entropy_mechanism,
    entropy_performance_exchange,
    epo,
    forking_tokens,
    hapo,
    invisible_leash,
    ldp_heavy_hitters,
    light_if,
    maxent_stat_mech,
    mec_b,
    pear,
    policy_cliff,
    progrpo,
    rare_event_pairing,
    recap,
    siren,
    spear,
    steer,
    superposition_entropy,
    universality_lens,
)
from .paper import Paper

CATALOGUE: dict[str, Paper] = {
    module.PAPER.slug: module.PAPER
    for module in (
        ares,
        canon,
        credit_scorecards,
        diffadapt,
        diffusion_spectral_entropy,
        dispo,
        empg,
        entropy_dynamics_rft,
        entropy_mechanism,
        entropy_performance_exchange,
        epo,
        forking_tokens,
        hapo,
        invisible_leash,
        ldp_heavy_hitters,
        light_if,
        maxent_stat_mech,
        mec_b,
        pear,
        policy_cliff,
        progrpo,
        rare_event_pairing,
        recap,
        siren,
        spear,
        steer,
        superposition_entropy,
        universality_lens,
    )
}


def paper(slug: str) -> Paper:
    """The paper of a slug.

    Raises:
        ValueError: there is none; the message lists the slugs.
    """
    try:
        return CATALOGUE[slug]
    except KeyError:
        raise ValueError(f"no paper {slug!r} in the catalogue; it holds {', '.join(CATALOGUE)}") from None


def search(words: Sequence[str] = (), family: str | None = None) -> list[Paper]:
    """Papers that hold every word, in order of slug; ``family`` matches the start of the family's name.

    Raises:
        ValueError: a family that no paper has.
    """
    families = sorted({p.family for p in CATALOGUE.values()})
    if family is not None and not any(f.startswith(family) for f in families):
        raise ValueError(f"no family {family!r}; there are {', '.join(families)}")
    return [p for p in CATALOGUE.values() if p.matches(words) and p.family.startswith(family or "")]
