"""SkyRL's server of the Tinker API on a CPU: python server.py FOLDER-OF-MODEL FOLDER-FOR-ITS-FILES PORT.

Three things of SkyRL 0.3.0 are put right from outside, the rest is its own:

- it takes `TypedDict` from typing, which pydantic refuses below Python 3.12;
- its API process starts the engine by ``uv run``; here this file starts it with the same Python;
- its JAX backend divides each sequence's cross-entropy by the sum of its weights (at least 1e-9). Tinker's is the sum
  of -w log p, which `forward_backward_custom` builds upon: its weights may sum to anything, 0 and less too.
"""

import sys
import typing
from pathlib import Path

import typing_extensions

API, ENGINE = "api", "engine"


def tinkers_cross_entropy() -> None:
    """Cancels the division, which comes after this function, by the same number."""
    import jax.numpy as jnp
    from skyrl.tinker import loss_fns
    from skyrl.tinker.types import LOSS_TYPES

    def cross_entropy(target_logprobs, weights, *_):
        return -loss_fns.safe_loss_mask(target_logprobs, weights) * jnp.maximum(weights.sum(axis=-1), 1e-9)

    loss_fns.LOSS_FUNCTIONS[LOSS_TYPES["cross_entropy"]] = cross_entropy


def engine() -> None:
    tinkers_cross_entropy()
    from skyrl.tinker import engine as skyrls

    skyrls.main()


def api(model: str, folder: str, port: str) -> None:
    import uvicorn
    from skyrl.tinker import api as skyrls
    from skyrl.tinker.config import EngineConfig, config_to_argv

    skyrls._build_uv_run_cmd_engine = lambda parent, config: [
        sys.executable,
        __file__,
        ENGINE,
        *config_to_argv(config),
    ]
    skyrls.app.state.engine_config = EngineConfig(
        base_model=model,
        backend="jax",
        backend_config={"max_lora_adapters": 8, "max_lora_rank": 8},
        checkpoints_base=Path(folder) / "checkpoints",
        database_url=f"sqlite:///{Path(folder) / 'tinker.db'}",
    )
    uvicorn.run(skyrls.app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    typing.TypedDict = typing_extensions.TypedDict
    if sys.argv[1] == ENGINE:
        del sys.argv[1]
        engine()
    else:
        api(*sys.argv[1:])
