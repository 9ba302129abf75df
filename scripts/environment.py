"""Makes the virtual environment that `make` uses. Needs nothing but Python 3.11 or newer.

    python scripts/environment.py VENV EXTRAS [CONSTRAINTS]

Torch comes first, by its pinned version. On Linux without an NVIDIA GPU only a CPU build may be installed: if what pip
would take is a CUDA build of several gigabytes, PyTorch's own CPU index is used where it answers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# A peer of tests. What it asks for (Lightning, torchvision) is for its examples; its matchers need torch and POT.
WITHOUT_DEPENDENCIES = "torchcfm"
# Megabytes of a download that is worth a line.
LARGE = 10


def main(folder: str, extras: str, constraints: Path = CONSTRAINTS) -> None:
    start = time.monotonic()
    where = Path(folder)
    pip = made(where)
    torch = pinned("torch", constraints)
    if not installed(where, torch):
        print(f"installing {torch}", flush=True)
        install([*pip, "install", *torch_source(pip, torch), torch])
    print(f"installing entrokit[{extras}]", flush=True)
    install([*pip, "install", "--constraint", str(constraints), "--editable", f"{ROOT}[{extras}]"])
    if {"all", "dev"} <= set(extras.split(",")):
        install([*pip, "install", "--no-deps", pinned(WITHOUT_DEPENDENCIES, constraints)])
    print(f"environment ready in {time.monotonic() - start:.0f} s", flush=True)


def made(where: Path) -> list[str]:
    """Makes an environment where there is none; returns the command of its pip."""
    if sys.version_info < (3, 11):
        sys.exit(f"entrokit needs Python 3.11 or newer, this is {sys.version.split()[0]}; try make PYTHON=python3.11")
    python = where / "bin" / "python"
    try:
        if not python.exists():
            print(f"making {where}", flush=True)
            if where.is_dir() and any(where.iterdir()) and not (where / "pyvenv.cfg").exists():
                sys.exit(f"{where} holds something that is no virtual environment; name another folder, or remove it")
            venv.create(where, with_pip=True, clear=True)
        elif subprocess.run([str(python), "-c", "import pip"], capture_output=True, check=False).returncode:
            # Making it was stopped halfway.
            run([str(python), "-m", "ensurepip", "--upgrade"])
    except OSError as error:
        sys.exit(f"cannot make an environment in {where} ({error}); name another folder: make VENV=..., or LIVE=...")
    return [str(python), "-m", "pip", "--disable-pip-version-check"]


def pinned(package: str, constraints: Path) -> str:
    """The line of a package in a file of constraints."""
    return next(line for line in constraints.read_text().splitlines() if line.startswith(f"{package}=="))


def installed(where: Path, torch: str) -> bool:
    """Whether an environment has this very torch, as a whole: pip writes the record at the end."""
    version = torch.partition("==")[2]
    packages = "python*/site-packages"
    return any(
        any((where / "lib").glob(f"{packages}/torch-{build}.dist-info/RECORD")) for build in (version, f"{version}+*")
    )


def torch_source(pip: list[str], torch: str) -> list[str]:
    """Extra arguments of pip, so that a machine without a GPU gets a CPU build."""
    if not sys.platform.startswith("linux") or shutil.which("nvidia-smi"):
        return []
    return cpu_source(pip, torch)


def cpu_source(pip: list[str], torch: str) -> list[str]:
    """Extra arguments of pip, so that it takes a CPU build of torch."""
    if not pip_takes_cuda(pip, torch):
        return []
    try:
        with urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=10):
            return ["--index-url", CPU_INDEX]
    except (urllib.error.URLError, TimeoutError) as error:
        sys.exit(
            f"{torch} from the package index is a CUDA build of several gigabytes, a CPU build is wanted, and "
            f"PyTorch's CPU index does not answer ({error}). Install a CPU build of torch into the environment "
            "yourself, then call make again."
        )


def pip_takes_cuda(pip: list[str], torch: str) -> bool:
    """Whether the build that pip would choose depends on NVIDIA's packages; asked without installing anything."""
    asked = [*pip, "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--report", "-", torch]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"pip cannot find {torch}:\n{done.stderr.strip()}")
    metadata = json.loads(done.stdout)["install"][0]["metadata"]
    return any(need.startswith(("nvidia-", "cuda-")) for need in metadata.get("requires_dist", []))


def install(command: list[str]) -> None:
    """Runs pip, and tells of what takes long in a line each: large downloads, and unpacking.

    pip compiles ahead: in containers that set PYTHONDONTWRITEBYTECODE every process would compile anew what it imports.
    """
    command = [*command, "--progress-bar", "off"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = told(line.strip())
            if said:
                print(f"  {said}", flush=True)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)}")


def told(line: str) -> str | None:
    """What a line of pip's says of something that takes long."""
    file = re.match(r"Downloading .*?([^/ ]+)\.whl \(([\d.]+) ([MG])B\)", line)
    if file and (file[3] == "G" or float(file[2]) >= LARGE):
        return f"downloading {file[1].split('-')[0]} ({file[2]} {file[3]}B)"
    packages = line.removeprefix("Installing collected packages: ")
    return f"unpacking {len(packages.split(', '))} packages" if packages != line else None


def run(command: list[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:3], *(ROOT / name for name in sys.argv[3:]))
