"""Folders that hold runs: found below, not followed through links, and not searched without end."""

from entrokit.runs import find
from entrokit.runs.find import files_of, run_folders_below

from .cases import write


def made(folder, *names):
    folder.mkdir(parents=True)
    for name in names:
        write(folder / name, "x")
    return folder


def test_folders_of_logs_are_found_and_not_searched_further(tmp_path):
    a = made(tmp_path / "a", "train.log")
    made(tmp_path / "a" / "inside", "metrics.jsonl")
    b = made(tmp_path / "x" / "b", "config.yaml")
    c = made(tmp_path / "x" / "c" / "checkpoint-5", "trainer_state.json").parent
    d = made(tmp_path / "x" / "d", "events.out.tfevents.1.host")
    made(tmp_path / "x" / "models", "model.safetensors", "README.md")
    assert run_folders_below(tmp_path) == [a, b, c, d]


def test_four_floors_are_searched_and_no_more(tmp_path):
    here = made(tmp_path / "1" / "2" / "3" / "4", "train.log")
    made(tmp_path / "1" / "2" / "3" / "x" / "5", "train.log")
    assert run_folders_below(tmp_path) == [here]


def test_links_are_not_followed(tmp_path):
    made(tmp_path / "a")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    run = made(tmp_path / "elsewhere" / "run", "train.log")
    (tmp_path / "a" / "link").symlink_to(run, target_is_directory=True)
    assert run_folders_below(tmp_path) == [run]


def test_a_folder_without_end_is_left_after_many_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(find, "_MOST_ENTRIES", 5)
    for i in range(20):
        made(tmp_path / f"{i:02}", "train.log")
    assert len(run_folders_below(tmp_path)) == 5


def test_what_cannot_be_listed_holds_nothing(tmp_path):
    assert files_of(tmp_path / "gone") == []
    assert run_folders_below(tmp_path / "gone") == []
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert files_of(tmp_path) == []
