"""Evaluate retrieval from counts per distance, which treats ties exactly. Protocols: ``docs/evaluation.md``."""

from .bits import BitDiagnostics, diagnose
from .identity import identity, shared_rows
from .levels import Levels, hamming_levels, score_levels
from .metrics import TIE_RULE, TIE_RULES, measure
from .relevance import without_label

__all__ = [
    "TIE_RULE",
    "TIE_RULES",
    "BitDiagnostics",
    "Levels",
    "diagnose",
    "hamming_levels",
    "identity",
    "measure",
    "score_levels",
    "shared_rows",
    "without_label",
]
