"""Planted courses: every kind found on seeds that were not looked at, and no alarm on sound ones."""

import pytest

from .planted import CHECKED_ON, CHOSEN_ON, KINDS, found, table


def test_no_seed_is_for_both():
    assert not set(CHOSEN_ON) & set(CHECKED_ON)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_found(name):
    hits = sum(found(name, seed) for seed in CHECKED_ON)
    needed = len(CHECKED_ON) if KINDS[name][0] == "healthy" else 0.95 * len(CHECKED_ON)
    assert hits >= needed, "\n".join(table(CHECKED_ON))
