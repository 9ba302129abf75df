"""What can go wrong while TRL generates, said in words that name the step and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit


@contextmanager
def generation_explained(step: int, args: Any) -> Iterator[None]:
    """Errors of generation that a user can mend.

    Args:
        step: optimiser steps taken so far. args: the trainer's `GRPOConfig`.

    Raises:
        ValueError: the policy's logits are NaN or infinite.
        ConnectionError: the vLLM server (``vllm_mode="server"``) does not answer any more, or with errors alone.
    """
    try:
        yield
    except RuntimeError as error:
        if "probability tensor contains" not in str(error):
            raise
        raise ValueError(
            f"step {step}: the policy's logits are NaN or infinite while sampling; the last update broke the model "
            "(lower learning_rate or max_grad_norm, or resume from an earlier checkpoint)"
        ) from error
    except OSError as error:  # which every error of `requests` is
        if not (args.use_vllm and args.vllm_mode == "server" and _asked(error, _address(args))):
            raise
        name = type(error).__name__
        # TRL's client asks again upon 500, 502 and 503, and gives up with this one.
        said = "answers with errors alone (its log says why)" if name == "RetryError" else "does not answer"
        raise ConnectionError(
            f"step {step}: the vLLM server at {_address(args)} {said} ({name}); nothing of this step was trained on. "
            "Start it again with the same command and resume from the newest checkpoint "
            "(train(resume_from_checkpoint=True)): it is given the weights before it generates"
        ) from error


def _asked(error: OSError, address: str) -> bool:
    """Whether an error is of a request to an address. Tools and rewards have servers of their own."""
    # Errors of `requests` that are of no connection (a bad URL, an answer that is no JSON) are a ValueError, too.
    if not hasattr(error, "request") or isinstance(error, ValueError):
        return False
    url = getattr(error.request, "url", None)
    if url is None:  # an answer that broke off
        return True
    asked, server = urlsplit(str(url)), urlsplit(address)
    # `requests` writes host and scheme in small letters, whatever the config has.
    return asked.netloc.lower() == server.netloc.lower() and f"{asked.path}/".startswith(f"{server.path}/")


def _address(args: Any) -> str:
    return (
        str(args.vllm_server_base_url).rstrip("/")
        if args.vllm_server_base_url
        else f"http://{args.vllm_server_host}:{args.vllm_server_port}"
    )
