"""Builds the sdist and, out of it, the wheel, as a user's pip gets them, and checks both in environments of their own.

    python scripts/release.py check [FOLDER]    # FOLDER keeps what was built; exit code 1 if something is amiss

What a checkout has under src/entrokit has to be in the wheel, file by file, and nothing else; links of the README lead
somewhere on a package index; the wheel with the newest dependencies, and the sdist with the oldest, diagnose a log
without torch; mypy sees the types.
"""

from __future__ import annotations

import email
import os
import re
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Of each there has to be one. Data of other names is held to the checkout, as every file is.
NEEDED = ("entrokit/py.typed", "entrokit/*.css", "entrokit/runs/names/*.yaml", "entrokit/diagnose/levers/*.yaml")
IN_SDIST = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "PKG-INFO", ".gitignore", "src"}
# What a laptop must not wait for when it only reads logs.
HEAVY = {"torch", "triton", "transformers", "trl", "scipy", "pandas"}
MEGABYTES = 5.0

USER = """
from entrokit.diagnose import Diagnosis, diagnose
from entrokit.runs import read_log

def verdict(path: str) -> str:
    found: Diagnosis = diagnose(read_log(path))
    return found.verdict
"""
WRONG = USER + "\nnumber: int = verdict('train.csv')\n"


def checkout() -> set[str]:
    """Files of the package that git knows, as a wheel names them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "src/entrokit"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return {name.removeprefix("src/") for name in listed.split("\0") if name}


def amiss_in_wheel(names: Iterable[str], source: set[str], version: str) -> list[str]:
    """What a wheel lacks, or holds too much, beside the files of the checkout."""
    own = {name for name in names if not name.startswith(f"entrokit-{version}.dist-info/")}
    found = [f"the wheel lacks {name}" for name in sorted(source - own)]
    found += [f"the wheel has {name}, which git does not know" for name in sorted(own - source)]
    return found + [f"no file of the wheel is {p}" for p in NEEDED if not any(fnmatch(name, p) for name in own)]


def amiss_in_sdist(names: Iterable[str], source: set[str], version: str) -> list[str]:
    """The same of a sdist, which holds what makes the wheel and says what it is."""
    own = {name.removeprefix(f"entrokit-{version}/") for name in names}
    tops = {name.partition("/")[0] for name in own}
    found = [f"the sdist lacks {name}" for name in sorted(IN_SDIST - tops)]
    found += [f"the sdist has {name}" for name in sorted(tops - IN_SDIST)]
    package = {name.removeprefix("src/") for name in own if name.startswith("src/")}
    found += [f"the sdist lacks src/{name}" for name in sorted(source - package)]
    return found + [f"the sdist has src/{name}, which git does not know" for name in sorted(package - source)]


def amiss_in_description(text: str) -> list[str]:
    """Links and pictures of a page that lead nowhere outside of the repository."""
    targets = [*re.findall(r"\]\(([^)\s]+)", text), *re.findall(r'(?:src|href)="([^"]+)"', text)]
    return [f"the README's link to {t} leads nowhere on an index" for t in targets if not re.match(r"https://|#", t)]


def amiss_in_metadata(text: str, version: str) -> list[str]:
    """What the wheel says of itself, and its README."""
    said = email.message_from_string(text)
    found = [] if said["Version"] == version else [f"the wheel is of version {said['Version']}, not {version}"]
    if said["License-File"] != "LICENSE":
        found.append("the wheel has no licence")
    return found + amiss_in_description(str(said.get_payload()))


def run(command: Sequence[str | Path], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command away from this checkout, and from whatever PYTHONPATH and its like say."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | environment
    return subprocess.run([*map(str, command)], cwd=cwd, env=own, capture_output=True, text=True, check=False)


def must(command: Sequence[str | Path], cwd: Path, code: int = 0, **environment: str) -> str:
    """What a command prints that has to leave with a code."""
    done = run(command, cwd, **environment)
    if done.returncode != code:
        sys.exit(f"{' '.join(map(str, command))} left with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(where: Path, *wanted: str | Path) -> Path:
    """Makes an environment with archives or packages and what they ask for; the folder of its programs."""
    venv.create(where, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", where / "bin" / "python", "install", "--quiet", "--no-compile"]
    must([*pip, *wanted], where)
    return where / "bin"


def lowest(project: Mapping[str, Any]) -> list[str]:
    """Dependencies at their oldest versions, on the oldest Python; on another one those may have no wheels."""
    version = project["requires-python"].removeprefix(">=")
    if sys.version_info[:2] != tuple(map(int, version.split("."))):
        return []
    return [each.replace(">=", "==") for each in project["dependencies"]]


def amiss_when_used(bin_: Path, folder: Path, version: str) -> list[str]:
    """The command line, in an environment, on a log whose entropy collapses."""
    rows = [f"{i},{0.9 - 0.0225 * i:.4f},{0.2 + 0.005 * i:.4f}" for i in range(40)]
    (folder / "train.csv").write_text("\n".join(["step,entropy,reward", *rows]) + "\n")
    entrokit, python = bin_ / "entrokit", bin_ / "python"
    asked = {"COMP_WORDS": "entrokit dia", "COMP_CWORD": "1", "_ENTROKIT_COMPLETE": "complete_bash"}
    said = {
        "entrokit --version": must([entrokit, "--version"], folder).strip() == f"entrokit {version}",
        "python -m entrokit --version": must([python, "-m", "entrokit", "--version"], folder).split()[-1] == version,
        "entrokit --help": "diagnose" in must([entrokit, "--help"], folder),
        "entrokit diagnose": must([entrokit, "diagnose", "train.csv"], folder).startswith("collapse:"),
        "completion": must([entrokit], folder, **asked).split() == ["diagnose"],
    }
    must([entrokit, "diagnose", "train.csv", "--fail-on", "collapse"], folder, code=11)
    packages = must([sys.executable, "-m", "pip", "--python", python, "list", "--format=freeze"], folder)
    brought = HEAVY & {line.partition("==")[0].lower() for line in packages.splitlines()}
    return [f"{what} says something else" for what, right in said.items() if not right] + [
        f"it brings {name}" for name in sorted(brought)
    ]


def amiss_in_types(bin_: Path, folder: Path) -> list[str]:
    """A user's program under `mypy --strict`: taken as it is, and refused where it is wrong."""
    for name, text in (("user.py", USER), ("wrong.py", WRONG)):
        (folder / name).write_text(text)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--python-executable", bin_ / "python"]
    done = run([*mypy, "user.py", "wrong.py"], folder)
    lines = done.stdout.splitlines()
    if len(lines) == 1 and lines[0].startswith("wrong.py:") and lines[0].endswith("[assignment]"):
        return []
    return [f"mypy has to refuse the last line of wrong.py and nothing else:\n{done.stdout}{done.stderr}"]


def quickest(command: Sequence[str | Path], cwd: Path, times: int = 3) -> float:
    """Seconds of a core that a command takes, the least of several: other load on the machine does not count."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    found = []
    for _ in range(times):
        before = spent()
        must(command, cwd)
        found.append(spent() - before)
    return min(found)


def timed(bin_: Path, folder: Path) -> str:
    """How long a shell waits for the installed package, on a core of its own."""
    commands = {
        "python -c pass": [bin_ / "python", "-c", "pass"],
        "import entrokit": [bin_ / "python", "-c", "import entrokit"],
        "entrokit --help": [bin_ / "entrokit", "--help"],
        "entrokit diagnose, 40 rows": [bin_ / "entrokit", "diagnose", "train.csv"],
    }
    return "; ".join(f"{name} {1000 * quickest(command, folder):.0f} ms" for name, command in commands.items())


def check(dist: Path, work: Path) -> list[str]:
    """Builds into one folder, tries in another; what is amiss, and figures as they come."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = settings["project"]["version"]
    python = environment(work / "build", "build", *settings["build-system"]["requires"]) / "python"
    must([python, "-m", "build", "--no-isolation", "--outdir", dist, ROOT], work)
    wheel, sdist = (dist / f"entrokit-{version}{end}" for end in ("-py3-none-any.whl", ".tar.gz"))
    source, found = checkout(), []
    with zipfile.ZipFile(wheel) as archive:
        found += amiss_in_wheel(archive.namelist(), source, version)
        metadata = archive.read(f"entrokit-{version}.dist-info/METADATA").decode()
        found += amiss_in_metadata(metadata, version)
    with tarfile.open(sdist) as archive:
        found += amiss_in_sdist([m.name for m in archive.getmembers() if m.isfile()], source, version)
    for archive in (wheel, sdist):
        size = archive.stat().st_size / 1e6
        print(f"{archive.name}: {size:.2f} MB", flush=True)
        if size > MEGABYTES:
            found.append(f"{archive.name} is larger than {MEGABYTES} MB")
        folder = work / archive.suffix.removeprefix(".")
        bin_ = environment(folder, archive, *(lowest(settings["project"]) if archive is sdist else []))
        found += [f"{archive.name}: {what}" for what in amiss_when_used(bin_, folder, version)]
        if archive is wheel:
            found += amiss_in_types(bin_, folder)
            print(timed(bin_, folder), flush=True)
    return found


def main(arguments: Sequence[str]) -> int:
    """Exit code of the command line."""
    if not arguments or arguments[0] != "check" or len(arguments) > 2:
        sys.exit(__doc__)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        dist = Path(arguments[1]).resolve() if arguments[1:] else work / "dist"
        found = check(dist, work)
    for what in found:
        print(f"amiss: {what}")
    print(f"{'amiss' if found else 'ready'} after {time.monotonic() - start:.0f} s")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
