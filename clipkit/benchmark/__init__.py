"""What this machine does with a model and one's own pictures, beside what it could do, and what limits it."""

from clipkit.benchmark.chart import chart, number
from clipkit.benchmark.measuring import Benchmark, Figure, measure

__all__ = ["Benchmark", "Figure", "chart", "measure", "number"]
