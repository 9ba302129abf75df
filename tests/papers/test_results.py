"""Results are data: what is written is what is read, and what cannot be read is named."""

import json
import math
import os
from dataclasses import replace
from fnmatch import fnmatch

import numpy as np
import pytest

from entrokit.papers import PaperResults, ResultError
from entrokit.papers.result_json import FORMAT
from entrokit.papers.results import check_writable, keep, known, load, load_all, save
from entrokit.report import Series
from entrokit.runs.whole import partial_of, replace_file

from .made_up import chart, finding, result


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
    assert "cut.json: cut off" in str(broken["cut"])
    assert str(broken["renamed"]).endswith("renamed.json: holds the results of 'somebody', which its name denies")
    assert load_all(tmp_path / "nowhere") == ({}, {})


def test_a_file_of_another_paper_is_refused(tmp_path):
    save(PaperResults("somebody", {"own": result()}), tmp_path).rename(tmp_path / "made-up.json")
    with pytest.raises(ResultError, match=r"made-up\.json: holds the results of 'somebody', which its name denies"):
        known("made-up", tmp_path)


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (b"\xff\xfe", "codec can't decode"),
        (b"[" * 100_000, "recursion"),
        (b'{"format": NaN}', "NaN is no number of JSON"),
        (b'{"format": 1e999}', "1e999 is no number of JSON"),
        (b"9" * 5000, "integer string conversion"),
        (b'{"format": true}', "of format True"),
    ],
    ids=["not UTF-8", "deep", "NaN", "infinite", "long", "True"],
)
def test_what_is_hostile_is_a_file_that_cannot_be_read(tmp_path, written, what):
    (tmp_path / "made-up.json").write_bytes(written)
    with pytest.raises(ResultError, match=rf"made-up\.json: .*{what}"):
        known("made-up", tmp_path)
    assert len(load_all(tmp_path)[1]) == 1


def test_a_folder_in_a_files_place_is_named(tmp_path):
    (tmp_path / "made-up.json").mkdir()
    with pytest.raises(ResultError, match=r"made-up\.json: cannot be read \(Is a directory\)"):
        known("made-up", tmp_path)


WRONG = [
    *((("findings", 0), name, 3) for name in ("claim", "criterion", "measured", "reference")),
    *((("findings", 0), "claim", text) for text in (None, "\ud800")),
    *((("findings", 0), "passed", passed) for passed in (1, "yes", None)),
    *((("findings", 0), "raw", raw) for raw in ([], {"H": 1.0}, {"H": ["1"]}, {"H": [[1.0]]})),
    *(((), "findings", findings) for findings in ([], {}, "no", None)),
    *(((), "seeds", seeds) for seeds in ([], ["0"], [0.0], [True], 3)),
    *(((), name, 3) for name in ("command", "commit", "date", "note", "code", "versions", "charts")),
    *(((), "versions", versions) for versions in ([], {"torch": 2})),
    *(((), "seconds", seconds) for seconds in ("1", None, True)),
    *((("charts", 0), name, {}) for name in ("title", "x_label", "y_label", "x_line", "y_line", "height")),
    *((("charts", 0), "series", series) for series in ({}, [3], [{"name": "a"}])),
    *((("charts", 0, "series", 0), name, 3) for name in ("name", "x", "y", "marks", "low", "labels")),
    *(
        (("charts", 0, "series", 0), name, value)
        for name, value in (("y", [1.0]), ("y", ["1", "2"]), ("high", [{}, 1]))
    ),
]


@pytest.mark.parametrize(("path", "name", "value"), WRONG, ids=repr)
def test_wrong_types_are_named(tmp_path, path, name, value):
    file = save(made_up(own=result(charts=[chart()])), tmp_path)
    content = json.loads(file.read_text(encoding="utf-8"))
    place = content["experiments"]["own"]
    for step in path:
        place = place[step]
    place[name] = value
    file.write_text(json.dumps(content))
    with pytest.raises(ResultError, match=r"made-up\.json: no result of an experiment \("):
        load(file)


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    file = save(made_up(), tmp_path)
    before = file.read_bytes()
    uneven = replace(chart().series[0], y=[1.0])
    with pytest.raises(ResultError, match="y is not as long as x"):
        keep("made-up", "own", result(charts=[replace(chart(), series=(uneven,))]), tmp_path)
    assert file.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == [file.name]


def test_a_point_without_a_number_comes_back_as_one(tmp_path):
    series = replace(chart().series[0], y=[math.nan, 2.0], low=np.array([math.nan, 1.0]), marks=np.bool_(True))
    read = load(save(made_up(own=result(charts=[replace(chart(), series=(series,))])), tmp_path))
    (read,) = read.experiments["own"].charts[0].series
    assert math.isnan(read.y[0])
    assert math.isnan(read.low[0])
    assert (read.y[1], read.low[1], read.marks) == (2.0, 1.0, True)


def test_what_another_process_wrote_meanwhile_is_kept(tmp_path):
    save(made_up(own=result()), tmp_path)
    mine = result(date="2026-02-01")
    save(made_up(own=result(), theirs=result()), tmp_path)
    assert keep("made-up", "own", mine, tmp_path) is None
    assert known("made-up", tmp_path) == made_up(own=mine, theirs=result())


def test_a_file_that_cannot_be_read_is_set_aside_each_under_a_name_of_its_own(tmp_path):
    file = tmp_path / "made-up.json"
    for text, name in (("{", "made-up.json.unreadable"), ("[", "made-up.json.unreadable-2")):
        file.write_text(text)
        assert keep("made-up", "own", result(), tmp_path) == tmp_path / name
        assert (tmp_path / name).read_text() == text
        assert known("made-up", tmp_path) == made_up()
    assert load_all(tmp_path) == ({"made-up": made_up()}, {})


def test_two_that_write_one_file_do_not_meet(tmp_path):
    file, seen = tmp_path / "x.json", []

    def outer(partial):
        partial.write_text("outer")
        replace_file(file, lambda other: (seen.append((partial, other)), other.write_text("inner")))
        assert (partial.read_text(), file.read_text()) == ("outer", "inner")

    replace_file(file, outer)
    assert file.read_text() == "outer"
    assert all(fnmatch(p.name, partial_of(tmp_path / "*").name) for p in seen[0]), "cleared away after a kill"
    assert [f.name for f in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_is_tried_before_anything_is_measured(tmp_path):
    check_writable(tmp_path / "new" / "one")
    assert list((tmp_path / "new" / "one").iterdir()) == []
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(NotADirectoryError, match=rf"{place}: a file is in the way"):
            check_writable(tmp_path / place)


def test_what_is_no_file_of_results_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "gone.json").symlink_to("nowhere")
    (tmp_path / "loop.json").symlink_to("loop.json")
    with open(tmp_path / "huge.json", "wb") as file:
        file.truncate((1 << 28) + 1)
    save(made_up(), tmp_path)
    found, broken = load_all(tmp_path)
    assert list(found) == ["made-up"]
    told = {name: str(error) for name, error in broken.items()}
    assert sorted(told) == ["folder", "gone", "huge", "loop", "pipe"]
    assert "a pipe, a socket or a device" in told["pipe"]
    assert "cannot be read" in told["folder"]
    assert "a link that leads nowhere" in told["gone"]
    assert "cannot be read" in told["loop"]
    assert "268,435,457 bytes" in told["huge"]


def test_an_experiment_s_name_that_cannot_be_written_is_told(tmp_path):
    file = save(made_up(), tmp_path)
    file.write_text(file.read_text(encoding="utf-8").replace('"own"', '"\\ud800"', 1), encoding="utf-8")
    with pytest.raises(ResultError, match="an experiment's name cannot be written"):
        load(file)


def test_a_picture_may_lack_a_place_and_its_height_is_one(tmp_path):
    gap = replace(chart(), series=(Series("s", [math.nan, 1.0], [1.0, 2.0]),))
    x = load(save(made_up(own=result(charts=[gap])), tmp_path)).experiments["own"].charts[0].series[0].x
    assert math.isnan(x[0])
    assert x[1] == 1.0
    for height in (0, -5, 99, 10_001):
        with pytest.raises(ResultError, match="height is 100 to 10,000 pixels"):
            save(made_up(own=result(charts=[replace(chart(), height=height)])), tmp_path)
