"""clipkit: embed images and texts into one space, keep them, and search either by either."""

__version__ = "0.1.0.dev0"
