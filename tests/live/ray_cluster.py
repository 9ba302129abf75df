"""A Ray cluster of one node that belongs to the tests, and ends with them; others on the machine are never touched."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

HOST = "127.0.0.1"
PATIENCE = 300
# Ray's sockets lie in a folder of this one, and their names must stay below 108 bytes.
LONGEST_FOLDER = 36
# How Ray calls the files in which its agents say where they listen, and the options of `ray start` for the same ports.
AGENT_PORTS = {
    "metrics_agent_port": "--dashboard-agent-grpc-port",
    "metrics_export_port": "--metrics-export-port",
    "dashboard_agent_listen_port": "--dashboard-agent-listen-port",
    "runtime_env_agent_port": "--runtime-env-agent-port",
}
PATIENT = {
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_enable_worker_prestart": "false",
    "RAY_prestart_worker_first_driver": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}


class Cluster:
    """A running head node.

    Attributes:
        address: for ``ray.init``. environment: what a driver needs to be let in.
    """

    def __init__(self, head, address, environment):
        self.head, self.address, self.environment = head, address, environment

    def processes(self):
        """The head's process, and all that it started, workers of its jobs included."""
        return family(self.head.pid)


@contextmanager
def cluster(environment, *, gpus=2, cpus=32, port=None):
    """Starts a head node on the loopback, and ends it by its processes' ids.

    Args:
        environment: of every worker of every job; a driver's own does not reach them.
        gpus, cpus: what Ray shall count; nothing looks whether they are there.
        port: of the cluster; a free one by default.

    Raises:
        RuntimeError: the port is taken, or the node did not come up; says what to do.
    """
    ports = dict(zip(("gcs", *AGENT_PORTS), free_ports(1 + len(AGENT_PORTS)), strict=True))
    if port is not None:
        check_free(port)
        ports["gcs"] = port
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    try:
        check_short(folder)
        token = folder / "token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_TMPDIR": str(folder)}
        # Sockets of vLLM and whatever else is left behind where a worker is killed.
        own["TMPDIR"] = str(folder)
        with open(folder / "head.log", "w") as log:
            head = subprocess.Popen(
                _command(folder, ports, gpus, cpus),
                env={**_without_ray(os.environ), **PATIENT, **environment, **own},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait(head, folder, ports)
            yield Cluster(head, f"{HOST}:{ports['gcs']}", PATIENT | own)
        finally:
            end(family(head.pid))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_free(port):
    """Raises a RuntimeError where somebody listens on a port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise RuntimeError(
                f"port {port} of {HOST} is taken ({error.strerror}), perhaps by another Ray cluster, which is left "
                "alone: give another port, or none, and a free one is found. What runs there is named by "
                f"`ss -ltnp 'sport = :{port}'`; do not end it by `ray stop`, which stops every cluster of this machine"
            ) from error


def check_short(folder):
    """Raises a RuntimeError where a folder's name is too long for Ray's sockets."""
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        raise RuntimeError(
            f"{folder}: Ray's sockets would have names of more than 107 bytes here; set TMPDIR to a shorter folder"
        )


def free_ports(number):
    """Ports of the loopback on which nobody listens."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for s in sockets:
            s.bind((HOST, 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def family(pid):
    """A process and its descendants that still live."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(processes, patience=3):
    """Asks processes to end, and kills those that do not."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            try:
                process.send_signal(how)
            except psutil.NoSuchProcess:
                continue
        _, processes = psutil.wait_procs(processes, timeout=patience)


def _command(folder, ports, gpus, cpus):
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    return [
        *ray,
        f"--node-ip-address={HOST}",
        f"--port={ports['gcs']}",
        f"--temp-dir={folder}",
        f"--num-cpus={cpus}",
        f"--num-gpus={gpus}",
        "--include-dashboard=false",
        "--object-store-memory=200000000",
        *(f"{option}={ports[name]}" for name, option in AGENT_PORTS.items()),
    ]


def _wait(head, folder, ports):
    """Until Ray says that it runs. Its node gives its agents 15 s to name their ports, which is too short for a busy
    machine; since they are ours to choose, they are named for them.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for log in folder.glob("session_2*/logs/raylet.out"):
            found = log.read_text(errors="replace").partition("Setting node ID node_id=")[2][:56]
            if len(found) == 56:
                for name in AGENT_PORTS:
                    target = log.parents[1] / f"{name}_{found}"
                    if not target.exists():
                        target.write_text(str(ports[name]))
        said = (folder / "head.log").read_text(errors="replace")
        if head.poll() is not None:
            raise RuntimeError(f"Ray did not start (`ray start` ended with {head.returncode}):\n{said[-3000:]}")
        if "This command will now block" in said:
            return
        time.sleep(0.1)
    raise RuntimeError(f"Ray did not start within {PATIENCE} s:\n{said[-3000:]}")


def _without_ray(environment):
    """A cluster that somebody else runs is not the one to talk to."""
    return {name: value for name, value in environment.items() if not name.startswith("RAY_")}
