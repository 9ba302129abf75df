"""Floor 2: losses of supervised training, a file or a package a topic."""

from entrokit.moved import by_name, moved_names

_BEFORE = {"entrokit.losses.entropy_sft": "EntropySFTLoss surprising_tokens"}

__getattr__ = moved_names(__name__, by_name(_BEFORE))
