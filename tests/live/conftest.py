"""Real rollout engines, in environments of their own: ``make test-live``. Elsewhere these tests are left out."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

# vLLM reads these when it is imported: a small cache, one thread, no core of its own.
os.environ |= {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
}
# Each part runs where its engine is, with what samples for it.
_NEEDS = {"trl": ("trl", "vllm"), "verl": ("verl", "vllm"), "tinker": ("tinker", "skyrl")}
collect_ignore_glob = [
    pattern
    for engine, packages in _NEEDS.items()
    if not all(map(find_spec, packages))
    for pattern in (f"test_{engine}*", f"{engine}/*")
]


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: a part of `make test-live-quick`, which CI runs")
    file = os.environ.get("ENTROKIT_LIVE_REPORT")
    if file:
        from .measured import Measured

        config.pluginmanager.register(Measured(file))


@pytest.fixture(scope="session")
def plugged(tmp_path_factory):
    """The plug-in of vLLM, in this process; what it gives is the environment of others that shall have it."""
    from . import vllm_cpu

    vllm_cpu.register()
    return vllm_cpu.installed_in(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="session")
def untied(tmp_path_factory):
    """A policy on disk whose head is its own."""
    from .policies import policy

    return policy(tmp_path_factory.mktemp("untied"), tied=False)


@pytest.fixture(scope="session")
def verl_cluster():
    """One Ray cluster for all runs of verl."""
    from ..processes import checkout_path
    from .ray_cluster import cluster
    from .verl_run import ENVIRONMENT

    with cluster({**ENVIRONMENT, "PYTHONPATH": checkout_path()}) as started:
        yield started


@pytest.fixture(scope="session")
def verl_made(tmp_path_factory):
    """A policy, a task and a reward for verl."""
    from .verl_run import made_in

    return made_in(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def verl_runs(tmp_path_factory):
    """Where runs lie: in ``ENTROKIT_LIVE_OUT``, to be looked at afterwards, or in a folder that goes."""
    kept = os.environ.get("ENTROKIT_LIVE_OUT")
    return Path(kept) if kept else tmp_path_factory.mktemp("verl")
