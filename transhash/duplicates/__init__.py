"""Near-duplicates: clusters of images around the one to keep, and the state of their files.

for cluster in transhash.dedup("photos.index", radius=4):
    print("keep", cluster.kept, "remove", cluster.spare)
"""

from .finding import KEEP, Cluster, Duplicates, dedup, spare_lines
from .linking import components
from .radius import Suggestion, default_radius, expected_pairs, suggest_radius

__all__ = [
    "KEEP",
    "Cluster",
    "Duplicates",
    "Suggestion",
    "components",
    "dedup",
    "default_radius",
    "expected_pairs",
    "spare_lines",
    "suggest_radius",
]
