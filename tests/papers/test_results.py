"""Results are data: what is written is what is read, and what cannot be read is named."""

import json
import math

import pytest

from entrokit.papers import PaperResults, Result, ResultError
from entrokit.papers.results import FORMAT, known, load, load_all, save

from .made_up import chart, finding


def result(*findings, charts=(), **changes):
    plain = {
        "command": "entrokit reproduce made-up --experiment own --seeds 2",
        "commit": "abc",
        "date": "2026-01-31",
        "versions": {"python": "3.12.0", "torch": "2.8.0"},
        "seeds": (0, 1),
        "seconds": 1.5,
        "findings": findings or (finding(),),
        "charts": tuple(charts),
    }
    return Result(**plain | changes)


def made_up(**experiments):
    return PaperResults("made-up", experiments or {"own": result()})


def test_what_is_written_is_what_is_read(tmp_path):
    first = result(finding("ä → β", reference="paper: +1"), finding(passed=False), charts=[chart()], note="by hand")
    results = made_up(own=first, pocket=result())
    file = save(results, tmp_path / "new" / "folder")
    assert file == tmp_path / "new" / "folder" / "made-up.json"
    assert load(file) == results
    assert [r.passed for r in load(file).experiments.values()] == [False, True]
    assert "ä → β" in file.read_text(encoding="utf-8"), "legible"
    assert [f.name for f in file.parent.iterdir()] == ["made-up.json"]


def test_a_number_that_is_none_becomes_null_and_others_keep_seven_digits(tmp_path):
    raw = {"H": [math.nan, math.inf, None, 1 / 3, 2, 123456789.0]}
    file = save(made_up(own=result(finding(raw=raw))), tmp_path)
    assert "NaN" not in file.read_text(encoding="utf-8")
    read = load(file).experiments["own"].findings[0].raw["H"]
    assert read == [None, None, None, 0.3333333, 2, 123456800.0]


def test_one_experiment_is_replaced_and_the_others_stay(tmp_path):
    save(made_up(own=result(), pocket=result()), tmp_path)
    again = result(date="2026-02-01")
    save(known("made-up", tmp_path).with_result("own", again), tmp_path)
    assert known("made-up", tmp_path) == made_up(own=again, pocket=result())


def test_of_a_paper_without_a_file_nothing_is_known(tmp_path):
    assert known("made-up", tmp_path / "nowhere") == PaperResults("made-up")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "made-up.json")


def test_a_file_that_is_cut_off_anywhere_is_named(tmp_path):
    file = save(made_up(), tmp_path)
    text = file.read_text(encoding="utf-8").rstrip()
    for length in range(0, len(text), 7):
        file.write_text(text[:length], encoding="utf-8")
        with pytest.raises(ResultError, match=r"made-up\.json: cut off or no JSON \(.*measure it again"):
            load(file)


@pytest.mark.parametrize(
    ("content", "format_"), [({"format": FORMAT + 1}, "2"), ({}, "None"), ([], "None"), (3, "None")]
)
def test_another_format_is_named(tmp_path, content, format_):
    file = tmp_path / "made-up.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ResultError, match=rf"made-up\.json: of format {format_}, and this version reads 1"):
        load(file)


def damaged(content):
    own = content["experiments"]["own"]
    yield {k: v for k, v in content.items() if k != "slug"}, "KeyError: 'slug'"
    yield {**content, "experiments": [own]}, "AttributeError"
    yield {**content, "experiments": {"own": {k: v for k, v in own.items() if k != "findings"}}}, "KeyError: 'findings'"
    yield {**content, "experiments": {"own": {k: v for k, v in own.items() if k != "commit"}}}, "TypeError: .*commit"
    yield {**content, "experiments": {"own": {**own, "mood": "good"}}}, "ValueError: unknown \\['mood'\\]"
    yield {**content, "experiments": {"own": {**own, "findings": [{"claim": "c", "mood": 1}]}}}, "TypeError: .*mood"
    yield {**content, "experiments": {"own": {**own, "seeds": None}}}, "TypeError"


def test_what_is_no_result_is_named_with_what_is_wrong(tmp_path):
    file = save(made_up(), tmp_path)
    content = json.loads(file.read_text(encoding="utf-8"))
    for broken, what in damaged(content):
        file.write_text(json.dumps(broken))
        with pytest.raises(ResultError, match=rf"made-up\.json: no result of an experiment \({what}"):
            load(file)


def test_a_folder_gives_what_can_be_read_and_names_the_rest(tmp_path):
    save(made_up(), tmp_path)
    other = PaperResults("other", {"own": result()})
    save(other, tmp_path)
    save(PaperResults("somebody"), tmp_path).rename(tmp_path / "renamed.json")
    (tmp_path / "cut.json").write_text('{"format": 1, "slug"')
    (tmp_path / "notes.txt").write_text("not looked at")
    found, broken = load_all(tmp_path)
    assert found == {"made-up": made_up(), "other": other}
    assert len(broken) == 2
    assert "cut.json: cut off" in str(broken[0])
    assert str(broken[1]).endswith("renamed.json: holds the results of 'somebody', which its name denies")
    assert load_all(tmp_path / "nowhere") == ({}, [])
