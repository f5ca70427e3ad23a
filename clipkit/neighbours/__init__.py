"""What lies near what in a collection: duplicates, clusters, outliers, and more like these.

Each is a function over a Collection that works on stored vectors and thumbnails; nothing is ever changed or
deleted. Pictures and texts are looked at apart, since their vectors lie apart. None compares all with all.
"""

from clipkit.neighbours.copies import STRENGTHS, Duplicates, Group, Strength, duplicates

__all__ = ["STRENGTHS", "Duplicates", "Group", "Strength", "duplicates"]
