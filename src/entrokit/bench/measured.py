"""Scores as data that no two methods share: one JSON file a method, by bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from entrokit.runs.whole import replace_file

from .contestants import contestants
from .scoreboard import Score, Scoreboard

FORMAT = 1


def save_scores(board: Scoreboard, folder: str | Path) -> None:
    """Writes the scores of each method of a board into ``<method>.json``; other benches' in that file are kept.

    Raises:
        ValueError: a file that is there cannot be read.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    for contestant in contestants():
        scores = [score for recipe in contestant.recipes for score in board.of(recipe)]
        if not scores:
            continue
        file = Path(folder) / f"{contestant.name}.json"
        fresh: dict[str, Any] = {"format": FORMAT, "method": contestant.name, "benches": {}}
        content = _read(file) if file.exists() else fresh
        content["benches"][board.bench] = {
            "protocol": board.protocol,
            "seeds": list(board.seeds),
            "scores": [asdict(score) for score in scores],
        }
        _write(file, content)


def load_scores(folder: str | Path, bench: str) -> Scoreboard:
    """The board of what the files of a folder hold of a bench; methods without a file are simply not on it.

    Raises:
        ValueError: a file that cannot be read, or two of different protocols or seeds; names them.
    """
    boards: dict[Path, Scoreboard] = {}
    for file in sorted(Path(folder).glob("*.json")):
        own = _read(file)["benches"].get(bench)
        if own is not None:
            boards[file] = _board(file, bench, own)
    if not boards:
        raise ValueError(f"{folder}: holds no scores of the {bench} bench")
    (first, board), *others = boards.items()
    for file, other in others:
        if (other.protocol, other.seeds) != (board.protocol, board.seeds):
            raise ValueError(f"{file}: its protocol or seeds on the {bench} bench differ from those of {first}")
    unique = {(s.recipe, s.seed): s for each in boards.values() for s in each.scores}
    return Scoreboard(bench, board.protocol, board.seeds, tuple(unique.values()))


def not_measured(board: Scoreboard) -> list[str]:
    """Recipes that the bench could show and that have no score for every seed."""
    wanted = (r for c in contestants() if board.bench not in c.impossible_on for r in c.recipes)
    return [recipe for recipe in dict.fromkeys(wanted) if len(board.of(recipe)) < len(board.seeds)]


def _write(file: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1) + "\n"
    replace_file(file, lambda partial: partial.write_text(text, encoding="utf-8"))


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}: cut off or no JSON ({error}); measure it again: entrokit scoreboard") from None
    written = content.get("format") if isinstance(content, dict) else None
    if written != FORMAT or not isinstance(content.get("benches"), dict):
        raise ValueError(f"{file}: of format {written!r}, and this version reads {FORMAT}; measure it again")
    return content


def _board(file: Path, bench: str, content: Any) -> Scoreboard:
    try:
        scores: Sequence[Score] = [Score(**score) for score in content["scores"]]
        return Scoreboard(bench, content["protocol"], tuple(content["seeds"]), tuple(scores))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file}: no scores of the {bench} bench ({type(error).__name__}: {error})") from None
