"""What an entry must be: a plug-in's that is not is refused by name, and harms no page."""

import math
import re
from dataclasses import replace

import pytest

from entrokit.papers import Experiment

from .made_up import entry

ENTRY = entry(print)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("slug", "a" * 101, "Paper.slug: 100 characters at most, got 101"),
        ("title", " ", "made-up: Paper.title is blank"),
        ("title", None, "made-up: Paper.title is text, got None"),
        ("title", "\ud800", "made-up: Paper.title cannot be written"),
        ("family", ": tokens", "made-up: Paper.family's wing is blank"),
        ("claim", "", "made-up: Paper.claim is blank"),
        ("arxiv", 2501.1, "made-up: Paper.arxiv is text, got 2501.1"),
        ("year", "2025", "made-up: Paper.year: a year, got '2025'"),
        ("names", "a.b", "made-up: Paper.names: a tuple of texts, got 'a.b'"),
        ("recipes", "grpo", "made-up: Paper.recipes: a tuple of texts, got 'grpo'"),
        ("recipes", (["grpo"],), "made-up: Paper.recipes is text, got ['grpo']"),
        ("symptoms", "entropy collapses", "made-up: Paper.symptoms: a tuple of texts"),
        ("experiments", (1,), "made-up: Paper.experiments: experiments by name, got (1,)"),
        ("experiments", {"own": print}, "made-up: 'own': an Experiment, got <built-in function print>"),
        ("experiments", {1: ENTRY.experiments["own"]}, "made-up: the name of an experiment is text, got 1"),
    ],
)
def test_an_entry_that_is_none_is_refused(field, value, says):
    with pytest.raises((TypeError, ValueError), match="^" + re.escape(says)):
        replace(ENTRY, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("run", "tabular"), ("seeds", 0), ("seeds", 2.0), ("minutes", math.nan), ("minutes", math.inf), ("minutes", -1),
     ("minutes", "1"), ("criterion", None), ("needs", "gpu")],
)  # fmt: skip
def test_an_experiment_that_is_none_is_refused(field, value):
    with pytest.raises((TypeError, ValueError), match=rf"^Experiment\.{field}"):
        replace(Experiment(print, 2, 0.1, "H rises"), **{field: value})


def test_a_paper_that_is_not_at_arxiv_leads_nowhere_else():
    assert ENTRY.url == "https://arxiv.org/abs/2501.00001"
    assert replace(ENTRY, arxiv="").url == ""


@pytest.mark.parametrize("family", ["rlvr", "rlvr: tokens", " rlvr :x: y"])
def test_a_wing_is_what_the_family_begins_with(family):
    assert replace(ENTRY, family=family).wing == "rlvr"
