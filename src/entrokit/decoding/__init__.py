"""Floor 2: what acts on logits while a model samples."""

from .adaptive_temperature import EntropyScale, EntropyTemperature, entropy_scale
from .fork_temperature import fork_temperature

__all__ = ["EntropyScale", "EntropyTemperature", "entropy_scale", "fork_temperature"]
