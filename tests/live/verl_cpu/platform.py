"""A CPU as verl's platform, registered as ``cpu``."""

from contextlib import contextmanager
from types import SimpleNamespace

import torch
from verl.plugin.platform import PlatformRegistry
from verl.plugin.platform.platform_cuda import PlatformCUDA


class _NoAccelerator(SimpleNamespace):
    """What verl asks of ``torch.cuda``: nothing to wait for, nothing allocated, nothing to seed."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: 0


@PlatformRegistry.register(platform="cpu")
class CPUPlatform(PlatformCUDA):
    device_name, vendor_name = "cpu", "cpu"
    device_module = _NoAccelerator(
        mem_get_info=lambda *a: (0, 0), get_device_name=lambda *a: "CPU", is_available=lambda *a: False
    )

    def is_available(self):
        return True

    def current_device(self):
        return torch.device("cpu")

    def device_count(self):
        return 1

    def get_device_capability(self, *args):
        return None, None

    def communication_backend_name(self):
        return "gloo"

    def is_ipc_supported(self):
        # Weights then go from trainer to vLLM by shared memory.
        return False

    def get_collective_module(self):
        return None

    def rollout_env_vars(self):
        return {}

    @contextmanager
    def nvtx_range(self, msg):
        yield


_NOTHING_TO_DO = (
    "set_device",
    "synchronize",
    "manual_seed",
    "manual_seed_all",
    "set_allocator_settings",
    "empty_cache",
    "profiler_start",
    "profiler_stop",
    "cudart",
)
for _name in _NOTHING_TO_DO:
    setattr(CPUPlatform, _name, lambda self, *args, **kwargs: None)
