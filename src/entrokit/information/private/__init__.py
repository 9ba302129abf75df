"""Counting privately: frequency oracles and federated heavy hitters under local differential privacy."""

from .heavy_hitters import Level, PrefixTreeHeavyHitters
from .ledger import PrivacyError, PrivacyLedger
from .oracles import KRR, OLH, ORACLES, OUE, FrequencyOracle, best_oracle
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
