"""Tells other processes that there is work, and listens for that."""
