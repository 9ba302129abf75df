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


def keep(folder, name, result):
    (folder / f"{name}.json").write_text(json.dumps({"result": result}))


def test_accounts_of_some_rows(tables, tmp_path):
    """Errors are root mean squares, beside that of the account of all rows."""

    def steps(*values):
        return [{"rows": 8, "predicted": p, "tokens": t} for p, t in values]

    keep(tmp_path, "rows-0", {"steps": steps((3.0, 1.0), (-4.0, 1.0))})
    keep(tmp_path, "rows-1", {"steps": steps((6.0, 2.0), (0.0, 2.0))})
    for rows in (2, 4):
        keep(tmp_path, f"rows-{rows}", {"steps": steps((3.0, 1.0), (-4.0, 0.0))})
    _, _, one, two, _, every = cells(tables.rows_table())
    assert one == ["1", "1.00", "1.00"]
    assert two == ["2", "0.00", "0.71"]
    assert every == ["all 8", "0.00", "0.00"]


def test_the_survey(tables, tmp_path):
    shared = {"pass@1 error": 0.05, "pass@4": 0.5, "tokens": 12.4, "entropy": 0.456}
    families = {"x": 0.2, "y": 0.1, "z": 0.3}
    easy = {"task": "words:b", "answer": "plain", "pass@1": 0.25, "families": families}
    hard = {"task": "sum", "answer": "tags", "pass@1": 0.0, "families": {"None": 0.0}}
    keep(tmp_path, "survey-a", shared | hard)
    keep(tmp_path, "survey-b", shared | easy)
    _, _, first, second = cells(tables.survey_table())
    assert first == ["`words:b`", "0.250 ± 0.050", "0.50", "y 0.10, z 0.30", "12", "0.46"]
    assert second[0] == "`sum`, `--answer tags`"
    assert second[3] == ""  # the task has none


def test_what_was_learned(tables, tmp_path):
    def learned(recipe, rewards, verdict="healthy", seed=0):
        held_out = {"eval_reward": rewards, "eval_entropy": [1.0, 0.5], "eval_pass@8": [0.5, 0.9]}
        return {"options": {"recipe": recipe, "seed": seed}, "held out": held_out, "diagnosis": {"verdict": verdict}}

    for seed, (plain, other) in enumerate([(0.5, 0.7), (0.6, 0.7), (0.7, 1.0)]):
        keep(tmp_path, f"learn-a-seed{seed}", learned("grpo+a", [0.3, other], "collapse" if seed else "healthy", seed))
        keep(tmp_path, f"learn-grpo-seed{seed}", learned("grpo", [0.3, plain], seed=seed))
    keep(tmp_path, "learn-broken", learned("grpo", [0.3, 0.0], "collapse") | {"options": {"learning_rate": 9e-3}})
    _, _, plain, other, broken = cells(tables.learn_table())
    assert plain == ["`grpo`", "3", "0.30 → 0.60 ± 0.10", "1.00 → 0.50 ± 0.00", "0.50 → 0.90 ± 0.00", "healthy"]
    assert other[2] == "0.30 → 0.80 ± 0.17, Δ +0.20 [+0.10, +0.30]"
    assert other[5] == "collapse, healthy"
    assert broken[0] == "`grpo` at a rate of 0.009"
    assert broken[2:] == ["0.30 → 0.00", "1.00 → 0.50", "0.50 → 0.90", "collapse"]
    (tmp_path / "learn-a-seed0.json").unlink()
    _, _, _, other, _ = cells(tables.learn_table())
    assert other[2] == "0.30 → 0.85 ± 0.21, Δ +0.20 [+0.10, +0.30]"


def test_a_file_that_is_none_of_them_is_named(tables, tmp_path):
    write(tmp_path, "account-some", [1, 2], [1, 2], [1, 2])
    with pytest.raises(SystemExit, match=r"account-some\.json: no result of the account"):
        tables.account_table()
