"""What was measured, as docs/scale.md shows it."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "scale_tables.py"


@pytest.fixture
def tables(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("scale_tables", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "MEASURED", tmp_path)
    return module


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_peaks_that_were_not_run_are_counted_by_the_slope_and_said_to_be(tables, tmp_path):
    own = {"8192": 139.0, "65536": 145.88}
    peaks = {"separable": own, "not separable": own, "whole logits": {"1024": 2456.0, "2048": 4945.0}}
    (tmp_path / "loss_memory.json").write_text(json.dumps({"megabytes": {"float32": peaks}}))
    head, _, *rows = cells(tables.loss_memory_table())
    assert head == ["tokens", "separable recipe, float32", "other recipe, float32", "whole logits, float32"]
    assert rows == [
        ["1 024", "", "", "2 456"],
        ["2 048", "", "", "4 945"],
        # 4945 + 6144 x 2489 / 1024, and so on.
        ["8 192", "139", "139", "19 879 (counted)"],
        ["65 536", "146", "146", "159 263 (counted)"],
        ["bytes for every token more", "120", "120", "2 430 664"],
    ]


def test_bytes_are_shown_by_what_they_grow_with(tables, tmp_path):
    def counted(token, unexplained=0.0, objects=0):
        grown = {"batch": 92.0, "completion": 0.0, "token": token}
        return {
            "calls": 17,
            "objects": objects,
            "bytes": grown,
            "unexplained": unexplained,
            "step_calls": -5.0,
            "step_bytes": -24.0,
        }

    measured = {
        "trl": {"grpo": counted(0.0, objects=1), "dapo+clip-cov": counted(1.8, 11.4), "grpo+siren": counted(4.0)},
        "verl": {"grpo": counted(0.0), "dapo+clip-cov": counted(4.0)},
    }
    (tmp_path / "collectives.json").write_text(json.dumps(measured))
    assert cells(tables.collectives_table())[2:] == [
        ["`grpo`", "17 + 1 of objects", "92", "-5, -24", "17", "92", "-5, -24"],
        ["`dapo+clip-cov`", "17", "*", "-5, -24", "17", "92 + 4 a token", "-5, -24"],
        ["`grpo+siren`", "17", "92 + 4 a token", "-5, -24", "refused", "", ""],
    ]
