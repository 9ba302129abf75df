"""The parts of a platform for CPUs that verl 0.9 lacks, for tests alone: everything else that runs is verl's own.

verl takes them through its own doors. This package is one of its external modules, and vLLM's workers are told of
`weights` by verl's option for extensions:

    VERL_USE_EXTERNAL_MODULES=tests.live.verl_cpu VERL_PLATFORM=cpu VERL_ENGINE_DEVICE=cuda
    +actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls=tests.live.verl_cpu.weights.Extension

- `platform`: the device, of which verl registers those with CUDA, ROCm and CANN. Ray still counts "GPU"s, which
  ``ray start --num-gpus`` makes up.
- process groups, and where a reference lies while it is not used, below.
- `weights`: vLLM's linear layers on a CPU pack their weights, and nothing can be loaded into them again.
- `recording`: what the recipe's worker saw, written down for the tests where ``ENTROKIT_RECORD`` names a folder.

None of this is fast, and none of it is fit for training in earnest.
"""

import os
from functools import wraps

import torch.distributed
import torch.distributed.fsdp

from .platform import CPUPlatform

__all__ = ["ENVIRONMENT", "EXTENSION", "RECORD", "CPUPlatform"]

ENVIRONMENT = {"VERL_USE_EXTERNAL_MODULES": __name__, "VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda"}
EXTENSION = f"{__name__}.weights.Extension"
RECORD = "ENTROKIT_RECORD"

_DOUBLED = "cpu:gloo,cpu:gloo"


def _once(init_process_group):
    """verl asks for a back end of the CPU and one of its device, which torch refuses where they are the same."""

    @wraps(init_process_group)
    def init(backend=None, *args, **kwargs):
        return init_process_group("gloo" if backend == _DOUBLED else backend, *args, **kwargs)

    return init


torch.distributed.init_process_group = _once(torch.distributed.init_process_group)


def _unpinned(policy):
    """verl keeps a reference that is sharded by FSDP2 in pinned memory, which only an accelerator has."""
    return lambda **kwargs: policy(**kwargs | {"pin_memory": False})


# verl takes it by its name, later.
torch.distributed.fsdp.CPUOffloadPolicy = _unpinned(torch.distributed.fsdp.CPUOffloadPolicy)

if os.environ.get(RECORD):
    from .recording import record_into

    record_into(os.environ[RECORD])
