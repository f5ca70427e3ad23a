"""The HTTP server: embeddings and searches that every client already speaks to."""
