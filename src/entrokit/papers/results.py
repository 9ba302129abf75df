"""What was measured, as files: one JSON file a paper, from which pages and tables are made."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from entrokit.runs.whole import replace_file

from .result import PaperResults, Result, ResultError
from .result_json import as_json, read

MEASURED = Path(__file__).with_name("measured")
"""What was measured of our own papers: part of the package, so that whoever installs it can look."""

# A thousand times what a paper with all its pictures takes; a larger one is something else.
_LARGEST = 1 << 28


def save(results: PaperResults, folder: str | Path) -> Path:
    """Writes ``<slug>.json``, whole or not at all; returns its path.

    Raises:
        ResultError: a result that could not be read again, say for a picture whose lists are not of one length.
    """
    file = Path(folder) / f"{results.slug}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    text = as_json(results)
    read(text.encode("utf-8"), file)
    replace_file(file, lambda partial: partial.write_text(text, encoding="utf-8"))
    return file


def keep(slug: str, name: str, result: Result, folder: str | Path) -> Path | None:
    """Adds one experiment's result to what the folder holds by now, be it by another process.

    Returns: where a file that could not be read was set aside; None if there was none.
    """
    aside = None
    try:
        before = known(slug, folder)
    except ResultError:
        before, aside = PaperResults(slug), _set_aside(Path(folder) / f"{slug}.json")
    save(before.with_result(name, result), folder)
    return aside


def check_writable(folder: str | Path) -> None:
    """Makes a folder if need be, and writes into it, so that no measurement is lost for want of one.

    Raises:
        OSError: it cannot be made or written into; names it.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{folder}: a file is in the way of a folder") from None
    except OSError as error:
        raise OSError(f"{folder}: nothing can be written there ({error.strerror})") from error


def load(file: str | Path) -> PaperResults:
    """Reads what `save` wrote.

    Raises:
        ResultError: a file that is cut off, of another format, or something else; names it.
        FileNotFoundError: there is none.
    """
    try:
        # A pipe would be waited for, and a device has no end.
        status = Path(file).stat()
        if not (S_ISREG(status.st_mode) or S_ISDIR(status.st_mode)):
            raise ResultError(f"{file}: a pipe, a socket or a device, and results are a file")
        if status.st_size > _LARGEST:
            raise ResultError(f"{file}: {status.st_size:,} bytes, and results are at most {_LARGEST:,}")
        written = Path(file).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultError(f"{file}: cannot be read ({error.strerror})") from error
    return read(written, file)


def load_all(folder: str | Path) -> tuple[dict[str, PaperResults], dict[str, ResultError]]:
    """Every paper's results in a folder, and why files could not be read, by the slug that a file is named for."""
    found, broken = {}, {}
    for file in sorted(Path(folder).glob("*.json")):
        try:
            found[file.stem] = _named(file)
        except ResultError as error:
            broken[file.stem] = error
        except FileNotFoundError:
            broken[file.stem] = ResultError(f"{file}: gone, or a link that leads nowhere")
    return found, broken


def known(slug: str, folder: str | Path) -> PaperResults:
    """What the folder holds of a paper; nothing where there is no file yet.

    Raises:
        ResultError: as `load`, and of a file that holds another paper's.
    """
    try:
        return _named(Path(folder) / f"{slug}.json")
    except FileNotFoundError:
        return PaperResults(slug)


def _named(file: Path) -> PaperResults:
    results = load(file)
    if results.slug != file.stem:
        raise ResultError(f"{file}: holds the results of {results.slug!r:.60}, which its name denies")
    return results


def _set_aside(file: Path) -> Path:
    """Renames a file to a name that is free."""
    aside, number = file.with_name(f"{file.name}.unreadable"), 1
    while os.path.lexists(aside):
        number += 1
        aside = file.with_name(f"{file.name}.unreadable-{number}")
    return file.rename(aside)
