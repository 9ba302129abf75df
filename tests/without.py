"""Python as it is where packages are not installed.

python -m tests.without torch,trl -m entrokit --help
"""

import os
import runpy
import subprocess
import sys
from importlib import metadata
from importlib.machinery import PathFinder

from entrokit.extras import EXTRAS

from .processes import PATIENCE, checkout_path

# Whatever an extra brings, itself or with the packages that it asks for.
EVERY_EXTRA = sorted({
    *(package.replace("-", "_") for packages in EXTRAS.values() for package in packages),
    *("scikit_learn", "sklearn", "pandas", "peft", "accelerate", "huggingface_hub", "triton", "liger_kernel", "sympy"),
})  # fmt: skip


def run_without(packages, arguments, cwd, **environment):
    """Runs Python with arguments (``-m module ...`` or ``-c code ...``) where packages are not installed."""
    return subprocess.run(
        [sys.executable, "-m", "tests.without", ",".join(packages), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": checkout_path(), "COLUMNS": "100"} | environment,
        timeout=PATIENCE,
        check=False,
    )


def hide(packages):
    """Neither imports nor metadata find the packages any more, and the errors are Python's own."""

    class Without(PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            return None if name.partition(".")[0] in packages else super().find_spec(name, path, target)

    def from_name(name):
        if name.replace("-", "_") in packages:
            raise metadata.PackageNotFoundError(name)
        return known(name)

    sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
    known, metadata.Distribution.from_name = metadata.Distribution.from_name, from_name


if __name__ == "__main__":
    _, absent, kind, what, *rest = sys.argv
    hide(set(absent.split(",")))
    for module in [name for name in sys.modules if name.partition(".")[0] == "entrokit"]:
        del sys.modules[module]  # it is imported as for the first time
    sys.argv = ["-c", *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what, {"__name__": "__main__"})
