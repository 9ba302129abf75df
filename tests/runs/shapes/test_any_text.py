"""Any text at all: rows or none, never an exception; and what a shape wrote comes back."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrokit.runs.row import Row
from entrokit.runs.shapes.lines import PARSERS, parse_line
from entrokit.runs.shapes.literal import NotLiteralError, flattened, read_dict
from entrokit.runs.shapes.sniff import rows_of
from entrokit.runs.training_log import Notes
from tests.fuzz.shapes import SHAPES

MARKS = [
    "step:3 - ",
    "step 3: {",
    "iteration 3/ 9 |",
    "it/s, ",
    "Iter 3:",
    "'a': ",
    "nan",
    "np.float64(",
    "=",
    ":",
    "|",
    "}",
]
texts = st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=8)), max_size=12).map("".join)
numbers = st.one_of(st.floats(), st.integers(-(10**9), 10**9).map(float))
names = st.from_regex(r"[a-z][a-z_]{1,8}(/[a-z_]{2,8}){0,2}", fullmatch=True).filter(lambda n: "step" not in n)


@pytest.mark.parametrize("parser", PARSERS)
@given(line=texts)
def test_any_line(parser, line):
    row = parser(line, 3)
    assert row is None or (isinstance(row, Row) and row.fields and row.number == 3)


@given(text=texts)
def test_any_dict(text):
    try:
        found, end = read_dict("{" + text, 0)
    except NotLiteralError:
        return
    assert 0 < end <= len(text) + 1
    flattened(found)


@given(row=st.dictionaries(names, numbers, min_size=1, max_size=12), step=st.integers(0, 10**9))
def test_dicts_come_back(row, step):
    found = parse_line(f"rollout {step}: {row}")
    assert found.step == step
    assert {k: str(v) for k, v in found.fields.items()} == {k: str(v) for k, v in row.items()}


@given(row=st.dictionaries(names, numbers, min_size=1, max_size=12), step=st.integers(0, 10**9))
def test_verls_lines_come_back(row, step):
    found = parse_line(f"step:{step} - " + " - ".join(f"{k}:{v}" for k, v in row.items()))
    assert found.step == step
    assert all(v == row[k] or (math.isnan(v) and math.isnan(row[k])) for k, v in found.fields.items())
    assert found.fields.keys() == row.keys()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=300), texts.map(lambda t: t.encode("utf-8", "replace"))))
def test_any_file(tmp_path, data):
    file = tmp_path / "train.log"
    file.write_bytes(data)
    notes = Notes()
    recording = rows_of(file, notes)
    assert recording is not None or notes.lines()
    for row in recording.rows() if recording else ():
        assert row.fields


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_hostile_inputs(shape):
    for seed in range(30):
        SHAPES[shape](seed)


@pytest.mark.parametrize(
    "piece", ["a(", "step=", "step: ", 'a="', "a='", "{'a': ", "│ ", "= Step ", "| a ", " ", "1", "=", "ä"]
)
@pytest.mark.parametrize(
    "start", ["step: 3 ", "step=3 a", "| 1/9 [ 1it/s, ", "step:3 - a:(", "iteration 3/ 9 | a", "{'a': "]
)
def test_long_lines_that_patterns_could_try_in_every_way(piece, start):
    # A pattern that goes back over all it took would need hours for this.
    for ending in ("", "=", ":", "}", "x|"):
        parse_line(start + piece * 20_000 + ending)
