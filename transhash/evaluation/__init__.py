"""Evaluation from counts per distance, so that ties are treated exactly. Protocols: ``docs/evaluation.md``."""

from .levels import Levels, hamming_levels, score_levels
from .metrics import TIE_RULE, evaluate

__all__ = ["TIE_RULE", "Levels", "evaluate", "hamming_levels", "score_levels"]
