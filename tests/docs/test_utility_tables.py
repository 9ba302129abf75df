"""The figures of docs/losses/utility-probability.md, from results that are made up."""

import json

import pytest
from scripts import utility_tables as tables


@pytest.fixture
def keep(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MEASURED", tmp_path)

    def written(name, result):
        (tmp_path / f"{name}.json").write_text(json.dumps({"result": result}))

    return written


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def reading(nll, taus):
    picture = {"low": [0.0, 0.5], "high": [0.5, 1.0], "count": [1, 3], "confidence": [0.4, 0.9], "accuracy": [0.0, 1.0]}
    rest = {"argmax": 0.5, "drawn": 0.25, "calibration error": 0.1, "overconfidence": -0.1, "picture": picture}
    return {"nll": nll, "taus": taus, "breaks": [0.0]} | rest


def test_next_tokens(keep):
    for seed, (nll, tau) in enumerate([(3.0, 1.5), (4.0, 2.5)]):
        maps = {"as it is": reading(nll, [1.0]), "temperature": reading(nll - 1, [tau]), "monotone": reading(1, [1, 2])}
        keep(f"utility-tokens-seed{seed}", {"maps": maps})
    _, _, plain, temperature, monotone = cells(tables.tokens_table())
    assert plain[:2] == ["softmax(u)", "3.500 (3.000 to 4.000)"]
    assert plain[5] == "-0.100 (-0.100 to -0.100)"
    assert temperature[:2] == ["softmax(u/τ), τ 2.00 (1.50 to 2.50)", "2.500 (2.000 to 3.000)"]
    assert monotone[0] == "monotone, four pieces"
    assert tables.pictures()["softmax(u)"][1].count == (1, 3)


def test_answers(keep):
    rules = [f"{rule}, {what}" for rule in ("argmax", "drawn", "closeness") for what in ("right", "close")]
    ways = {
        name: {rule: i / 10 + shift for i, rule in enumerate(rules)} | {"calibration error": 0.2}
        for name, shift in (("as it is", 0.0), ("temperature", 0.1), ("counted", 0.2))
    }
    keep("utility-sequences-seed0", {"tau": 3.0, "ways": ways})
    head, _, plain, temperature, counted = cells(tables.sequences_table())
    assert head[1:4] == ["argmax: right", "drawn: right", "by expected closeness: right"]
    assert plain[0] == "softmax(u)"
    assert [cell[:5] for cell in plain[1:]] == ["0.000", "0.200", "0.400", "0.100", "0.300", "0.500", "0.200"]
    assert temperature[0] == "softmax(u/τ), τ 3.00 (3.00 to 3.00)"
    assert counted[1] == "0.200 (0.200 to 0.200)"


def test_no_results(keep):
    with pytest.raises(SystemExit, match="no results of utility-tokens; .*real_model.py utility"):
        tables.tokens_table()
