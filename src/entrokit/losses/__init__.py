"""Floor 2: losses of supervised training. A wing beside `rlvr`."""

from .entropy_sft import EntropySFTLoss, surprising_tokens

__all__ = ["EntropySFTLoss", "surprising_tokens"]
