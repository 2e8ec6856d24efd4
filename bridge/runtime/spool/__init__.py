"""Stores callbacks on disk while the database is away."""
