"""Counting privately: frequency oracles and federated heavy hitters under local differential privacy."""

from .choice import ORACLES, best_oracle
from .heavy_hitters import Level, PrefixTreeHeavyHitters
from .ledger import PrivacyError, PrivacyLedger
from .local_hashing import OLH
from .oracles import KRR, OUE, FrequencyOracle
from .randomness import RandomSource, SecureSource, SeededSource
from .ranking import f1_at_k, ncr
from .strategies import AdaptiveExtension, ConsensusPruning, Extension, FixedExtension, History

__all__ = [
    "KRR",
    "OLH",
    "ORACLES",
    "OUE",
    "AdaptiveExtension",
    "ConsensusPruning",
    "Extension",
    "FixedExtension",
    "FrequencyOracle",
    "History",
    "Level",
    "PrefixTreeHeavyHitters",
    "PrivacyError",
    "PrivacyLedger",
    "RandomSource",
    "SecureSource",
    "SeededSource",
    "best_oracle",
    "f1_at_k",
    "ncr",
]
