"""Lance tables: the only room that imports lancedb, and the only one that knows its errors."""

from clipkit.lance.database import Database
from clipkit.lance.plans import Built, Kind, Plan
from clipkit.lance.table import Table
from clipkit.lance.upkeep import index_pays_from
from clipkit.lance.vectors import ROUNDING, VectorColumn

__all__ = ["ROUNDING", "Built", "Database", "Kind", "Plan", "Table", "VectorColumn", "index_pays_from"]
