"""What was measured, its criterion and its verdict agree."""

import re

import pytest

from entrokit.diagnose.student import student_quantile
from entrokit.papers import CATALOGUE
from entrokit.papers.results import MEASURED, load_all

from ..plugin import ROOT

RESULTS, BROKEN = load_all(MEASURED)
EVERY = [
    [slug, f"{name}, {len(result.seeds)}", f.claim, f.measured, f.criterion, "holds" if f.passed else "**failed**"]
    for slug, measured in RESULTS.items()
    for name, result in measured.experiments.items()
    for f in result.findings
]
ROWS = [r for r in EVERY if re.search(r"95 % Student interval over seeds (above|below)", r[4])]
SHORT = r"; (\d) seeds? short"
SPAN = r"([+-][\d.]+) to ([+-][\d.]+)"


def test_every_file_can_be_read_and_is_of_an_entry():
    assert BROKEN == {}
    assert set(RESULTS) <= set(CATALOGUE)
    for slug, measured in RESULTS.items():
        assert set(measured.experiments) <= set(CATALOGUE[slug].experiments), slug


def test_raw_numbers_are_those_of_the_seeds():
    for slug, measured in RESULTS.items():
        for name, result in measured.experiments.items():
            if result.note:
                continue  # of before numbers were kept, as it says
            assert result.commit, slug
            assert all(f.raw for f in result.findings), (slug, name)


def test_there_are_rows_to_hold():
    assert len(ROWS) >= 40
    assert {row[5] for row in ROWS} == {"holds", "**failed**"}


PAGE = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")


def test_the_list_of_what_changed_quotes_rows_that_failed():
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| ")]
    changed = [r for r in cells if len(r) == 4 and re.fullmatch(SPAN, r[2])]
    assert len(changed) == 5
    for paper, _, spread, interval in changed:
        quoted = f", range of 3 seeds {spread}, 95 % Student interval {interval}"
        assert [r[5] for r in ROWS if r[0] == paper and r[3].endswith(quoted)] == ["**failed**"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}: {row[2]}")
def test_the_verdict_is_the_criterion_applied_to_the_interval(row):
    side, bound = re.search(r"over seeds (above|below) (\S+)$", row[4]).groups()
    found = re.search(rf"95 % (?:Student )?interval {SPAN}", row[3])
    held = False
    if found and not re.search(SHORT, row[3]):
        low, high = map(float, found.groups())
        held = low > float(bound) if side == "above" else high < float(bound)
    assert row[5] == ("holds" if held else "**failed**")


@pytest.mark.parametrize("row", [r for r in ROWS if "Student" in r[3]], ids=lambda row: f"{row[0]}: {row[2]}")
def test_the_interval_is_student_s(row):
    mean, error = map(float, re.match(r"(\S+) ± (\S+?),? ", row[3]).groups())
    low, high = map(float, re.search(rf"95 % Student interval {SPAN}", row[3]).groups())
    missing = re.search(SHORT, row[3])
    seeds = int(row[1].split(", ")[1]) - (int(missing[1]) if missing else 0)
    t, half = student_quantile(0.95, seeds - 1), 0.5 * 10.0 ** -len(row[3].split(" ")[0].split(".")[1])
    # Mean and error are rounded; ends that were computed from rounded ones carry that once more, and are rounded too.
    slack = 2 * half * (1 + t) + half + 1e-12
    assert (low, high) == pytest.approx((mean - t * error, mean + t * error), abs=slack)
    assert ("range of" in row[3]) == (seeds <= 3)
    if seeds <= 3:
        least, most = map(float, re.search(rf"range of {seeds} seeds {SPAN}", row[3]).groups())
        assert least <= mean <= most
