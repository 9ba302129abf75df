"""How long a log takes to read, against `pandas` and `rldoctor`, the same file in turns in the same run.

    python -m venv PEERS && PEERS/bin/pip install pandas rldoctor
    python benchmarks/reading.py --peers PEERS [--gigabyte]

A table of five columns against `pandas.read_csv`, JSON lines as verl's file logger writes them against
`pandas.read_json` and `rl_doctor.ingest.load_run`. Each reading is a process of its own, which tells the seconds of its
processor without those of its imports, and its peak of memory. Prints medians, and of the ratios the least and largest.
The console, the wide table and the log of another program have no peer that reads them: seconds and memory alone. With
``--gigabyte`` the console is 1 GB, through all of ``entrokit diagnose``; its bounds are 60 s and 500 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OWN = "entrokit"
READ = {
    OWN: "from entrokit.runs import read_log, RunReadError",
    "pandas.read_csv": "import pandas",
    "pandas.read_json": "import pandas",
    "rldoctor": "from rl_doctor.ingest import load_run",
}
CALL = {
    OWN: "try: read_log(path)\nexcept RunReadError: pass",
    "pandas.read_csv": "pandas.read_csv(path)",
    "pandas.read_json": "pandas.read_json(path, lines=True)",
    "rldoctor": "load_run(path)",
}
DIAGNOSE = "from entrokit.runs import read_log\nfrom entrokit.diagnose import diagnose", "diagnose(read_log(path))"
# Peak memory in MB: Linux counts in KiB.
TIMED = """
import resource, sys, time
path = sys.argv[1]
{before}
begin = time.process_time()
{call}
print(time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""
NAMES = ("actor/entropy", "critic/score/mean", "actor/pg_loss", "actor/grad_norm", "response_length/mean")


def table(size: int) -> Iterator[str]:
    rng = np.random.default_rng(0)
    yield "step,reward,entropy,loss,kl\n"
    for i in range(size):
        yield f"{i}," + ",".join(f"{x:.6f}" for x in rng.random(4).tolist()) + "\n"


def json_lines(size: int) -> Iterator[str]:
    rng = np.random.default_rng(0)
    for i in range(size):
        yield json.dumps({"step": i, **dict(zip(NAMES, rng.random(len(NAMES)).tolist(), strict=True))}) + "\n"


def console(size: int) -> Iterator[str]:
    """verl's lines of 80 fields, about 3 kB each, half of them as numpy 2 prints its numbers."""
    rng = np.random.default_rng(0)
    names = [*NAMES, *(f"timing_s/part_{i}" for i in range(80 - len(NAMES)))]
    for step in range(size):
        values = [f"np.float64({x!r})" if i % 2 else f"{x!r}" for i, x in enumerate(rng.random(80).tolist())]
        yield f"(TaskRunner pid=7) step:{step} - " + " - ".join(map(":".join, zip(names, values, strict=True))) + "\n"


def wide(size: int) -> Iterator[str]:
    yield "step,reward,entropy," + ",".join(f"layer_{i}/norm" for i in range(size)) + "\n"
    for step in range(20):
        yield f"{step},{step / 50},{1 - step / 40}" + ",0.125" * size + "\n"


def another_program(size: int) -> Iterator[str]:
    for i in range(size):
        yield f"01:02:03,{i % 1000:03} INFO [worker-{i % 7}] request id={i:08x} status=200 bytes={i % 9001}\n"


def timed(python: Path, before: str, call: str, file: Path) -> tuple[float, float]:
    """Seconds and megabytes of one reading.

    Raises:
        subprocess.CalledProcessError: the tool cannot read it, or is not installed there.
    """
    done = subprocess.run(
        [python, "-c", TIMED.format(before=before, call=call), str(file)],
        env=dict(os.environ, PYTHONPATH=str(ROOT / "src")) if python == Path(sys.executable) else None,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, megabytes = done.stdout.split()[-2:]
    return float(seconds), float(megabytes)


def beside(file: Path, peers: Mapping[str, Path], rounds: int) -> None:
    """Prints our seconds, and every peer's with the ratio of ours to theirs."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (OWN, *peers)}
    for i in range(rounds):
        for name in list(found)[:: 1 if i % 2 else -1]:
            python = Path(sys.executable) if name == OWN else peers[name]
            found[name].append(timed(python, READ[name], CALL[name], file))
    own = [seconds for seconds, _ in found[OWN]]
    print(f"{file.name:14} {file.stat().st_size / 1e6:7.1f} MB  {told(found[OWN])}")
    for name in peers:
        ratios = sorted(a / b for a, (b, _) in zip(own, found[name], strict=True))
        spread = f"ours/theirs {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"  {name:20} {told(found[name])}, {spread}")


def told(found: list[tuple[float, float]]) -> str:
    seconds, megabytes = (statistics.median(numbers) for numbers in zip(*found, strict=True))
    return f"{seconds:.2f} s, {megabytes:.0f} MB"


def written(file: Path, lines: Callable[[int], Iterator[str]], size: int) -> Path:
    with file.open("w") as out:
        out.writelines(lines(size))
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="virtual environment that the peers are installed in")
    parser.add_argument("--gigabyte", action="store_true", help="the large sizes; takes ten minutes and 2 GB of disk")
    arguments = parser.parse_args()
    python = None if arguments.peers is None else arguments.peers / "bin" / "python"
    if python is not None and not python.exists():
        sys.exit(f"reading: {python} is not there; make it with: python -m venv {arguments.peers}")
    times, rounds = (10, 3) if arguments.gigabyte else (1, 5)

    def there(*names: str) -> dict[str, Path]:
        return {} if python is None else dict.fromkeys(names, python)

    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        beside(written(folder / "table.csv", table, 100_000 * times), there("pandas.read_csv"), rounds)
        lines = written(folder / "metrics.jsonl", json_lines, 50_000 * times)
        beside(lines, there("pandas.read_json", "rldoctor"), rounds)
        beside(written(folder / "wide.csv", wide, 10_000 * times), {}, rounds)
        beside(written(folder / "other.log", another_program, 100_000 * times), {}, rounds)
        large = written(folder / "console.log", console, 290_000 if arguments.gigabyte else 5_000)
        seconds, megabytes = timed(Path(sys.executable), *DIAGNOSE, large)
        print(
            f"{large.name:14} {large.stat().st_size / 1e6:7.1f} MB  {seconds:.2f} s, {megabytes:.0f} MB, with diagnosis"
        )


if __name__ == "__main__":
    main()
