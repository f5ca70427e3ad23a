"""The page: search, look, refine, in the browser."""
