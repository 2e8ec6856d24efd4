"""Callbacks kept on disk while the database is away."""
