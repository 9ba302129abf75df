"""Packages that were never installed: a module and the metadata of a distribution, in a folder for `PYTHONPATH`."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

METHOD = '''
"""Half weight for everything (arXiv 1234.56789)."""
from dataclasses import dataclass
from typing import ClassVar
import torch
from entrokit.rlvr import Intervention, Weighting
from entrokit.rlvr.card import Card


@dataclass
class Half(Intervention):
    name: ClassVar[str] = "half"
    card: ClassVar[Card] = Card("1234.56789", examples=("grpo+half",), not_ranked="a test")
    share: float = 0.5
    separable = True

    def weight(self, update, clip, prepared):
        return Weighting(torch.full_like(update.current.logp, self.share))
'''


def package(folder, name, entry_points, **modules):
    """A distribution ``name`` with ``entry_points`` (group -> {name: value}) and modules by name."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in own.items()) for group, own in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    return folder


def python(folder, code, *arguments, cwd=None):
    """What a fresh Python prints with the packages of a folder installed."""
    path = os.pathsep.join([str(folder), str(ROOT / "src"), str(ROOT)])
    return subprocess.run(
        [sys.executable, *(("-c", code) if code else ()), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "COLUMNS": "300"},
        check=False,
    )
