"""The figures of docs/real-models.md, from results that are made up."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "real_model_tables.py"


@pytest.fixture
def tables(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("real_model_tables", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "MEASURED", tmp_path)
    return module


def write(folder, name, predicted, measured, free):
    columns = zip(predicted, measured, free, strict=True)
    steps = [{"predicted": p, "measured": m, "free": f} for p, m, f in columns]
    (folder / f"{name}.json").write_text(json.dumps({"result": {"steps": steps}}))


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_account_by_way_to_move(tables, tmp_path):
    """From the second step on two seeds are foretold, one twice as much as it moves; the first step is not."""
    write(tmp_path, "account-lora0-lr1e-05-seed0", [9, 1, 2, -3], [-9, 1, 2, -3], [0, 1, 2, 3])
    write(tmp_path, "account-lora0-lr1e-05-seed1", [9, 2, 4, -6], [-9, 1, 2, -3], [0, -1, -2, 3])
    write(tmp_path, "account-lora8-lr0.0003-seed0", [9, 1, 2, -3], [-9, -1, 2, -3], [0, 1, 2, -3])
    _, _, full, adapters = cells(tables.account_table())
    assert full[:6] == ["all", "1e-05", "2 × 4", "1.000 (1.000 to 1.000)", "0.75 (0.50 to 1.00)", "6 of 6"]
    assert full[6].startswith("-0.")
    assert full[7:] == ["-0.88 (-1.00 to -0.76)", "2.0000"]
    assert adapters[:3] == ["adapters, rank 8", "0.0003", "1 × 4"]
    assert adapters[5] == "2 of 3"


def test_cost_and_padding(tables, tmp_path):
    for rank, cost in ((0, {"without": 4.0, "with": 9.0}), (8, {"without": 2.0, "with": 3.0})):
        (tmp_path / f"cost-lora{rank}.json").write_text(json.dumps({"result": cost}))
    _, _, full, adapters = cells(tables.cost_table())
    assert full == ["all", "4.0 s", "5.0 s", "1.25", "12%"]
    assert adapters == ["adapters, rank 8", "2.0 s", "1.0 s", "0.50", "5%"]
    steps = [{"gradient": 0.0, "tokens": 0.0}, {"gradient": -0.5, "tokens": 0.5}, {"gradient": 2.0, "tokens": 2.1}]
    (tmp_path / "padding.json").write_text(json.dumps({"result": {"without": steps, "with": steps[2:]}}))
    _, _, without, with_rule = cells(tables.padding_table())
    assert without[1:] == ["2", "1.0e+00", "2.0e+00"]
    assert with_rule[1:] == ["1", "1.0e-01", "5.0e-02"]


def test_a_file_that_is_none_of_them_is_named(tables, tmp_path):
    write(tmp_path, "account-some", [1, 2], [1, 2], [1, 2])
    with pytest.raises(SystemExit, match=r"account-some\.json: no result of the account"):
        tables.account_table()
