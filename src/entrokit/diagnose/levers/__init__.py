"""Levers: what a remedy is called in the words of an engine, read from one YAML file each. No torch.

A file names the version that its options were read from, and where. `docs` of the format: `reading.Levers`.
"""

from .reading import LEVERS, SUPERVISED_LEVERS, Advice, Levers, engines_with_levers

__all__ = ["LEVERS", "SUPERVISED_LEVERS", "Advice", "Levers", "engines_with_levers"]
