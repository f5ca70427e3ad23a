"""Lance tables: the only room that imports lancedb, and the only one that knows its errors."""

from clipkit.lance import snapshots
from clipkit.lance.database import Database
from clipkit.lance.fulltext import FullText, Words
from clipkit.lance.held import ROUNDING, products, with_vectors
from clipkit.lance.plans import Built, Kind, Plan
from clipkit.lance.table import Table
from clipkit.lance.upkeep import index_pays_from
from clipkit.lance.vectors import VectorColumn

__all__ = [
    "ROUNDING",
    "Built",
    "Database",
    "FullText",
    "Kind",
    "Plan",
    "Table",
    "VectorColumn",
    "Words",
    "index_pays_from",
    "products",
    "snapshots",
    "with_vectors",
]
