"""What vLLM lacks for training on a CPU, as a plug-in of vLLM (``vllm.general_plugins``); for tests alone.

- Weights stay in place: vLLM's CPU layers pack theirs when a model is loaded, and drop the originals, so that nothing
  can be loaded into them afterwards.
- Weights travel as a file: an engine of transfers, registered as ``file``, in the place of NCCL, which needs a GPU.
"""

from __future__ import annotations

import os

from ...plugin import package

ENTRY_POINTS = {"vllm.general_plugins": {"entrokit-cpu": f"{__name__}:register"}}
TRANSFER = "file"


def installed_in(folder):
    """The environment of a process whose vLLM finds the plug-in, which it looks for by metadata in ``folder``."""
    package(folder, "entrokit-live", ENTRY_POINTS)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])}


def register():
    """Called by vLLM in each of its processes, before a model is loaded."""
    keep_weights()
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    if TRANSFER not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(TRANSFER, f"{__name__}.transfer", "FileTransferEngine")


def keep_weights():
    """Linear layers keep the weights that they were loaded with, and use them as they are."""
    import torch
    from vllm.model_executor.layers import utils

    def plain(layer, remove_weight):
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = plain
    # Modules that took the function by name before the plug-in was called.
    from vllm.model_executor.layers import linear, vocab_parallel_embedding

    for module in (linear, vocab_parallel_embedding):
        if hasattr(module, "dispatch_cpu_unquantized_gemm"):
            module.dispatch_cpu_unquantized_gemm = plain
