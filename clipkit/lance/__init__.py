"""Lance tables: the only room that imports lancedb, and the only one that knows its errors."""

from clipkit.lance.database import Database
from clipkit.lance.fulltext import FullText, Words
from clipkit.lance.table import Table
from clipkit.lance.vectors import ROUNDING, VectorColumn

__all__ = ["ROUNDING", "Database", "FullText", "Table", "VectorColumn", "Words"]
