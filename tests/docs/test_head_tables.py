"""The ratios of docs/one-pass.md, from times that are made up."""

import json

from scripts import head_tables


def test_ratios_are_of_medians_and_brackets_of_rounds(tmp_path, monkeypatch):
    monkeypatch.setattr(head_tables, "MEASURED", tmp_path / "measured.json")
    seconds = {
        "bare products": [1.0, 2.0, 4.0],
        "entrokit, five": [1.0, 1.0, 2.0],
        "entrokit, two": [1.0, 1.0, 1.0],
        "entrokit, five, separable loss": [0.5, 1.0, 2.0],
        "TRL, two, chunk 32768": [8.0, 8.0, 8.0],
        "TRL, two, chunk 2048": [4.0, 4.0, 4.0],
    }
    head = {"width": 512, "vocabulary": 32000, "tokens": 256, "threads": 2, "allocator": "keeping"}
    (tmp_path / "measured.json").write_text(json.dumps({"rows": [head | {"seconds": seconds}]}))
    line = head_tables.heads_table().splitlines()[2]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:5] == ["V 32 000, d 512", "256", "2", "keeping", "2000 ms"]
    # Rounds: 1, 0.5 and 0.5; then 0.5 three times; then 1, 1 and 2; then 1/8, 1/8 and 1/4; then 1/4, 1/4 and 1/2.
    assert cells[5:] == [
        "0.50 [0.50, 1.00]",
        "0.50 [0.50, 0.50]",
        "1.00 [1.00, 2.00]",
        "0.12 [0.12, 0.25]",
        "0.25 [0.25, 0.50]",
    ]
