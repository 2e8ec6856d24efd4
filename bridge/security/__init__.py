"""Limits for those nobody knows yet."""
