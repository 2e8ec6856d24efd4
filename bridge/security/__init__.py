"""Permissions, the client's address, and what must not be stored or logged."""
