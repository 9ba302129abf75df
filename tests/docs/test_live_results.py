"""Which reports of live tests become rows of docs/engines.md."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "live_results.py"
HEAD = {"versions": {"trl": "1.16.0"}}
ROW = {"test": "t.py::test_a[x]", "what": "a run", "outcome": "passed", "seconds": 1.0, "peak_mb": 5}


@pytest.fixture(scope="module")
def results():
    spec = importlib.util.spec_from_file_location("live_results", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(folder, *rows):
    file = folder / "trl.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (HEAD, *rows)))
    return file


def test_what_passed_is_written_down(results, tmp_path):
    skipped = ROW | {"outcome": "skipped"}
    versions, rows = results.read(report(tmp_path, ROW, skipped, ROW | {"apart": 1e-6}, {"exit": 0}))
    assert versions == HEAD["versions"]
    (entry,) = results.by_function(rows)
    assert (entry["runs"], entry["seconds"], entry["apart"]) == (2, 2.0, 1e-6)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROW], "ended before its tests did"),  # killed
        ([ROW, {"exit": 2}], r"exit code 2.*run it again"),  # stopped by hand
        ([ROW, ROW | {"outcome": "failed"}, {"exit": 1}], r"test_a\[x\] failed"),
        ([{"exit": 5}], "no test"),
        ([], "no test"),
    ],
)
def test_a_report_that_is_not_whole_is_refused(results, tmp_path, rows, said):
    with pytest.raises(SystemExit, match=said):
        results.read(report(tmp_path, *rows))


def test_a_report_says_how_pytest_ended(results, tmp_path):
    pytest.importorskip("psutil")
    from tests.live.measured import Measured

    file = tmp_path / "trl.jsonl"
    Measured(file).pytest_sessionfinish(exitstatus=1)
    assert json.loads(file.read_text().splitlines()[-1]) == {"exit": 1}
