"""A method's name stands in its own file, its test and its entry: nobody keeps a list that another would edit."""

import re

from entrokit.rlvr.cards import methods

from .processes import ROOT

SOURCE = ROOT / "src" / "entrokit"
# They know a few methods by what they are for, and need not know the next one.
KNOW_SOME = {
    "bench/planted.py",  # runs with a cause planted, and the remedies that were tried on them
    "diagnose/remedies/courses.py",  # advice
    "engines/trl/options.py",  # TRL's own words for some of them
}


def named_in(text):
    """Interventions and presets that a file names as recipes do: quoted, or behind a plus."""
    names = [m.name for m in methods().values() if m.kind != "base"]
    return {name for name in names if re.search(rf"""["'`+]{re.escape(name)}(?=["'`(+])""", text)}


def test_no_file_outside_of_methods_and_entries_lists_them():
    lists = {}
    for file in SOURCE.rglob("*.py"):
        place = file.relative_to(SOURCE)
        if place.parts[0] != "papers" and "interventions" not in place.parts:
            found = named_in(file.read_text(encoding="utf-8"))
            if len(found) > 2:
                lists[place.as_posix()] = found
    assert set(lists) == KNOW_SOME, lists


def test_a_list_would_be_seen():
    assert named_in("EVERY = ['grpo+steer', 'siren', \"canon\", `kl-cov(ratio=0.1)`]") == {
        "steer",
        "siren",
        "canon",
        "kl-cov",
    }
    assert named_in("the arm of a bandit, a recap of steering") == set()
