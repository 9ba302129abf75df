"""Every threshold decides where it says that it does: a run just inside of it, and one just outside."""

from dataclasses import fields

import pytest

from entrokit.diagnose import Thresholds, diagnose

from .at_more_thresholds import MORE_THRESHOLDS
from .at_thresholds import FIRST_THRESHOLDS

AT_THRESHOLDS = [*FIRST_THRESHOLDS, *MORE_THRESHOLDS]

every_case = pytest.mark.parametrize("case", AT_THRESHOLDS, ids=lambda case: f"{case.field} {case.name}".strip())


def sets_off(case, measured, thresholds, folder):
    """Whether the run of that number has the case's finding."""
    folder.mkdir()
    found = diagnose(case.run(measured)(folder), thresholds).findings
    return case.finding in [(finding.verdict, finding.cause) for finding in found]


def test_every_threshold_has_a_case():
    assert {case.field for case in AT_THRESHOLDS} == {field.name for field in fields(Thresholds)}


@every_case
def test_the_default_decides_where_the_table_says(case, tmp_path):
    """The numbers are the table's own: another default fails here."""
    low, high = case.around(case.default)
    assert sets_off(case, low, Thresholds(), tmp_path / "low") != case.above
    assert sets_off(case, high, Thresholds(), tmp_path / "high") == case.above


@every_case
def test_a_threshold_of_the_users_decides_at_its_place(case, tmp_path):
    thresholds = Thresholds(**{case.field: case.other})
    low, high = case.around(case.other)
    assert sets_off(case, low, thresholds, tmp_path / "low") != case.above
    assert sets_off(case, high, thresholds, tmp_path / "high") == case.above


def test_what_is_missing_is_counted_and_what_is_needed_said(tmp_path):
    (case,) = [case for case in AT_THRESHOLDS if case.name == "of entropy"]
    (finding,) = diagnose(case.run(9)(tmp_path), Thresholds(min_points=14)).findings
    assert finding.evidence[0] == "9 points of entropy; at least 14 are needed"


@pytest.mark.parametrize("count", ["min_points", "swings", "spikes"])
def test_counts_are_at_least_one(count):
    with pytest.raises(ValueError, match=rf"Thresholds.{count}: must be at least 1, got 0"):
        Thresholds(**{count: 0})
    assert getattr(Thresholds(**{count: 1}), count) == 1
