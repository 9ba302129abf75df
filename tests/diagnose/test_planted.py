"""Planted courses: every kind found on seeds that were not looked at, and no alarm on sound ones."""

import pytest

from entrokit.diagnose import diagnose

from .failures import KINDS
from .ordinary import Run
from .planted import CHECKED_ON, CHOSEN_ON, found, table


def test_no_seed_is_for_both():
    assert not set(CHOSEN_ON) & set(CHECKED_ON)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_found(name):
    hits = sum(found(name, seed) for seed in CHECKED_ON)
    needed = len(CHECKED_ON) if KINDS[name][0] == "healthy" else 0.95 * len(CHECKED_ON)
    assert hits >= needed, "\n".join(table(CHECKED_ON))


def test_a_finding_says_when_it_began():
    """Between where it was planted and half a run later, for the kinds that begin at a step."""
    for name in ("KL runs away", "clip saturates", "groups become flat", "limit too short", "entropy gone"):
        right, change = KINDS[name]
        run = Run(3)
        change(run)
        (finding,) = [f for f in diagnose(run.log()).findings if f.verdict == right][:1]
        assert finding.onset is not None
        assert run.begin - 0.05 <= finding.onset / run.n <= run.begin + 0.5, name
