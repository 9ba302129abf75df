"""Scripts of the tests in processes of their own, one or several."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Standalone: whoever starts it takes a free port, and two workers never meet at one.
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2"]
# What only a hang outlasts, however loaded the machine.
PATIENCE = 1200
_QUIET = {"PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}


def checkout_path():
    """``PYTHONPATH`` of a process that imports entrokit and the tests from here, whichever checkout is installed."""
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    own = [str(ROOT / "src"), str(ROOT)]
    return os.pathsep.join([*own, *(path for path in before if path and path not in own)])


def run(arguments, out, **environment):
    """Runs Python with arguments, which writes JSON to ``out``; returns what it says."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | _QUIET | {"PYTHONPATH": checkout_path()} | environment,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(Path(out).read_text())


@contextmanager
def started(*arguments, cwd, **environment):
    """`entrokit` in a process that hears Ctrl-C, even where the suite runs in the background, and never outlives it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "entrokit", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": checkout_path()} | environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
