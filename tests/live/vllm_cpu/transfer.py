"""Weights from a trainer to a vLLM server by a file that both can read."""

from __future__ import annotations

from dataclasses import dataclass

from safetensors.torch import load_file, save_file
from trl.generation.vllm_client import VLLMClient
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)

FILE = "weights.safetensors"


@dataclass
class InitInfo(WeightTransferInitInfo):
    """Nothing has to be agreed on."""


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """Where the weights lie."""

    path: str


class FileTransferEngine(WeightTransferEngine):
    """The server's side: reads the file into the model."""

    init_info_cls, update_info_cls = InitInfo, UpdateInfo

    def init_transfer_engine(self, init_info):
        pass

    def start_weight_update(self):
        pass

    def finish_weight_update(self):
        pass

    def shutdown(self):
        pass

    def update_weights(self, update_info):
        # vLLM's own waits for an accelerator afterwards.
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info):
        self.model.load_weights(load_file(update_info.path).items())


def client_through(folder):
    """TRL's client of a vLLM server, whose weights go by a file in ``folder``; all else is TRL's."""

    class FileClient(VLLMClient):
        def init_communicator(self, device=0):
            self._post(f"{self.base_url}/init_weight_transfer_engine", json={"init_info": {}})

        def update_named_params(self, metadata, named_params):
            weights = {name: tensor.detach().contiguous().clone() for name, tensor in named_params}
            save_file(weights, folder / FILE)
            self._start_weight_update()
            self._post(f"{self.base_url}/update_weights", json={"update_info": {"path": str(folder / FILE)}})
            self._finish_weight_update()

    return FileClient
