"""Ray clusters and the plug-in: which cluster verl would join from here, and whether its workers have entrokit."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrokit.extras import require

PORT = 6379  # where `ray start --head` listens unless told otherwise


@dataclass(frozen=True)
class Node:
    """A node of a cluster, and why verl's workers there would train without entrokit (None: they would not)."""

    address: str
    problem: str | None


def joined() -> str | None:
    """The address of the cluster that `ray.init` would join from here; None where it would start one of its own."""
    given = os.environ.get("RAY_ADDRESS", "").strip()
    if given == "local":  # a cluster of its own, said aloud
        return None
    if given not in ("", "auto"):
        return given
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"
    try:
        address = (folder / "ray_current_cluster").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return address if address and answers(address) else None


def answers(address: str, patience: float = 1.0) -> bool:
    """Whether something listens at ``host:port``, ``[IPv6]:port`` or ``ray://host:port``."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), patience):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def remarks() -> list[str]:
    """What to know of Ray here before verl is started."""
    cluster = joined()
    found = []
    if cluster is not None and not answers(cluster):
        found.append(f"RAY_ADDRESS is {cluster}, where nothing answers: verl would fail there; correct it or unset it")
    elif cluster is not None:
        found.append(
            f"a cluster is there at {cluster}, which verl would join: its workers have the environment of that `ray "
            f"start`, not yours; `entrokit doctor --ray {cluster}` asks each node for the plug-in"
        )
    # A client's address (ray://) does not say the port of its cluster.
    own = cluster is not None and (cluster.endswith(f":{PORT}") or cluster.startswith("ray://"))
    if answers(f"127.0.0.1:{PORT}") and not own:
        found.append(
            f"port {PORT} of this machine is taken by something that is not your cluster; `ray start --head` would "
            "fail there: give it --port, and verl +ray_kwargs.ray_init.address=127.0.0.1:<that port>"
        )
    return found


def nodes(address: str) -> list[Node]:
    """Asks every living node of a cluster, by a task, how the plug-in loads there. Nothing else of it is touched.

    Raises:
        MissingExtraError: Ray is not installed.
        ConnectionError: no cluster answers at the address.
    """
    require("asking a Ray cluster", "verl")
    if address != "auto" and not answers(address):
        raise ConnectionError(f"no Ray cluster answers at {address}; `ray status --address {address}` says more")
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise ConnectionError(f"the Ray cluster at {address} refused: {type(error).__name__}: {error}") from error
    try:
        asked: list[tuple[str, Any]] = []
        # Whole, not by name: a node without entrokit must understand it.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        task = ray.remote(num_cpus=0, max_retries=0)(_problem_there)
        for node in ray.nodes():
            if node["Alive"]:
                here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                asked.append((node["NodeManagerAddress"], task.options(scheduling_strategy=here).remote()))
        return [Node(name, _answer(ray, reference)) for name, reference in asked]
    finally:
        ray.shutdown()


def _problem_there() -> str | None:
    """Runs on the node. Imports nothing of entrokit before it is known to be there."""
    import importlib.util
    from importlib import metadata

    if importlib.util.find_spec("verl") is None:
        return "verl cannot be imported there"
    if importlib.util.find_spec("entrokit") is None:
        return "entrokit cannot be imported there; pip install it on that node, where its `ray start` ran"
    if not any(point.name == "entrokit" for point in metadata.entry_points(group="verl.plugins")):
        return (
            "entrokit can be imported there, but not as an installed package (PYTHONPATH alone is not enough): verl "
            "finds plug-ins by metadata; pip install it there"
        )
    from entrokit.engines.plugins import plug_ins

    return next(p.problem for p in plug_ins() if p.name == "entrokit")


def _answer(ray: Any, reference: Any) -> str | None:
    try:
        answer: str | None = ray.get(reference, timeout=120)
    except Exception as error:
        # The worker could not even unpickle the question, or died of it.
        said = str(error).strip().splitlines()
        return f"{type(error).__name__}: {said[-1]}" if said else type(error).__name__
    return answer
