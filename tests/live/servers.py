"""A vLLM server of our own: started on a free port, ended by its process group, never another's."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

# A start takes half a minute; what only a hang outlasts, however loaded the machine.
PATIENCE = 600
_OF_A_RANK = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


def surroundings(more):
    """The environment of a process of its own: TRL's colocated vLLM leaves its own rank in this one's."""
    return {name: value for name, value in os.environ.items() if name not in _OF_A_RANK} | more


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def vllm_server(policy, environment, log, port=None):
    """`vllm serve`, as TRL's documentation starts it, with weights by a file; yields ``(url, process)``."""
    port = port or free_port()
    command = [
        str(Path(sys.executable).with_name("vllm")),
        *("serve", policy, "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"),
        *("--max-model-len", "64", "--weight-transfer-config", '{"backend": "file"}'),
        *("--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"),
    ]
    with open(log, "w") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=surroundings(environment | {"VLLM_SERVER_DEV_MODE": "1"}),
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/health", process, log)
        yield url, process
    finally:
        kill(process)


def wait_for(url, process, log):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{Path(log).read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise TimeoutError(f"no answer from {url}:\n{Path(log).read_text()[-3000:]}")


def kill(process):
    """Ends a process and its children at once."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
