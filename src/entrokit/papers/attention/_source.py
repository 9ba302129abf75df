"""Python source that every machine with Python has: modules of the standard library, as ASCII characters."""

from __future__ import annotations

import sysconfig
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

TRAIN = (
    "argparse", "ast", "bdb", "calendar", "cmd", "codecs", "collections", "configparser", "contextlib", "copy",
    "csv", "dataclasses", "datetime", "decimal", "difflib", "dis", "doctest", "enum", "filecmp", "fileinput",
    "fnmatch", "fractions", "functools", "getopt", "glob", "gzip", "hashlib", "heapq", "hmac", "imaplib", "inspect",
    "ipaddress", "locale", "mailbox", "mimetypes", "netrc", "ntpath", "numbers", "optparse", "os", "pathlib", "pdb",
    "pickle", "pickletools", "platform", "plistlib", "posixpath", "pprint", "profile", "pstats", "pydoc", "queue",
    "random", "selectors", "shelve", "shlex", "shutil", "smtplib", "socket", "socketserver", "ssl", "statistics",
    "string", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "timeit", "tokenize", "trace",
    "traceback", "types", "typing", "unittest/case", "unittest/mock", "urllib/parse", "urllib/request", "uuid",
    "warnings", "weakref", "zipapp",
)  # fmt: skip
HELD_OUT = ("bisect", "bz2", "ftplib", "gettext", "http/client", "lzma", "poplib", "sched", "tabnanny", "wave")
VOCABULARY = 128


@cache
def characters(modules: tuple[str, ...]) -> Tensor:
    """Their source, one after the other, int64; what is not ASCII is a question mark."""
    folder = Path(sysconfig.get_path("stdlib"))
    texts = []
    for name in modules:
        places = (folder / f"{name}.py", folder / name / "__init__.py")
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise RuntimeError(f"the standard library of this Python has no source of {name}")
        texts.append(file.read_text(encoding="utf-8"))
    return torch.frombuffer(bytearray("\n".join(texts).encode("ascii", "replace")), dtype=torch.uint8).long()


def windows(source: Tensor, length: int, starts: Tensor) -> Tensor:
    """Pieces of ``length`` characters that begin at ``starts``, ``[n, length]``."""
    return source[starts[:, None] + torch.arange(length)]


def unigram_perplexity(train: Tensor, held_out: Tensor) -> float:
    """Of characters drawn by their shares in ``train``, each counted once more than it is."""
    shares = torch.bincount(train, minlength=VOCABULARY).double() + 1.0
    shares /= shares.sum()
    return float((-shares[held_out].log().mean()).exp())
