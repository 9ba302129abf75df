"""Files and folders that are replaced whole: whatever a kill leaves behind, the old content or the new can be had."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path


def partial_of(path: Path) -> Path:
    """Where what is to replace a folder grows, or, of a pattern, what files grow in; what lies there otherwise is left
    over from a killed save."""
    return path.with_name(f".{path.name}.partial")


def replace_file(file: Path, write: Callable[[Path], object]) -> None:
    """Replaces a file by what ``write(path)`` writes there: a reader sees the whole file or none.

    Of several processes that replace it at once each writes its own, and the last one stands.

    Raises:
        OSError: it could not be written; what was there before is untouched.
    """
    partial = partial_of(file.with_name(f"{file.name}.{secrets.token_hex(4)}"))
    try:
        write(partial)
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def replace_folder(folder: Path, save: Callable[[Path], object]) -> None:
    """Replaces a folder by what ``save(path)`` writes into an empty one.

    A kill may leave the folder missing for want of one rename; `settle_folder` then puts the old one back.

    Raises:
        OSError: it could not be written. What was there before is there again; where only the exchange failed, the
            message says where the new folder lies.
    """
    settle_folder(folder)
    partial, before = partial_of(folder), _before(folder)
    partial.mkdir()
    try:
        save(partial)
    except BaseException:
        _remove(partial)
        raise
    try:
        if os.path.lexists(folder):
            os.replace(folder, before)
        os.replace(partial, folder)
    except OSError as error:
        if os.path.lexists(before):
            os.replace(before, folder)
        raise OSError(error.errno, f"{error.strerror}; the new one is whole and lies in {partial}") from error
    # The new one is in place: what cannot be removed now is settled before the next save.
    shutil.rmtree(before, ignore_errors=True)


def settle_folder(folder: Path) -> None:
    """Clears away what a killed `replace_folder` left, and puts the old folder back where the new one did not come.

    Raises:
        OSError: something left over cannot be removed.
    """
    before = _before(folder)
    if os.path.lexists(before):
        if os.path.lexists(folder):
            _remove(before)
        else:
            os.replace(before, folder)
    if os.path.lexists(partial_of(folder)):
        _remove(partial_of(folder))


def _before(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
