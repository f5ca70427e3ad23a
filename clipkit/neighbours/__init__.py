"""What lies near what in a collection: duplicates, clusters, outliers, and more like these.

Each is a function over a Collection that works on stored vectors and thumbnails; nothing is ever changed or
deleted. Pictures and texts are looked at apart, since their vectors lie apart. None compares all with all.
"""

from clipkit.neighbours.clustering import Cluster, clusters
from clipkit.neighbours.copies import STRENGTHS, Duplicates, Group, Strength, duplicates
from clipkit.neighbours.outlying import outliers
from clipkit.neighbours.recommending import recommend
from clipkit.neighbours.rows import read_rows

__all__ = [
    "STRENGTHS",
    "Cluster",
    "Duplicates",
    "Group",
    "Strength",
    "clusters",
    "duplicates",
    "outliers",
    "read_rows",
    "recommend",
]
